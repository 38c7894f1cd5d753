// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"encoding/json"
	"maps"
	"testing"
)

// What the fast way reads, encoding/json reads the same.
func FuzzDecode(f *testing.F) {
	const end = `","stream":"stdout","time":"2024-01-01T00:00:01.5Z"}` + "\n"
	for _, text := range []string{
		`a\n`, `\u003c\u2028\ufffd\"\\\/\b\f\n\r\t`, `\ud83d\ude00`, `\ud83d`, `\x`, `\u12`, `\u+123`, "\x01", "\xff", "é€😀", `a","log":"b`, `\`, ``,
	} {
		f.Add([]byte(`{"log":"` + text + end))
	}
	f.Add([]byte(`{"log":"a","stream":"stderr","time":"2024-01-01T00:00:01+01:00"}`))
	f.Add([]byte(`{"log":"a","stream":"stderr","time":"2024-01-01T00:00:01Z","attrs":{"a":"b"}}`))
	f.Add([]byte(`{"log":"a","stream":"stderr","time":"2024-13-01T00:00:01Z"}`))
	f.Add([]byte(`{"log":"a","stream":"stderr","time":"2024-01-01T00:00:01,5Z"}`))
	f.Add([]byte(`{"log":"a","stream":"stderr","attrs":{"a":"b","c,":"\u0026"},"time":"2024-01-01T00:00:01.000000001Z"}`))
	f.Add([]byte(`{"log":"a","stream":"stderr","attrs":{"a":null},"time":"2024-01-01T00:00:01.1234567890Z"}`))
	f.Add([]byte(`{"log":"a","stream":"stderr","attrs":{},"time":"2024-01-01T00:00:01.Z"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var d decoder
		got, ok := d.fast(line)
		if !ok {
			return
		}
		var want entry
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatalf("%q was read as %q, json says: %v", line, got.text, err)
		}
		if want.Log != string(got.text) || want.Stream != got.stream || !want.Time.Equal(got.time) {
			t.Errorf("%q: got %q %s %v, want %+v", line, got.text, got.stream, got.time, want)
		}
		if !maps.Equal(want.Attrs, got.attrs) {
			t.Errorf("%q: attributes %v, want %v", line, got.attrs, want.Attrs)
		}
		if again, ok := d.fast(line); !ok || !again.time.Equal(got.time) || !maps.Equal(again.attrs, want.Attrs) {
			t.Errorf("%q: a second time it is %+v, %v", line, again, ok)
		}
	})
}

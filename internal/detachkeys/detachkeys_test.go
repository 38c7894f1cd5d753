// SPDX-License-Identifier: Apache-2.0

package detachkeys_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/davit-engine/davit/internal/detachkeys"
)

func TestParse(t *testing.T) {
	for keys, want := range map[string]string{
		"": "\x10\x11", "a": "a", "ctrl-a": "\x01", "ctrl-p,ctrl-q": "\x10\x11", "ctrl-z,x": "\x1ax",
		"ctrl-@": "\x00", "ctrl-[": "\x1b", "ctrl-_": "\x1f", "X,Y": "XY", "DEL": "\x7f",
	} {
		if got, err := detachkeys.Parse(keys); err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%q: %q %v, want %q", keys, got, err, want)
		}
	}
	for _, keys := range []string{"ab", "ctrl-", "ctrl-A", "ctrl-1", ",", "a,", "alt-a", "ctrl-ab"} {
		if got, err := detachkeys.Parse(keys); err == nil {
			t.Errorf("%q gives %q", keys, got)
		}
	}
}

// FuzzParse reads any text: each key of a sequence is one byte.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "ctrl-p,ctrl-q", "a,b,C", "DEL", "ctrl-@,ctrl-\\,ctrl-_", "ctrl-", ",", "ü", "ctrl-,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, keys string) {
		got, err := detachkeys.Parse(keys)
		if err == nil && keys != "" && len(got) != strings.Count(keys, ",")+1 {
			t.Errorf("%q is %d bytes: %q", keys, len(got), got)
		}
		if err == nil && len(got) == 0 {
			t.Errorf("%q is no sequence, and not refused", keys)
		}
	})
}

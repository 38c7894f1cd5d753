// SPDX-License-Identifier: Apache-2.0

package davit_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/davit-engine/davit"
)

func TestSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"10min": 10 * time.Minute, "1h 30min": 90 * time.Minute, "1h30m": 90 * time.Minute, "90": 90 * time.Second,
		"50ms": 50 * time.Millisecond, "0": 0, " 2 h 5 s ": 2*time.Hour + 5*time.Second, "1day": 24 * time.Hour,
	} {
		var s davit.Span
		if err := s.UnmarshalText([]byte(text)); err != nil || time.Duration(s) != want {
			t.Errorf("%q is %v, want %v: %v", text, time.Duration(s), want, err)
			continue
		}
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var again davit.Span
		if err := json.Unmarshal(out, &again); err != nil || again != s {
			t.Errorf("%q was written as %s and read as %v: %v", text, out, again, err)
		}
	}
	for _, text := range []string{"", "min", "-5s", "5 parsecs", "1.5h", "10min!", "99999999999999999999", "9999999999h", "9223372036s 1s"} {
		var s davit.Span
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, s)
		}
	}
}

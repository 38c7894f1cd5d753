// SPDX-License-Identifier: Apache-2.0

package objectpath_test

import (
	"testing"

	"github.com/davit-engine/davit/dbus/objectpath"
)

func TestEscape(t *testing.T) {
	tests := map[string]string{
		"": "_", "1": "_31", "3f4e": "_33f4e", "web": "web", "a1": "a1", "a_b": "a_5fb", "a-b/ü": "a_2db_2f_c3_bc", "../x": "_2e_2e_2fx",
	}
	for in, want := range tests {
		if got := objectpath.Escape(in); got != want {
			t.Errorf("objectpath.Escape(%q) = %q, not %q", in, got, want)
		}
		if got, ok := objectpath.Unescape(want); got != in || !ok {
			t.Errorf("objectpath.Unescape(%q) = %q, %v, not %q", want, got, ok, in)
		}
	}
	for _, bad := range []string{"1", "_3", "_", "_zz", "_5F", "a_62", "_41"} {
		if got, ok := objectpath.Unescape(bad); ok && bad != "_" {
			t.Errorf("objectpath.Unescape(%q) = %q: not its only spelling", bad, got)
		}
	}
}

func FuzzUnescape(f *testing.F) {
	f.Add("_31")
	f.Fuzz(func(t *testing.T, element string) {
		if s, ok := objectpath.Unescape(element); ok && objectpath.Escape(s) != element {
			t.Errorf("%q has another spelling: %q", element, objectpath.Escape(s))
		}
	})
}

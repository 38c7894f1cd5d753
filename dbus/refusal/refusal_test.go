// SPDX-License-Identifier: Apache-2.0

package refusal

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	long := strings.Repeat("ü", textLimit)
	tests := map[string]string{"a": "a", "a\x00b": "a\uFFFDb", "\xff": "\uFFFD", "": ""}
	for in, want := range tests {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, not %q", in, got, want)
		}
	}
	if got := Text("x" + long); len(got) > textLimit+8 || !strings.HasSuffix(got, "…") {
		t.Errorf("%d bytes remain of %d", len(got), len(long))
	}
}

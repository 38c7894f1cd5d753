// SPDX-License-Identifier: Apache-2.0

package osrelease_test

import (
	"testing"

	"github.com/davit-engine/davit/internal/osrelease"
	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	text := "# a comment\nNAME=\"Debian GNU/Linux\"\r\nID=debian\n\nVERSION='12 (bookworm)'\nPRETTY_NAME=\"a \\\"b\\\" \\$c \\\\d\"\n" +
		"EMPTY=\nnot an assignment\nBAD KEY=1\nURL=https://example.org/?a=b\nLAST=\"open"
	want := map[string]string{
		"NAME": "Debian GNU/Linux", "ID": "debian", "VERSION": "12 (bookworm)", "PRETTY_NAME": `a "b" $c \d`,
		"EMPTY": "", "URL": "https://example.org/?a=b", "LAST": `"open`,
	}
	if d := cmp.Diff(want, osrelease.Parse([]byte(text))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

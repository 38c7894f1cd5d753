// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"testing"
)

func TestRunExitCodes(t *testing.T) {
	h := newHost(t)
	for _, tc := range []struct {
		script   string
		code     int
		out, err string
	}{
		{"true", 0, "", ""},
		{"exit 3", 3, "", ""},
		{"echo out; echo err >&2; exit 7", 7, "out\n", "err\n"},
		{"exec /bin/garbage", 126, "", "/bin/sh: exec: line 0: /bin/garbage: Exec format error\n"},
	} {
		t.Run(tc.script, func(t *testing.T) {
			r := h.run(h.launch(tc.script))
			if r.exit.Code != tc.code || r.out != tc.out || r.err != tc.err {
				t.Errorf("got code %d, stdout %q, stderr %q", r.exit.Code, r.out, r.err)
			}
		})
	}
}

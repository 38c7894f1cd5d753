// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// FuzzLookupUser reads any user, any group, and the account files of any image.
func FuzzLookupUser(f *testing.F) {
	passwd, group := "root:x:0:0:root:/root:/bin/sh\njoe:x:1000:1000::/home/joe:\n", "root:x:0:\nstaff:x:50:joe\n"
	for _, s := range []string{"", "joe", "joe:staff", "1000", "4711:4712", "nobody", ":staff", "-1", "4294967296", "0:0:0"} {
		f.Add(passwd, group, s, "staff")
	}
	f.Add("joe:x:-1:99999999999::\n:::\n\n#", "a:b:c:d:e\nstaff:x:-7:joe,,\n", "joe", "4294967295")
	root := f.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, passwd, group, spec, extra string) {
		for name, text := range map[string]string{"passwd": passwd, "group": group} {
			if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		u, err := lookupUser(root, spec, []string{extra})
		if err != nil {
			return
		}
		for _, id := range append([]uint32{u.UID, u.GID}, u.AdditionalGids...) {
			if id > math.MaxInt32 {
				t.Errorf("%q and %q are %+v", spec, extra, u)
			}
		}
	})
}

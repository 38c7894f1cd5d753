// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/user"
)

// TestExecFindsTheSameUsers compares the users that davit-enter finds, which is
// written in C, with those that the monitor finds for a container's first process.
func TestExecFindsTheSameUsers(t *testing.T) {
	compiler, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("RequireCompiler: needs gcc")
	}
	find := filepath.Join(t.TempDir(), "find")
	source := filepath.Join("..", "..", "cmd", "davit-enter")
	build := exec.Command(compiler, "-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-o", find,
		filepath.Join(source, "accounts.c"), filepath.Join(source, "testdata", "find.c"))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	passwds := []string{
		"", "\n\n", "root:x:0:0:root:/root:/bin/sh\nsome:x:1000:1000::/home/some:/bin/sh\n",
		"root:x:0:0:root:/root:/bin/sh\r\n  some:x:1000:50::/home/some\t\n#c:x:7:7::/c\n", "some", "some:x", ":::::", "some:x:abc:def::/there",
		"some:x:-1:0::/a", "some:x:5:-1::/a", "some:x:2147483647:2147483647::/a", "some:x:2147483648:1::/a", "some:x:99999999999999999999:1::/a", "some:x:+7:+8::/plus",
		"a:x:5:6::/first\nsome:x:5:7::/second\n", "some:x:5:7::\nsome:x:8:9::/again", "some:x: 5:7::/space", "some:x:00005:7::/zeros",
		"1000:x:3:4::/number", "x:x:1000:60::/home/x:::::", "some:x:5:5::/\xff",
	}
	groups := []string{
		"", "\n", "root:x:0:\nsome:x:1000:\nwheel:x:10:some\naudio:x:29:other,some\n", "# some:x:1:some\nwheel:x:10:some,some\n", "wheel",
		"wheel:x:abc:some", "wheel:x:-5:some", "wheel:x:2147483648:some", "wheel:x:10:,some,", "wheel:x:10:somebody", "wheel:x:10:some\nwheel:x:11:some\nother:x:10:some",
		"audio:x:1:\naudio:x:2:some", "50:x:51:some", "  wheel:x:10: some", "audio:x:9:x:some",
	}
	specs := []string{
		"", "0", "root", "some", "some:", "some:wheel", "some:10", ":10", ":wheel", ":", "1000", "1000:1000", "5", "5:audio", "nobody", "some:nobody", "-1", "0:-1",
		"2147483647", "2147483648", "99999999999999999999", "+5", "some:+5", "0x5", "some:wheel:more", "some wheel", "some audio 29 4711", "some nobody", "0 -1",
		"0 2147483648", "nobody nobody", "5:99999999999999999999", "-", "+", "50:50", "x",
	}
	root := t.TempDir()
	for _, passwd := range passwds {
		for _, group := range groups {
			cmd := exec.Command(find, passwd, group)
			cmd.Stdin = strings.NewReader(strings.Join(specs, "\n") + "\n")
			cmd.Env = append(os.Environ(), "ASAN_OPTIONS=detect_leaks=0")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			writeAccounts(t, root, passwd, group)
			var want []string
			for _, spec := range specs {
				want = append(want, expectation(root, passwd, spec))
			}
			got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("passwd %q, group %q (-monitor +davit-enter):\n%s", passwd, group, diff)
			}
		}
	}
}

func writeAccounts(t *testing.T, root, passwd, group string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"passwd": passwd, "group": group} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// expectation is what the monitor finds, with the HOME that libcontainer gives.
func expectation(root, passwd, spec string) string {
	fields := strings.Split(spec, " ")
	u, err := lookupUser(root, fields[0], fields[1:])
	if err != nil {
		return "error: " + err.Error()
	}
	slices.Sort(u.AdditionalGids)
	home := "/"
	if found, err := user.ParsePasswdFilter(bytes.NewReader([]byte(passwd)), func(e user.User) bool { return e.Uid == int(u.UID) }); err == nil && len(found) > 0 {
		home = found[0].Home
	}
	return fmt.Sprintf("%d %d %v %s", u.UID, u.GID, u.AdditionalGids, home)
}

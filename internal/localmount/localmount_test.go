// SPDX-License-Identifier: Apache-2.0

package localmount

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
	"golang.org/x/sys/unix"
)

func TestCheck(t *testing.T) {
	for _, ok := range []map[string]string{
		nil,
		{"type": "tmpfs", "device": "tmpfs"},
		{"type": "none", "device": "/srv", "o": "bind,ro"},
		{"type": "nfs", "device": ":/export", "o": "addr=nfs.example,rw,nfsvers=4"},
		{"type": "tmpfs", "device": "tmpfs", "o": ""},
	} {
		if err := Check(ok); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
	for want, bad := range map[string]map[string]string{
		"invalid option: \"what\"": {"what": "x"}, "required option: \"type\"": {"device": "/srv"}, "required option: \"device\"": {"type": "nfs"},
		"quota": {"size": "1m"}, "\"remount\"": {"type": "tmpfs", "device": "x", "o": "ro,remount"}, "\"shared\"": {"type": "tmpfs", "device": "x", "o": "shared"},
		"NUL": {"type": "tmpfs", "device": "x\x00"},
	} {
		if err := Check(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", bad, err, want)
		}
	}
}

func TestParse(t *testing.T) {
	for o, want := range map[string]struct {
		flags uintptr
		data  string
	}{
		"":                          {0, ""},
		"ro,size=1m,nosuid,uid=3":   {unix.MS_RDONLY | unix.MS_NOSUID, "size=1m,uid=3"},
		"ro,rw,nodev,dev":           {0, ""},
		"rbind,noatime":             {unix.MS_BIND | unix.MS_REC | unix.MS_NOATIME, ""},
		"addr=10.0.0.1,nolock,soft": {0, "addr=10.0.0.1,nolock,soft"},
	} {
		got, err := parse(o)
		if err != nil || got.flags != want.flags || strings.Join(got.data, ",") != want.data {
			t.Errorf("%q: %x %q, %v; want %x %q", o, got.flags, got.data, err, want.flags, want.data)
		}
	}
}

func TestAddressOfAServer(t *testing.T) {
	got, err := resolve([]string{"addr=localhost", "soft", "addr=::1"})
	if err != nil || (got[0] != "addr=127.0.0.1" && got[0] != "addr=::1") || got[1] != "soft" || got[2] != "addr=::1" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestPasswordsAreNotTold(t *testing.T) {
	testutil.RequireRoot(t)
	err := Mount(map[string]string{"type": "cifs", "device": "//h/s", "o": "password=secret,vers=3"}, filepath.Join(t.TempDir(), "gone"))
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "failed to mount local volume: mount //h/s:") {
		t.Errorf("%v", err)
	}
}

func dir(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

func TestMountBindReadOnly(t *testing.T) {
	testutil.RequireRoot(t)
	source, target := dir(t, "source"), dir(t, "target")
	if err := Mount(map[string]string{"type": "none", "device": source, "o": "bind,ro"}, target); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(target+"/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing: %v", err)
	}
}

// TestMountDevice mounts a file system of a block device.
func TestMountDevice(t *testing.T) {
	testutil.RequireRoot(t)
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 8<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Skipf("needs mkfs.ext4: %v %s", err, out)
	}
	out, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		t.Skipf("needs loop devices: %v", err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", device).Run() })
	target := dir(t, "target")
	if err := Mount(map[string]string{"type": "ext4", "device": device, "o": "noatime,data=ordered"}, target); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(target + "/lost+found"); err != nil {
		t.Error(err)
	}
	err = Mount(map[string]string{"type": "xfs", "device": device}, target)
	if err == nil || !strings.Contains(err.Error(), device) {
		t.Errorf("mounted as what it is not: %v", err)
	}
}

// keeper starts a process in a mount namespace of its own, which does nothing.
func keeper(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// TestSharedByTwo mounts a volume in two namespaces, and in a third when both
// have ended.
func TestSharedByTwo(t *testing.T) {
	testutil.RequireRoot(t)
	r := Registry(t.TempDir())
	options := map[string]string{"type": "tmpfs", "device": "tmpfs"}
	target := dir(t, "target")
	in := func(pid int, do func() error) {
		t.Helper()
		if err := InNamespace(pid, do); err != nil {
			t.Fatal(err)
		}
	}
	one, two, three := keeper(t), keeper(t), keeper(t)
	in(one, func() error {
		return errors.Join(r.Mount("v", options, target, one), os.WriteFile(target+"/file", []byte("one"), 0o600))
	})
	in(two, func() error {
		if err := r.Mount("v", options, target, two); err != nil {
			return err
		}
		content, err := os.ReadFile(target + "/file")
		if string(content) != "one" {
			t.Errorf("the second sees %q", content)
		}
		return errors.Join(err, os.WriteFile(target+"/second", nil, 0o600))
	})
	in(one, func() error { _, err := os.Stat(target + "/second"); return err })
	if _, err := os.Stat(target + "/file"); err == nil {
		t.Error("it is mounted outside")
	}
	// The first ends; the second still has it, for somebody who keeps nothing.
	in(one, func() error { return unix.Unmount(target, unix.MNT_DETACH) })
	in(three, func() error {
		err := r.Mount("v", options, target, 0)
		_, serr := os.Stat(target + "/file")
		return errors.Join(err, serr, unix.Unmount(target, unix.MNT_DETACH))
	})
	in(two, func() error { return unix.Unmount(target, unix.MNT_DETACH) })
	in(three, func() error {
		if err := r.Mount("v", options, target, three); err != nil {
			return err
		}
		if entries, err := os.ReadDir(target); err != nil || len(entries) > 0 {
			t.Errorf("a new one has %v, %v", entries, err)
		}
		return nil
	})
	content, err := os.ReadFile(filepath.Join(string(r), "v"))
	if want := strconv.Itoa(three) + " "; err != nil || !strings.HasPrefix(string(content), want) || strings.Count(string(content), "\n") != 1 {
		t.Errorf("the registry says %q, %v", content, err)
	}
}

// TestBelow opens paths of a tree that lead out of it.
func TestBelow(t *testing.T) {
	testutil.RequireRoot(t)
	root, outside := dir(t, "root"), dir(t, "outside")
	err := errors.Join(os.MkdirAll(root+"/a/b", 0o755), os.WriteFile(root+"/a/file", nil, 0o600), os.WriteFile(outside+"/secret", nil, 0o600),
		os.Symlink(outside, root+"/absolute"), os.Symlink("../../../../.."+outside, root+"/a/up"), os.Symlink("/a", root+"/within"),
		os.Symlink("/proc/self/root", root+"/magic"))
	if err != nil {
		t.Fatal(err)
	}
	for sub, isDir := range map[string]bool{"a/b": true, "a/file": false, "within/b": true, "within/../a": true} {
		fd, err := Below(root, sub)
		if err != nil {
			t.Errorf("%s: %v", sub, err)
			continue
		}
		if got, err := IsDir(fd); err != nil || got != isDir {
			t.Errorf("%s is a directory: %v, %v", sub, got, err)
		}
		_ = unix.Close(fd)
	}
	for _, sub := range []string{"absolute", "absolute/secret", "a/up", "a/up/secret", "magic", "../outside/secret", "none"} {
		if fd, err := Below(root, sub); err == nil {
			t.Errorf("%s leads somewhere", sub)
			_ = unix.Close(fd)
		}
	}
}

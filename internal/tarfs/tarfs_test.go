// SPDX-License-Identifier: Apache-2.0

package tarfs_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/davit-engine/davit/internal/tarfs"
	"github.com/davit-engine/davit/internal/tarfs/tartest"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// place makes a root directory beside a file that must not be touched.
func place(t *testing.T) (root, secret string) {
	t.Helper()
	testutil.RequireRoot(t)
	dir := t.TempDir()
	root, secret = filepath.Join(dir, "root"), filepath.Join(dir, "secret")
	for _, d := range []string{"etc", "a/b", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, secret, "secret")
	write(t, filepath.Join(root, "etc/passwd"), "inside")
	write(t, filepath.Join(root, "a/b/file"), "file")
	return root, secret
}

func write(t *testing.T, name, body string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// list names the entries of a tar, with the target of links.
func list(t *testing.T, r io.Reader) []string {
	t.Helper()
	var names []string
	tr := tar.NewReader(r)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		name := hdr.Name
		if hdr.Linkname != "" {
			name += " -> " + hdr.Linkname
		}
		names = append(names, name)
	}
}

func TestPackNamesEntriesAsDockerDoes(t *testing.T) {
	root, secret := place(t)
	symlink(t, "b", filepath.Join(root, "a/link"))
	symlink(t, secret, filepath.Join(root, "out"))
	if err := os.Link(filepath.Join(root, "a/b/file"), filepath.Join(root, "a/b/hard")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(root, "tmp/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path string
		want []string
	}{
		{"/a/b", []string{"b/", "b/file", "b/hard -> b/file"}},
		{"a/b/", []string{"b/", "b/file", "b/hard -> b/file"}},
		{"/a/b/.", []string{"./", "./file", "./hard -> ./file"}},
		{"/a/b/file", []string{"file"}},
		{"/a/link", []string{"link -> b"}},
		{"/a/link/", []string{"link/", "link/file", "link/hard -> link/file"}},
		{"/a/link/.", []string{"./", "./file", "./hard -> ./file"}},
		{"/a/link/file", []string{"file"}},
		{"/../../etc/passwd", []string{"passwd"}},
		{"/out", []string{"out -> " + secret}},
		{"/tmp", []string{"tmp/", "tmp/fifo"}},
		{"/tmp/../.", []string{"./", "./a/", "./a/b/", "./a/b/file", "./a/b/hard -> ./a/b/file", "./a/link -> b", "./etc/", "./etc/passwd", "./out -> " + secret, "./tmp/", "./tmp/fifo"}},
	}
	for _, tt := range tests {
		var buf bytes.Buffer
		if err := tarfs.Pack(t.Context(), root, tt.path, &buf); err != nil {
			t.Errorf("Pack(%q): %v", tt.path, err)
			continue
		}
		if diff := cmp.Diff(tt.want, list(t, &buf)); diff != "" {
			t.Errorf("Pack(%q) (-want +got):\n%s", tt.path, diff)
		}
	}
}

func TestPathsStayInRoot(t *testing.T) {
	root, secret := place(t)
	symlink(t, filepath.Dir(secret), filepath.Join(root, "up"))
	symlink(t, "../../../../../../../../../..", filepath.Join(root, "dots"))
	for _, p := range []string{"/up/secret", "/dots" + secret, "/../secret", "/a/../../secret", "/out/x"} {
		if _, _, err := tarfs.Lstat(root, p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lstat(%q) = %v, want that it does not exist", p, err)
		}
		if err := tarfs.Pack(t.Context(), root, p, io.Discard); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Pack(%q) = %v, want that it does not exist", p, err)
		}
	}
	if _, _, err := tarfs.Lstat(root, "/etc/passwd/"); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Lstat of a file with a slash = %v, want ENOTDIR", err)
	}
}

func TestLstatTellsWhereALinkLeads(t *testing.T) {
	root, _ := place(t)
	symlink(t, "b", filepath.Join(root, "a/link"))
	symlink(t, "/nowhere/x", filepath.Join(root, "a/broken"))
	symlink(t, "gone", filepath.Join(root, "a/gone"))
	for p, want := range map[string]string{
		"/a/link": "/a/b", "/a/broken": "/nowhere/x", "/a/gone": "/a/gone", "/a/b/file": "", "/a/link/": "",
	} {
		fi, target, err := tarfs.Lstat(root, p)
		if err != nil || target != want {
			t.Errorf("Lstat(%q) = %v, %q, %v; want the target %q", p, fi, target, err, want)
		}
	}
}

func TestUnpackHostileArchives(t *testing.T) {
	root, secret := place(t)
	outside := filepath.Dir(secret)
	archives := map[string][]byte{
		"dots":              tartest.Make(t, tartest.File("../../../../../../../../../../../../"+secret, "evil")),
		"absolute":          tartest.Make(t, tartest.File(secret, "evil")),
		"symlinked parent":  tartest.Make(t, tartest.Symlink("x", outside), tartest.File("x/secret", "evil")),
		"symlink over file": tartest.Make(t, tartest.Symlink("y", secret), tartest.File("y", "evil")),
		"dots in symlink":   tartest.Make(t, tartest.Symlink("z", "../../../../../../../.."), tartest.File("z"+secret, "evil")),
		"hard link":         tartest.Make(t, tartest.Link("h", "../secret"), tartest.File("h", "evil")),
		"absolute hard":     tartest.Make(t, tartest.Link("i", secret), tartest.File("i", "evil")),
		"hard via symlink":  tartest.Make(t, tartest.Symlink("j", outside), tartest.Link("k", "j/secret"), tartest.File("k", "evil")),
	}
	for name, data := range archives {
		t.Run(name, func(t *testing.T) {
			// Whether it fails is not what matters, but where it writes.
			err := tarfs.Unpack(t.Context(), root, "/tmp", bytes.NewReader(data), tarfs.Options{})
			t.Logf("Unpack: %v", err)
			if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
				t.Fatalf("the file outside of the root holds %q, %v", got, err)
			}
			var st unix.Stat_t
			if err := unix.Lstat(secret, &st); err != nil || st.Nlink != 1 {
				t.Fatalf("the file outside of the root has %d names, %v", st.Nlink, err)
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) != 2 {
				t.Fatalf("the directory outside of the root holds %v, %v", entries, err)
			}
		})
	}
}

func TestUnpackKeepsAttributes(t *testing.T) {
	root, _ := place(t)
	file := tartest.File("d/tool", "tool")
	file.Mode, file.Uid, file.Gid = 0o4755, 12, 34
	file.PAXRecords["SCHILY.xattr.user.note"] = "hello"
	dir := tartest.Dir("d")
	dir.Mode, dir.Uid = 0o1777, 56
	data := tartest.Make(t, dir, file, tartest.Symlink("d/link", "tool"), tartest.Link("d/hard", "d/tool"))
	if err := tarfs.Unpack(t.Context(), root, "/tmp", bytes.NewReader(tartest.Gzip(t, data)), tarfs.Options{}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(root, "tmp/d/tool"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o7777 != 0o4755 || st.Uid != 12 || st.Gid != 34 || st.Nlink != 2 || st.Mtim.Sec != 1_000_000_000 {
		t.Errorf("the file has %+v", st)
	}
	if err := unix.Lstat(filepath.Join(root, "tmp/d"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o7777 != 0o1777 || st.Uid != 56 || st.Mtim.Sec != 1_000_000_000 {
		t.Errorf("the directory has %+v", st)
	}
	note := make([]byte, 10)
	if n, err := unix.Lgetxattr(filepath.Join(root, "tmp/d/tool"), "user.note", note); err != nil || string(note[:n]) != "hello" {
		t.Errorf("user.note = %q, %v", note[:max(n, 0)], err)
	}
}

func TestUnpackKinds(t *testing.T) {
	root, _ := place(t)
	unpack := func(o tarfs.Options, path string, entries ...tar.Header) error {
		return tarfs.Unpack(t.Context(), root, path, bytes.NewReader(tartest.Make(t, entries...)), o)
	}
	keep := tarfs.Options{KeepKind: true}
	if err := unpack(keep, "/", tartest.File("a", "x")); !errors.Is(err, tarfs.ErrOverwrite) {
		t.Errorf("a file over a directory: %v", err)
	}
	if err := unpack(keep, "/", tartest.Dir("etc/passwd")); !errors.Is(err, tarfs.ErrOverwrite) {
		t.Errorf("a directory over a file: %v", err)
	}
	if err := unpack(keep, "/", tartest.Dir("etc"), tartest.File("etc/passwd", "new")); err != nil {
		t.Errorf("same kinds: %v", err)
	}
	if err := unpack(tarfs.Options{}, "/", tartest.File("a", "x")); err != nil {
		t.Errorf("a file over a directory, allowed: %v", err)
	}
	if err := unpack(keep, "/etc/passwd", tartest.File("a", "x")); err == nil {
		t.Error("unpacking in a file succeeded")
	}
	if err := unpack(keep, "/nowhere", tartest.File("a", "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unpacking nowhere: %v", err)
	}
}

func TestUnpackStopsWithItsContext(t *testing.T) {
	root, _ := place(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := tartest.Make(t, tartest.File("f", strings.Repeat("x", 1000)))
	if err := tarfs.Unpack(ctx, root, "/tmp", bytes.NewReader(data), tarfs.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Unpack with a cancelled context: %v", err)
	}
}

func TestCopyTree(t *testing.T) {
	root, _ := place(t)
	if err := os.Chown(filepath.Join(root, "a"), 7, 8); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root, "a"), 0o750); err != nil {
		t.Fatal(err)
	}
	symlink(t, "/etc/passwd", filepath.Join(root, "a/abs"))
	dst := t.TempDir()
	if err := tarfs.CopyTree(root, "/a", dst); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dst, &st); err != nil || st.Uid != 7 || st.Gid != 8 || st.Mode&0o7777 != 0o750 {
		t.Errorf("the copy has %+v, %v", st, err)
	}
	if got, err := os.ReadFile(filepath.Join(dst, "b/file")); err != nil || string(got) != "file" {
		t.Errorf("b/file = %q, %v", got, err)
	}
	if got, err := os.Readlink(filepath.Join(dst, "abs")); err != nil || got != "/etc/passwd" {
		t.Errorf("abs -> %q, %v", got, err)
	}
	if err := tarfs.CopyTree(root, "/nowhere", dst); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("CopyTree of nothing: %v", err)
	}
}

// TestRacingRenames swaps a directory for a link to the outside, and back, as
// fast as it can while files are unpacked through it.
func TestRacingRenames(t *testing.T) {
	root, secret := place(t)
	symlink(t, filepath.Dir(secret), filepath.Join(root, "evil"))
	if err := os.Mkdir(filepath.Join(root, "good"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for ctx.Err() == nil {
			_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, "good"), unix.AT_FDCWD, filepath.Join(root, "evil"), unix.RENAME_EXCHANGE)
		}
	}()
	data := tartest.Make(t, tartest.File("good/secret", "evil"), tartest.Dir("good/dir"), tartest.File("good/dir/secret", "evil"))
	for range 300 {
		_ = tarfs.Unpack(t.Context(), root, "/", bytes.NewReader(data), tarfs.Options{}) // may meet either
		_ = tarfs.Pack(t.Context(), root, "/good/.", io.Discard)
	}
	cancel()
	<-stopped
	if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
		t.Errorf("the file outside of the root holds %q, %v", got, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(secret)); err != nil || len(entries) != 2 {
		t.Errorf("the directory outside of the root holds %v, %v", entries, err)
	}
}

// mount mounts in this process's namespace, until the test ends.
func mount(t *testing.T, source, target, kind string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, ""); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestPackLeavesOutTheKernelsFiles(t *testing.T) {
	root, _ := place(t)
	for dir, kind := range map[string]string{"proc": "proc", "dev": "tmpfs", "a/run": "tmpfs"} {
		dir = filepath.Join(root, dir)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		mount(t, kind, dir, kind, 0)
		if kind == "tmpfs" {
			write(t, filepath.Join(dir, "x"), "x")
		}
	}
	for path, want := range map[string][]string{
		"/":      {"/", "/a/", "/a/b/", "/a/b/file", "/a/run/", "/a/run/x", "/dev/", "/etc/", "/etc/passwd", "/proc/", "/tmp/"},
		"/proc":  {"proc/"},
		"/dev/x": {"x"},
	} {
		var buf bytes.Buffer
		if err := tarfs.Pack(t.Context(), root, path, &buf); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, list(t, &buf)); diff != "" {
			t.Errorf("Pack(%q) (-want +got):\n%s", path, diff)
		}
	}
}

func TestUnpackWritesToMountedFilesInPlace(t *testing.T) {
	root, secret := place(t)
	passwd := filepath.Join(root, "etc/passwd")
	mount(t, secret, passwd, "", unix.MS_BIND)
	err := tarfs.Unpack(t.Context(), root, "/etc", bytes.NewReader(tartest.Make(t, tartest.File("passwd", "new"))), tarfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(secret); err != nil || string(got) != "new" {
		t.Errorf("what is mounted on the file holds %q, %v", got, err)
	}
}

// TestUnpackMakesNoDisks refuses the nodes of devices with power.
func TestUnpackMakesNoDisks(t *testing.T) {
	testutil.RequireRoot(t)
	for _, tc := range []struct {
		kind         byte
		major, minor int64
		ok           bool
	}{
		{tar.TypeChar, 1, 3, true},
		{tar.TypeBlock, 8, 0, false},
		{tar.TypeBlock, 1, 3, false},
		{tar.TypeChar, 1, 1, false},
		{tar.TypeChar, 1<<32 + 1, 3, false},
	} {
		root := t.TempDir()
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		err := w.WriteHeader(&tar.Header{Name: "node", Typeflag: tc.kind, Mode: 0o666, Devmajor: tc.major, Devminor: tc.minor, Format: tar.FormatGNU})
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		err = tarfs.Unpack(t.Context(), root, "/", &b, tarfs.Options{})
		_, serr := os.Lstat(filepath.Join(root, "node"))
		if (err == nil) != tc.ok || (serr == nil) != tc.ok {
			t.Errorf("%c %d:%d: %v, %v", tc.kind, tc.major, tc.minor, err, serr)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

// TestFiles checks a [service.Files].
func TestFiles(t *testing.T, open func(t *testing.T) service.Files) {
	for name, test := range map[string]func(*testing.T, service.Files, string){
		"stat": testStat, "copy": testCopy, "extract": testExtract, "extract for an owner": testExtractOwner, "extract refuses": testExtractRefusals,
		"stays inside": testConfined, "copy up": testCopyUp, "pack": testPack, "read": testRead,
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for _, dir := range []string{"dir/sub", "real"} {
				must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
			}
			must(t, os.WriteFile(filepath.Join(root, "dir/file"), []byte("content"), 0o640))
			must(t, os.WriteFile(filepath.Join(root, "dir/sub/deep"), []byte("deep"), 0o600))
			must(t, os.WriteFile(filepath.Join(root, "real/inside"), []byte("inside"), 0o644))
			must(t, os.Symlink("/real", filepath.Join(root, "abs"))) // means root's, not the host's
			must(t, os.Symlink("../../../../../real", filepath.Join(root, "up")))
			must(t, os.Symlink("real", filepath.Join(root, "rel")))
			test(t, open(t), root)
		})
	}
}

func testStat(t *testing.T, f service.Files, root string) {
	st := result(f.Stat(root, "/dir/file"))(t)
	if st.Name != "file" || st.Size != 7 || fs.FileMode(st.Mode) != 0o640 || st.Mtime.IsZero() {
		t.Errorf("a file: %+v", st)
	}
	if st = result(f.Stat(root, "dir"))(t); st.Name != "dir" || !fs.FileMode(st.Mode).IsDir() {
		t.Errorf("a directory: %+v", st)
	}
	if st = result(f.Stat(root, "/rel"))(t); fs.FileMode(st.Mode)&fs.ModeSymlink == 0 || st.LinkTarget != "/real" && st.LinkTarget != "real" {
		t.Errorf("a symbolic link: %+v", st)
	}
	if st = result(f.Stat(root, "/"))(t); !fs.FileMode(st.Mode).IsDir() {
		t.Errorf("the root: %+v", st)
	}
	for _, name := range []string{"/nothing", "/dir/nothing", "/nothing/below"} {
		_, err := f.Stat(root, name)
		wantCode(t, err, davit.NoSuchFile, "stat of "+name)
	}
	for _, name := range []string{"/dir/file/.", "/dir/file/below"} {
		_, err := f.Stat(root, name)
		wantCode(t, err, davit.InvalidConfiguration, "stat of "+name)
	}
}

// members lists the names of an archive, without the directories' slashes.
func members(t *testing.T, data []byte) []string {
	t.Helper()
	var out []string
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		must(t, err)
		out = append(out, path.Clean(h.Name))
	}
}

func testCopy(t *testing.T, f service.Files, root string) {
	for name, want := range map[string][]string{
		"/dir":      {"dir", "dir/file", "dir/sub", "dir/sub/deep"},
		"/dir/file": {"file"},
		"/dir/.":    {".", "file", "sub", "sub/deep"},
	} {
		var buf bytes.Buffer
		must(t, f.Copy(t.Context(), root, name, &buf))
		got := members(t, buf.Bytes())
		if len(got) == 0 || got[0] != want[0] {
			t.Errorf("copy of %s begins with %v, want %s", name, got, want[0])
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("copy of %s has %v, want %v", name, got, want)
		}
	}
	var buf bytes.Buffer
	wantCode(t, f.Copy(t.Context(), root, "/nothing", &buf), davit.NoSuchFile, "copying what is not there")
	must(t, f.Copy(t.Context(), root, "/dir/file", &buf))
	if files := result(fake.Untar(&buf))(t); files["file"] != "content" {
		t.Errorf("the copied file reads %q", files["file"])
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Copy(canceled, root, "/dir", io.Discard); err == nil {
		t.Error("a copy with an ended context succeeded")
	}
}

func extract(ctx context.Context, f service.Files, root, name string, data []byte) error {
	return f.Extract(ctx, root, name, davit.ContainerExtract{Source: bytes.NewReader(data)})
}

func testExtract(t *testing.T, f service.Files, root string) {
	must(t, extract(t.Context(), f, root, "/dir", fake.Tar(map[string]string{"file": "changed", "new/": "", "new/one": "1"})))
	for name, want := range map[string]string{"dir/file": "changed", "dir/new/one": "1", "dir/sub/deep": "deep"} {
		if data, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(data) != want {
			t.Errorf("%s reads %q, want %q: %v", name, data, want, err)
		}
	}
	must(t, extract(t.Context(), f, root, "/abs", fake.Tar(map[string]string{"through": "link"})))
	if data, err := os.ReadFile(filepath.Join(root, "real/through")); err != nil || string(data) != "link" {
		t.Errorf("extracted through a link: %q, %v", data, err)
	}
}

// testExtractOwner gives all that is unpacked to somebody.
func testExtractOwner(t *testing.T, f service.Files, root string) {
	testutil.RequireRoot(t)
	req := davit.ContainerExtract{Source: bytes.NewReader(fake.Tar(map[string]string{"new/": "", "new/one": "1"})), Owner: "1234:56"}
	must(t, f.Extract(t.Context(), root, "/dir", req))
	for _, name := range []string{"dir/new", "dir/new/one"} {
		fi := result(os.Lstat(filepath.Join(root, name)))(t)
		if st := fi.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 56 {
			t.Errorf("%s is of %d:%d", name, st.Uid, st.Gid)
		}
	}
	req = davit.ContainerExtract{Source: bytes.NewReader(fake.Tar(map[string]string{"never": ""})), Owner: "nobody-here"}
	wantCode(t, f.Extract(t.Context(), root, "/dir", req), davit.InvalidConfiguration, "an owner that there is not")
	if _, err := os.Lstat(filepath.Join(root, "dir/never")); err == nil {
		t.Error("it was unpacked all the same")
	}
}

func testExtractRefusals(t *testing.T, f service.Files, root string) {
	some := fake.Tar(map[string]string{"x": "y"})
	wantCode(t, extract(t.Context(), f, root, "/nothing", some), davit.NoSuchFile, "extracting where nothing is")
	wantCode(t, extract(t.Context(), f, root, "/dir/file", some), davit.InvalidConfiguration, "extracting in a file")
	wantCode(t, extract(t.Context(), f, root, "/dir", []byte("no archive, but long enough to be looked at")), davit.InvalidArchive, "extracting no archive")
	for _, clash := range []map[string]string{{"file/": ""}, {"sub": "a file now"}} {
		err := f.Extract(t.Context(), root, "/dir", davit.ContainerExtract{Source: bytes.NewReader(fake.Tar(clash)), NoOverwriteDirNonDir: true})
		wantCode(t, err, davit.InvalidConfiguration, "replacing one kind by another when that is forbidden")
	}
	refusal := davit.Errorf(davit.AccessDenied, "not there")
	for name, want := range map[string]string{"/": "/", "/dir/sub": "/dir/sub", "/abs": "/real", "/dir/../rel/": "/real"} {
		asked := ""
		err := f.Extract(t.Context(), root, name, davit.ContainerExtract{Source: bytes.NewReader(some), Check: func(dir string) error { asked = dir; return refusal }})
		wantCode(t, err, davit.AccessDenied, "extracting where it is refused")
		if !errors.Is(err, refusal) || asked != want {
			t.Errorf("extracting in %s asked for %q, want %q, and gave %v", name, asked, want, err)
		}
		if _, err := os.Lstat(filepath.Join(root, want, "x")); !os.IsNotExist(err) {
			t.Errorf("what was refused in %s was written: %v", name, err)
		}
	}
	if info, err := os.Lstat(filepath.Join(root, "dir/sub/deep")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("a refused archive changed the tree: %v", err)
	}
}

func testConfined(t *testing.T, f service.Files, root string) {
	for _, name := range []string{"/abs/inside", "/up/inside", "/rel/inside", "/../../real/inside", "/dir/../rel/inside"} {
		if st, err := f.Stat(root, name); err != nil || st.Size != 6 {
			t.Errorf("stat of %s: %+v, %v", name, st, err)
		}
	}
	outside := filepath.Join(filepath.Dir(root), "outside")
	for _, evil := range []string{"../outside", "/../outside", "dir/../../outside", "up/../../outside"} {
		_ = extract(t.Context(), f, root, "/", fake.Tar(map[string]string{evil: "escaped"})) // it may refuse, or stay inside
		if _, err := os.Lstat(outside); !os.IsNotExist(err) {
			t.Fatalf("the archive member %s was written outside of the root", evil)
		}
	}
	must(t, os.Symlink(filepath.Dir(root), filepath.Join(root, "host")))
	_ = extract(t.Context(), f, root, "/", fake.Tar(map[string]string{"host/outside": "escaped"}))
	if _, err := os.Lstat(outside); !os.IsNotExist(err) {
		t.Fatal("an archive member was written through a link to the outside")
	}
}

func testCopyUp(t *testing.T, f service.Files, root string) {
	dst := t.TempDir()
	must(t, f.CopyUp(root, "/dir", dst))
	for name, want := range map[string]string{"file": "content", "sub/deep": "deep"} {
		if data, err := os.ReadFile(filepath.Join(dst, name)); err != nil || string(data) != want {
			t.Errorf("%s reads %q, want %q: %v", name, data, want, err)
		}
	}
	for name, code := range map[string]davit.Code{"/nothing": "", "/nothing/below": "", "/dir/file": davit.InvalidConfiguration, "/dir/file/below": davit.InvalidConfiguration} {
		empty := t.TempDir()
		if err := f.CopyUp(root, name, empty); code == "" {
			must(t, err)
		} else {
			wantCode(t, err, code, "copying up "+name)
		}
		if entries := result(os.ReadDir(empty))(t); len(entries) != 0 {
			t.Errorf("copying up %s gave %v", name, entries)
		}
	}
	through := t.TempDir()
	must(t, f.CopyUp(root, "/abs", through))
	if data, err := os.ReadFile(filepath.Join(through, "inside")); err != nil || string(data) != "inside" {
		t.Errorf("copied up through a link: %q, %v", data, err)
	}
}

func testPack(t *testing.T, f service.Files, root string) {
	var out bytes.Buffer
	must(t, f.Pack(t.Context(), root, &out))
	got := map[string]string{}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		content := result(io.ReadAll(r))(t)
		got[path.Clean(h.Name)] = string(content) + h.Linkname
		if h.Name[0] == '/' || h.Name[0] == '.' {
			t.Errorf("the entry %q does not begin below the root", h.Name)
		}
	}
	want := map[string]string{
		"dir": "", "dir/file": "content", "dir/sub": "", "dir/sub/deep": "deep", "real": "", "real/inside": "inside",
		"abs": "/real", "up": "../../../../../real", "rel": "real",
	}
	if d := diff(want, got); d != "" {
		t.Errorf("the archive (-want +got):\n%s", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Pack(ctx, root, io.Discard); err == nil {
		t.Error("it went on after its context had ended")
	}
}

func testRead(t *testing.T, f service.Files, root string) {
	for name, want := range map[string]string{"/dir/file": "content", "dir/sub/deep": "deep", "/abs/inside": "inside", "/up/inside": "inside", "/rel/inside": "inside"} {
		if got := string(result(f.Read(root, name, 7))(t)); got != want {
			t.Errorf("%s reads %q, want %q", name, got, want)
		}
	}
	must(t, os.Symlink("/dir/file", filepath.Join(root, "link")))
	if got := string(result(f.Read(root, "/link", 7))(t)); got != "content" {
		t.Errorf("a symbolic link reads %q", got)
	}
	must(t, syscall.Mkfifo(filepath.Join(root, "fifo"), 0o600))
	for _, name := range []string{"/nothing", "/dir/nothing", "/etc/passwd"} {
		_, err := f.Read(root, name, 7)
		wantCode(t, err, davit.NoSuchFile, "reading "+name)
	}
	for _, name := range []string{"/dir", "/fifo", "/"} {
		_, err := f.Read(root, name, 7)
		wantCode(t, err, davit.InvalidConfiguration, "reading "+name)
	}
	_, err := f.Read(root, "/dir/file", 6)
	wantCode(t, err, davit.InvalidConfiguration, "reading more than is wanted")
}

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
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service"
)

// Files is a fake [service.Files] on directories that nobody changes
// meanwhile. It copies files and directories, nothing else.
type Files struct{ Faults }

// resolve follows symbolic links inside root, as if it were chroot(2)ed there;
// one as the last element only when name ends in "/.".
func resolve(root, name string) string {
	at, through := "/", strings.HasSuffix(name, "/.")
	rest := strings.Split(path.Clean("/"+name), "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		at = path.Join("/", at, part)
		target, err := os.Readlink(filepath.Join(root, at))
		if links++; err != nil || (len(rest) == 0 && !through) || links > 255 {
			continue
		}
		at = path.Dir(at)
		if path.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(root, at)
}

func noSuchFile(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return davit.Errorf(davit.NoSuchFile, "no such file: %s", name)
	}
	return err
}

// Stat implements [service.Files].
func (f *Files) Stat(root, name string) (davit.FileStat, error) {
	if err := f.enter("Stat", name); err != nil {
		return davit.FileStat{}, err
	}
	full := resolve(root, name)
	info, err := os.Lstat(full)
	if err != nil {
		return davit.FileStat{}, noSuchFile(name, err)
	}
	st := davit.FileStat{Name: path.Base(path.Clean("/" + name)), Size: info.Size(), Mode: uint32(info.Mode()), Mtime: info.ModTime()}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(full)
		if err != nil {
			return st, err
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(path.Clean("/"+name)), target)
		}
		st.LinkTarget = target
	}
	return st, nil
}

// Copy implements [service.Files].
func (f *Files) Copy(ctx context.Context, root, name string, w io.Writer) error {
	if err := f.enterContext(ctx, "Copy", name); err != nil {
		return err
	}
	full := resolve(root, name)
	if _, err := os.Lstat(full); err != nil {
		return noSuchFile(name, err)
	}
	tw := tar.NewWriter(w)
	base := path.Base(path.Clean("/" + name))
	if strings.HasSuffix(name, "/.") {
		base = "."
	}
	err := filepath.WalkDir(full, func(p string, d fs.DirEntry, err error) error {
		if err != nil || (!d.IsDir() && !d.Type().IsRegular()) {
			return err
		}
		rel, err := filepath.Rel(full, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		h.Name = path.Join(base, rel)
		if d.IsDir() {
			h.Name += "/"
		}
		if err := tw.WriteHeader(h); err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if err == nil {
			_, err = tw.Write(data)
		}
		return err
	})
	return errors.Join(err, tw.Close())
}

// Extract implements [service.Files].
func (f *Files) Extract(ctx context.Context, root, name string, req davit.ContainerExtract) error {
	if err := f.enterContext(ctx, "Extract", name); err != nil {
		return err
	}
	info, err := os.Stat(resolve(root, name+"/."))
	if err != nil {
		return noSuchFile(name, err)
	}
	if !info.IsDir() {
		return davit.Errorf(davit.InvalidConfiguration, "%s is no directory", name)
	}
	files, err := untar(req.Source)
	if err != nil {
		return err
	}
	for member, data := range files {
		full := resolve(root, path.Join(name, path.Clean("/"+member)))
		old, err := os.Lstat(full)
		isDir := strings.HasSuffix(member, "/")
		if err == nil && old.IsDir() != isDir && req.NoOverwriteDirNonDir {
			return davit.Errorf(davit.InvalidConfiguration, "cannot overwrite %s by another kind", member)
		}
		if isDir {
			err = os.MkdirAll(full, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(full), 0o755); err == nil {
			err = os.WriteFile(full, []byte(data), 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// CopyUp implements [service.Files].
func (f *Files) CopyUp(root, name, dst string) error {
	if err := f.enter("CopyUp", name); err != nil {
		return err
	}
	src := resolve(root, name+"/.")
	if info, err := os.Stat(src); err != nil || !info.IsDir() {
		return nil
	}
	return os.CopyFS(dst, os.DirFS(src))
}

// TestFiles checks a [service.Files].
func TestFiles(t *testing.T, open func(t *testing.T) service.Files) {
	for name, test := range map[string]func(*testing.T, service.Files, string){
		"stat": testStat, "copy": testCopy, "extract": testExtract, "extract refuses": testExtractRefusals,
		"stays inside": testConfined, "copy up": testCopyUp,
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
	if files := result(untar(&buf))(t); files["file"] != "content" {
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
	must(t, extract(t.Context(), f, root, "/dir", Tar(map[string]string{"file": "changed", "new/": "", "new/one": "1"})))
	for name, want := range map[string]string{"dir/file": "changed", "dir/new/one": "1", "dir/sub/deep": "deep"} {
		if data, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(data) != want {
			t.Errorf("%s reads %q, want %q: %v", name, data, want, err)
		}
	}
	must(t, extract(t.Context(), f, root, "/abs", Tar(map[string]string{"through": "link"})))
	if data, err := os.ReadFile(filepath.Join(root, "real/through")); err != nil || string(data) != "link" {
		t.Errorf("extracted through a link: %q, %v", data, err)
	}
}

func testExtractRefusals(t *testing.T, f service.Files, root string) {
	some := Tar(map[string]string{"x": "y"})
	wantCode(t, extract(t.Context(), f, root, "/nothing", some), davit.NoSuchFile, "extracting where nothing is")
	wantCode(t, extract(t.Context(), f, root, "/dir/file", some), davit.InvalidConfiguration, "extracting in a file")
	wantCode(t, extract(t.Context(), f, root, "/dir", []byte("no archive, but long enough to be looked at")), davit.InvalidArchive, "extracting no archive")
	for _, clash := range []map[string]string{{"file/": ""}, {"sub": "a file now"}} {
		err := f.Extract(t.Context(), root, "/dir", davit.ContainerExtract{Source: bytes.NewReader(Tar(clash)), NoOverwriteDirNonDir: true})
		wantCode(t, err, davit.InvalidConfiguration, "replacing one kind by another when that is forbidden")
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
		_ = extract(t.Context(), f, root, "/", Tar(map[string]string{evil: "escaped"})) // it may refuse, or stay inside
		if _, err := os.Lstat(outside); !os.IsNotExist(err) {
			t.Fatalf("the archive member %s was written outside of the root", evil)
		}
	}
	must(t, os.Symlink(filepath.Dir(root), filepath.Join(root, "host")))
	_ = extract(t.Context(), f, root, "/", Tar(map[string]string{"host/outside": "escaped"}))
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
	for _, name := range []string{"/nothing", "/nothing/below", "/dir/file"} {
		empty := t.TempDir()
		must(t, f.CopyUp(root, name, empty))
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

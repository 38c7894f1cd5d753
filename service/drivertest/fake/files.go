// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/davit-engine/davit"
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
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return davit.Errorf(davit.NoSuchFile, "no such file: %s", name)
	case errors.Is(err, syscall.ENOTDIR):
		return davit.Errorf(davit.InvalidConfiguration, "%s: %w", name, err)
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
	if strings.HasSuffix(name, "/.") && !info.IsDir() {
		return davit.FileStat{}, noSuchFile(name, syscall.ENOTDIR)
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

// Pack implements [service.Files].
func (f *Files) Pack(ctx context.Context, root string, w io.Writer) error {
	if err := f.enterContext(ctx, "Pack", root); err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	return errors.Join(tw.AddFS(os.DirFS(root)), tw.Close())
}

// Read implements [service.Files].
func (f *Files) Read(root, name string, limit int64) ([]byte, error) {
	if err := f.enter("Read", name); err != nil {
		return nil, err
	}
	full := resolve(root, name+"/.")
	info, err := os.Stat(full)
	if err != nil {
		return nil, noSuchFile(name, err)
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, davit.Errorf(davit.InvalidConfiguration, "cannot read %s", name)
	}
	return os.ReadFile(full)
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
	if req.Check != nil {
		dir, err := filepath.Rel(root, resolve(root, name+"/."))
		if err == nil {
			err = req.Check(path.Join("/", dir))
		}
		if err != nil {
			return err
		}
	}
	if err := chown("", req.Owner); err != nil {
		return err
	}
	files, err := Untar(req.Source)
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
		if err == nil {
			err = chown(full, req.Owner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// chown gives a file, if there is a name, to uid:gid, if there is an owner. The fake
// has no accounts.
func chown(name, owner string) error {
	if owner == "" {
		return nil
	}
	var uid, gid int
	if _, err := fmt.Sscanf(owner, "%d:%d", &uid, &gid); err != nil {
		return davit.Errorf(davit.InvalidConfiguration, "there is no user %q", owner)
	}
	if name == "" {
		return nil
	}
	return os.Lchown(name, uid, gid)
}

// CopyUp implements [service.Files].
func (f *Files) CopyUp(root, name, dst string) error {
	if err := f.enter("CopyUp", name); err != nil {
		return err
	}
	src := resolve(root, name+"/.")
	info, err := os.Stat(src)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR) || err == nil && !info.IsDir():
		return davit.Errorf(davit.InvalidConfiguration, "cannot use a volume at %s: it is not a directory", name)
	case err != nil:
		return err
	}
	return os.CopyFS(dst, os.DirFS(src))
}

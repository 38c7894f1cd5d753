// SPDX-License-Identifier: Apache-2.0

package tarfs

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
	"time"

	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/internal/osthread"
	"golang.org/x/sys/unix"
)

// Options say how to unpack.
type Options struct {
	// KeepKind refuses, with ErrOverwrite, to put a directory in the place of
	// something else, or something else in the place of a directory.
	KeepKind bool
	// Check is asked for leave before anything is written, with the directory that
	// the path leads to through all links; nil gives it.
	Check func(dir string) error
	// WithTop gives the directory itself the attributes of the entry ".".
	WithTop bool
	// Owner has all that is unpacked, whatever the archive says; nil for the
	// archive's owners.
	Owner *Owner
}

// Owner is whose a file is.
type Owner struct{ UID, GID int }

// Unpack unpacks the tar r, plain or compressed as [Decompress] knows, in the
// directory path under root, which must exist. Entries never leave root;
// what they name outside of the directory by ".." is put in it instead.
// Symbolic links are followed as the kernel follows them under root. A file that
// something is mounted on, as on a container's /etc/hosts, is written in place.
// What was unpacked before an error stays.
func Unpack(ctx context.Context, root, name string, r io.Reader, o Options) error {
	return unpack(root, name, &checkedReader{ctx.Err, r}, o)
}

func unpack(root, name string, r io.Reader, o Options) error {
	plain, _, err := Decompress(r)
	if err != nil {
		return err
	}
	defer func() { _ = plain.Close() }() // frees a decoder
	err = osthread.InRoot(root, func() error {
		dir, err := filepath.EvalSymlinks(Absolute(name))
		if err != nil {
			return err
		}
		if fi, err := os.Lstat(dir); err != nil {
			return err
		} else if !fi.IsDir() {
			return ErrNotDirectory
		}
		if o.Check != nil {
			if err := o.Check(dir); err != nil {
				return err
			}
		}
		u := &unpacker{Options: o, dir: dir, tr: tar.NewReader(plain)}
		return u.run()
	})
	if err != nil {
		return fmt.Errorf("cannot unpack in %s: %w", name, err)
	}
	// Padding after the end mark: whoever writes r must not be stopped by us.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return fmt.Errorf("cannot unpack in %s: %w", name, err)
	}
	return nil
}

type unpacker struct {
	Options
	dir  string
	tr   *tar.Reader
	dirs []*tar.Header // their times are set last
}

func (u *unpacker) run() error {
	for {
		hdr, err := u.tr.Next()
		if errors.Is(err, io.EOF) {
			return u.setTimes()
		}
		if err != nil {
			return err
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if u.Owner != nil {
			hdr.Uid, hdr.Gid = u.Owner.UID, u.Owner.GID
		}
		if err := u.entry(hdr); err != nil {
			return err
		}
	}
}

func (u *unpacker) path(name string) string { return path.Join(u.dir, path.Clean("/"+name)) }

func (u *unpacker) entry(hdr *tar.Header) error {
	name := u.path(hdr.Name)
	if name == u.dir {
		if hdr.Typeflag == tar.TypeDir && u.WithTop {
			u.dirs = append(u.dirs, hdr)
			return setDir(name, hdr)
		}
		return nil
	}
	if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeReg && mounted(name) {
		return u.overwrite(name)
	}
	exists, err := u.clear(name, hdr)
	if err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeDir {
		if !exists {
			if err := os.Mkdir(name, 0o700); err != nil {
				return err
			}
		}
		u.dirs = append(u.dirs, hdr)
		return setDir(name, hdr)
	}
	return u.create(name, hdr)
}

// clear makes room for an entry; exists says that its directory is there.
func (u *unpacker) clear(name string, hdr *tar.Header) (exists bool, err error) {
	fi, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	isDir := hdr.Typeflag == tar.TypeDir
	if fi.IsDir() && isDir {
		return true, nil
	}
	if u.KeepKind && fi.IsDir() {
		return false, fmt.Errorf("%w directory %q with non-directory %q", ErrOverwrite, name, hdr.Name)
	}
	if u.KeepKind && isDir {
		return false, fmt.Errorf("%w non-directory %q with directory %q", ErrOverwrite, name, hdr.Name)
	}
	return false, os.RemoveAll(name)
}

// mounted tells whether a regular file is a mount point. Removing it would not
// fail, as it does for whoever is in the mount's own namespace, but take the
// mount away (unlink(2) checks the caller's namespace only, since Linux 3.18).
func mounted(name string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func (u *unpacker) overwrite(name string) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, u.tr)
	return err
}

func (u *unpacker) create(name string, hdr *tar.Header) error {
	switch hdr.Typeflag {
	case tar.TypeReg:
		return u.createFile(name, hdr)
	case tar.TypeLink:
		return os.Link(u.path(hdr.Linkname), name)
	case tar.TypeSymlink:
		if err := os.Symlink(hdr.Linkname, name); err != nil {
			return err
		}
	case tar.TypeFifo:
		if err := unix.Mkfifo(name, uint32(hdr.Mode&0o7777)); err != nil {
			return &os.PathError{Op: "mkfifo", Path: name, Err: err}
		}
	case tar.TypeChar, tar.TypeBlock:
		if err := mknod(name, hdr); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%q: %w: unknown type %q", hdr.Name, tar.ErrHeader, hdr.Typeflag)
	}
	if err := os.Lchown(name, hdr.Uid, hdr.Gid); err != nil {
		return err
	}
	return setTime(name, hdr)
}

func mknod(name string, hdr *tar.Header) error {
	if hdr.Devmajor < 0 || hdr.Devmajor > 0xfff || hdr.Devminor < 0 || hdr.Devminor > 0xfffff { // what dev_t holds
		return fmt.Errorf("%q: %w: device number %d:%d", hdr.Name, tar.ErrHeader, hdr.Devmajor, hdr.Devminor)
	}
	if node := (linux.Device{Block: hdr.Typeflag == tar.TypeBlock, Major: uint32(hdr.Devmajor), Minor: uint32(hdr.Devminor)}); !node.Harmless() {
		return fmt.Errorf("%q: cannot make device %d:%d in a container: only null, zero, full, random, urandom, tty and ptmx", hdr.Name, hdr.Devmajor, hdr.Devminor)
	}
	mode := uint32(hdr.Mode & 0o7777)
	if hdr.Typeflag == tar.TypeChar {
		mode |= unix.S_IFCHR
	} else {
		mode |= unix.S_IFBLK
	}
	if err := unix.Mknod(name, mode, int(unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor)))); err != nil {
		return &os.PathError{Op: "mknod", Path: name, Err: err}
	}
	return nil
}

func (u *unpacker) createFile(name string, hdr *tar.Header) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, u.tr); err != nil {
		return err
	}
	if err := setFile(f, hdr); err != nil {
		return err
	}
	return setTime(name, hdr) // futimes(3) goes through /proc, which is not here
}

// setDir gives a directory the attributes of its entry, by a descriptor:
// whoever may replace the directory by a link must not have them elsewhere.
func setDir(name string, hdr *tar.Header) (err error) {
	f, err := os.OpenFile(name, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return setFile(f, hdr)
}

func setFile(f *os.File, hdr *tar.Header) error {
	if err := f.Chown(hdr.Uid, hdr.Gid); err != nil {
		return err
	}
	if err := f.Chmod(hdr.FileInfo().Mode()); err != nil { // after chown, which drops setuid
		return err
	}
	for key, value := range hdr.PAXRecords {
		attr, ok := strings.CutPrefix(key, paxXattr)
		if !ok || !carried(attr) {
			continue
		}
		err := unix.Fsetxattr(int(f.Fd()), attr, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return &os.PathError{Op: "setxattr " + attr, Path: f.Name(), Err: err}
		}
	}
	return nil
}

func (u *unpacker) setTimes() error {
	for _, hdr := range u.dirs {
		err := setTime(u.path(hdr.Name), hdr)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a later entry may have replaced it
			return err
		}
	}
	return nil
}

func setTime(name string, hdr *tar.Header) error {
	t := unix.NsecToTimespec(bound(hdr.ModTime).UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: name, Err: err}
	}
	return nil
}

// bound keeps a time within what UnixNano can say.
func bound(t time.Time) time.Time {
	if t.Before(time.Unix(0, 0)) || t.Year() > 2261 {
		return time.Unix(0, 0)
	}
	return t
}

// CopyTree copies the content of the directory path under root, with its own
// owner, mode and attributes, to the directory dst, which must exist.
func CopyTree(root, name, dst string) error {
	r, w := io.Pipe()
	never := func() error { return nil }
	packed := make(chan error, 1)
	go func() {
		err := pack(never, root, strings.TrimSuffix(Absolute(name), "/")+"/.", w)
		packed <- errors.Join(err, w.CloseWithError(err))
	}()
	err := unpack(dst, "/", r, Options{WithTop: true})
	_ = r.CloseWithError(err) // lets Pack end; it never fails
	if perr := <-packed; err == nil {
		return perr
	}
	return err
}

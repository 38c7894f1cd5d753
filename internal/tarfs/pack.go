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
	"strings"
	"syscall"
	"time"

	"github.com/davit-engine/davit/internal/osthread"
	"golang.org/x/sys/unix"
)

// Pack writes a tar of what path names under root. The first entry has the last
// element of path as its name, "." for a path that ends in "/.", and "/" for the
// root (which is what the docker CLI expects); all others are below it. A
// symbolic link is packed as such. Files that vanish meanwhile are left out, and
// sockets, which tar has not.
func Pack(ctx context.Context, root, name string, w io.Writer) error {
	return pack(ctx.Err, root, name, w)
}

// PackRoot writes a tar of all that is under root, which is no entry itself.
func PackRoot(ctx context.Context, root string, w io.Writer) error {
	p := &packer{check: ctx.Err, tw: tar.NewWriter(w), links: map[inode]string{}}
	err := osthread.InRoot(root, func() error {
		if err := p.addChildren("/", ""); err != nil {
			return err
		}
		return p.tw.Close()
	})
	if err != nil {
		return fmt.Errorf("cannot pack the tree: %w", err)
	}
	return nil
}

// pack packs; it fails once check does.
func pack(check func() error, root, name string, w io.Writer) error {
	p := &packer{check: check, tw: tar.NewWriter(w), links: map[inode]string{}}
	err := osthread.InRoot(root, func() error {
		name = Absolute(name)
		fi, err := os.Lstat(name)
		if err != nil {
			return err
		}
		base := path.Base(name)
		if strings.HasSuffix(name, "/.") {
			base = "."
		}
		if err := p.add(name, base, fi); err != nil {
			return err
		}
		return p.tw.Close()
	})
	if err != nil {
		return fmt.Errorf("cannot copy %s: %w", name, err)
	}
	return nil
}

type inode struct{ dev, ino uint64 }

type packer struct {
	check func() error
	tw    *tar.Writer
	links map[inode]string // first entry of a file with several names
	layer *layer           // nil: whiteouts are devices like others
}

func (p *packer) add(name, entry string, fi fs.FileInfo) error {
	if err := p.check(); err != nil {
		return err
	}
	if p.layer != nil {
		if done, err := p.layer.convert(p.tw, name, entry, fi); done || err != nil {
			return err
		}
	}
	switch {
	case fi.IsDir():
		return p.addDir(name, entry, fi)
	case fi.Mode().IsRegular():
		return p.addFile(name, entry)
	case fi.Mode()&fs.ModeSocket != 0:
		return nil
	}
	target := ""
	if fi.Mode()&fs.ModeSymlink != 0 {
		var err error
		if target, err = os.Readlink(name); err != nil {
			return ignoreVanished(err)
		}
	}
	hdr, err := header(fi, entry, target)
	if err != nil {
		return err
	}
	return p.tw.WriteHeader(hdr)
}

func (p *packer) addDir(name, entry string, fi fs.FileInfo) error {
	hdr, err := header(fi, strings.TrimSuffix(entry, "/")+"/", "")
	if err != nil {
		return err
	}
	addXattrs(hdr, name)
	if err := p.tw.WriteHeader(hdr); err != nil {
		return err
	}
	if p.layer != nil {
		if err := p.layer.opaque(p.tw, name, hdr); err != nil {
			return err
		}
	} else if kernels(name) {
		return nil
	}
	return p.addChildren(name, hdr.Name)
}

// addChildren adds what is in a directory, with names that begin with prefix.
func (p *packer) addChildren(name, prefix string) error {
	children, err := os.ReadDir(name)
	if err != nil {
		return ignoreVanished(err)
	}
	for _, c := range children {
		child := path.Join(name, c.Name())
		fi, err := os.Lstat(child)
		if err != nil {
			if err := ignoreVanished(err); err != nil {
				return err
			}
			continue
		}
		if err := p.add(child, prefix+c.Name(), fi); err != nil {
			return err
		}
	}
	return nil
}

// kernels tells of directories whose content is the kernel's, or a container's
// devices: docker cp has never seen what is mounted there, most of it cannot be
// read to an end, and other users than root cannot unpack it.
func kernels(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	switch st.Type {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC,
		unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.DEVPTS_SUPER_MAGIC, mqueueMagic:
		return true
	}
	return st.Type == unix.TMPFS_MAGIC && path.Clean(dir) == "/dev"
}

const mqueueMagic = 0x19800202 // ipc/mqueue.c; not in the kernel's magic.h

func (p *packer) addFile(name, entry string) error {
	// Not blocking, as it may have become a fifo since it was looked at.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return ignoreVanished(err)
	}
	defer func() { _ = f.Close() }() // opened for reading
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return nil // replaced meanwhile
	}
	hdr, err := header(fi, entry, "")
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first, ok := p.links[id]; ok {
			hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, first, 0
			return p.tw.WriteHeader(hdr)
		}
		p.links[id] = entry
	}
	addXattrs(hdr, name)
	if err := p.tw.WriteHeader(hdr); err != nil {
		return err
	}
	return p.copy(f, hdr.Size)
}

// copy writes exactly size bytes: what a file that is being written has more
// is left out, what it has less is zeros, as tar(1) does.
func (p *packer) copy(f io.Reader, size int64) error {
	n, err := io.Copy(p.tw, io.LimitReader(&checkedReader{p.check, f}, size))
	if err != nil {
		return err
	}
	_, err = io.CopyN(p.tw, zeros{}, size-n)
	return err
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

type checkedReader struct {
	check func() error
	r     io.Reader
}

func (c *checkedReader) Read(b []byte) (int, error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

func ignoreVanished(err error) error {
	for _, gone := range []error{fs.ErrNotExist, syscall.ELOOP, syscall.ENOTDIR, syscall.ENXIO, syscall.ESRCH} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

// anonymous hides the names of owners from archive/tar, which would look them
// up in the user database of whatever root it finds itself in.
type anonymous struct{ fs.FileInfo }

func (anonymous) Uname() (string, error) { return "", nil }
func (anonymous) Gname() (string, error) { return "", nil }

func header(fi fs.FileInfo, name, target string) (*tar.Header, error) {
	hdr, err := tar.FileInfoHeader(anonymous{fi}, target)
	if err != nil {
		return nil, fmt.Errorf("cannot describe %s: %w", name, err)
	}
	hdr.Name = name
	hdr.Format = tar.FormatPAX
	hdr.ModTime = hdr.ModTime.Truncate(time.Second)
	hdr.AccessTime, hdr.ChangeTime = time.Time{}, time.Time{}
	return hdr, nil
}

// Extended attributes travel as GNU tar's --xattrs does it.
const paxXattr = "SCHILY.xattr."

// carried tells which extended attributes are part of a file's content rather
// than of the place where it is.
func carried(attr string) bool {
	return attr == "security.capability" || strings.HasPrefix(attr, "user.") || strings.HasPrefix(attr, "system.posix_acl_")
}

// addXattrs adds the attributes of name to hdr. A file system without any has
// none to add.
func addXattrs(hdr *tar.Header, name string) {
	list := make([]byte, 64<<10) // XATTR_LIST_MAX
	n, err := unix.Llistxattr(name, list)
	if err != nil || n <= 0 {
		return
	}
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if !carried(attr) {
			continue
		}
		n, err := unix.Lgetxattr(name, attr, value)
		if err != nil {
			continue // removed meanwhile
		}
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = map[string]string{}
		}
		hdr.PAXRecords[paxXattr+attr] = string(value[:n])
	}
}

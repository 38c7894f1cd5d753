// SPDX-License-Identifier: Apache-2.0

package overlay

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

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/davit-engine/davit/internal/linux"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Names of OCI image-spec layer.md, "Whiteouts".
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."     // AUFS's own files
	whiteoutOpaque = ".wh..wh..opq" // hides what the layers below have in this directory
)

const opaqueXattr = "trusted.overlay.opaque"

// unpacker unpacks one layer in a directory that nobody else uses.
type unpacker struct {
	root    string
	parents []string        // diff directories of the layers below, topmost first
	opaque  bool            // the layer hides all layers below
	hidden  map[string]bool // paths below root of which a whiteout was seen
}

// unpack reads the tar r to its end and returns its digest and the bytes of the
// files in it.
func (u *unpacker) unpack(ctx context.Context, r io.Reader) (digest.Digest, int64, error) {
	digester := digest.SHA256.Digester()
	r = io.TeeReader(r, digester.Hash())
	size, err := archive.Apply(ctx, u.root, r,
		archive.WithFilter(u.filter),
		archive.WithConvertWhiteout(u.convert),
		archive.WithParents(u.parents))
	if err != nil {
		return "", 0, err
	}
	// Padding after the end mark of the tar is part of the layer's digest.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return "", 0, err
	}
	return digester.Digest(), size, u.finish()
}

func (u *unpacker) filter(hdr *tar.Header) (bool, error) {
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "SCHILY.xattr.trusted.") {
			delete(hdr.PAXRecords, key) // overlayfs's own: see README.md
		}
	}
	if node := (linux.Device{Block: hdr.Typeflag == tar.TypeBlock, Major: uint32(hdr.Devmajor), Minor: uint32(hdr.Devminor)}); (hdr.Typeflag == tar.TypeBlock || hdr.Typeflag == tar.TypeChar) && !node.Harmless() {
		return false, nil // old images have disks and terminals in /dev, where the container's own is mounted
	}
	dir, base := path.Split(hdr.Name)
	if strings.Contains("/"+dir, "/"+whiteoutMeta) || (strings.HasPrefix(base, whiteoutMeta) && base != whiteoutOpaque) {
		return false, nil
	}
	if len(u.hidden) == 0 {
		return true, nil
	}
	return true, u.reopen(path.Dir(path.Clean("/" + hdr.Name))[1:])
}

// reopen takes back the whiteouts of dir and its parents: a directory that the
// layer removes and makes anew by naming a file in it. The layer may have put a
// symbolic link anywhere since: os.Root does not follow one out of it.
func (u *unpacker) reopen(dir string) error {
	root, err := os.OpenRoot(u.root)
	if err != nil {
		return err
	}
	defer root.Close()
	for ; dir != "." && dir != ""; dir = path.Dir(dir) {
		if !u.hidden[dir] {
			continue
		}
		if fi, err := root.Lstat(dir); err == nil && fi.Mode()&fs.ModeCharDevice != 0 {
			if err := root.Remove(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// convert turns a whiteout into overlayfs's form (the kernel's
// Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
func (u *unpacker) convert(hdr *tar.Header, name string) (write bool, err error) {
	dir, base := filepath.Split(name)
	dir = filepath.Clean(dir)
	if base == whiteoutOpaque {
		if dir == u.root {
			u.opaque = true
			return false, nil
		}
		return false, unix.Setxattr(dir, opaqueXattr, []byte("y"), 0)
	}
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	if !ok {
		return true, nil
	}
	hidden = filepath.Join(dir, hidden) // Apply has refused "", "." and ".."
	if u.hidden == nil {
		u.hidden = map[string]bool{}
	}
	rel, err := filepath.Rel(u.root, hidden)
	if err != nil {
		return false, err
	}
	u.hidden[rel] = true
	if _, err := os.Lstat(hidden); err == nil {
		return false, nil // the layer's own file: only those below are hidden
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := unix.Mknod(hidden, unix.S_IFCHR, 0); err != nil {
		return false, fmt.Errorf("cannot make a whiteout: %w", err)
	}
	return false, os.Lchown(hidden, hdr.Uid, hdr.Gid)
}

// finish makes directories opaque that the layer both removes and has, and
// takes back whiteouts that hide nothing: in a directory that no layer below
// has, overlayfs lists them.
func (u *unpacker) finish() error {
	root, err := os.OpenRoot(u.root)
	if err != nil {
		return err
	}
	defer root.Close()
	for name := range u.hidden {
		fi, err := root.Lstat(name) // does not leave the layer, whatever links it holds
		if err != nil {
			continue // its directory was replaced
		}
		switch {
		case fi.IsDir():
			err = setOpaque(root, name)
		case fi.Mode()&fs.ModeCharDevice != 0:
			var below bool
			if below, err = u.below(name); err == nil && !below {
				err = root.Remove(name)
			}
		}
		if err != nil {
			return fmt.Errorf("cannot finish the whiteout of %s: %w", name, err)
		}
	}
	return nil
}

// setOpaque marks a directory of the layer as hiding what is below it.
func setOpaque(root *os.Root, name string) error {
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Fsetxattr(int(dir.Fd()), opaqueXattr, []byte("y"), 0)
}

// below tells whether a layer below has the name.
func (u *unpacker) below(name string) (bool, error) {
	for _, parent := range u.parents {
		root, err := os.OpenRoot(parent)
		if err != nil {
			return false, err
		}
		_, err = root.Lstat(name) // an error: not there, or not through directories alone
		_ = root.Close()          // opened for reading
		if err == nil {
			return true, nil
		}
	}
	return false, nil
}

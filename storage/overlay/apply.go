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
	hidden  map[string]bool // paths of which a whiteout was seen
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
	dir, base := path.Split(hdr.Name)
	if strings.Contains("/"+dir, "/"+whiteoutMeta) || (strings.HasPrefix(base, whiteoutMeta) && base != whiteoutOpaque) {
		return false, nil
	}
	if len(u.hidden) == 0 {
		return true, nil
	}
	// A directory that the layer removes and makes anew by naming a file in it.
	for p := path.Dir(hdr.Name); p != "." && p != "/"; p = path.Dir(p) {
		name := filepath.Join(u.root, p)
		if !u.hidden[name] {
			continue
		}
		if fi, err := os.Lstat(name); err == nil && fi.Mode()&fs.ModeCharDevice != 0 {
			if err := os.Remove(name); err != nil {
				return false, err
			}
		}
	}
	return true, nil
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
	u.hidden[hidden] = true
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
	for name := range u.hidden {
		fi, err := os.Lstat(name)
		if err != nil {
			continue // its directory was replaced
		}
		switch {
		case fi.IsDir():
			err = unix.Setxattr(name, opaqueXattr, []byte("y"), 0)
		case fi.Mode()&fs.ModeCharDevice != 0:
			var below bool
			if below, err = u.below(name); err == nil && !below {
				err = os.Remove(name)
			}
		}
		if err != nil {
			return fmt.Errorf("cannot finish the whiteout of %s: %w", name, err)
		}
	}
	return nil
}

// below tells whether a layer below has the name.
func (u *unpacker) below(name string) (bool, error) {
	rel, err := filepath.Rel(u.root, name)
	if err != nil {
		return false, err
	}
	for _, parent := range u.parents {
		root, err := os.OpenRoot(parent)
		if err != nil {
			return false, err
		}
		_, err = root.Lstat(rel) // an error: not there, or not through directories alone
		_ = root.Close()         // opened for reading
		if err == nil {
			return true, nil
		}
	}
	return false, nil
}

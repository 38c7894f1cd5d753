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
	"syscall"

	"github.com/davit-engine/davit/internal/osthread"
	"golang.org/x/sys/unix"
)

// Whiteouts of OCI image-spec layer.md.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// errRenamed is of a layer that refers to files of those below it, which
// overlayfs's mount options redirect_dir and metacopy make. A tar cannot.
var errRenamed = errors.New("overlayfs recorded a rename instead of copying: the mount option redirect_dir or metacopy is on")

// PackLayer writes the upper directory of an overlayfs mount as a layer of an
// image: whiteouts and opaque directories in OCI's form, without what lies at
// the paths in leave unless the container put something there. The first entry
// is the root.
func PackLayer(ctx context.Context, root string, leave []string, w io.Writer) error {
	l := &layer{leave: map[string]bool{}}
	for _, name := range leave {
		l.leave[path.Clean("/"+name)] = true
	}
	p := &packer{check: ctx.Err, tw: tar.NewWriter(w), links: map[inode]string{}, layer: l}
	err := osthread.InRoot(root, func() error {
		fi, err := os.Lstat("/")
		if err != nil {
			return err
		}
		if err := p.add("/", ".", fi); err != nil {
			return err
		}
		return p.tw.Close()
	})
	if err != nil {
		return fmt.Errorf("cannot read the layer: %w", err)
	}
	return nil
}

// layer is what a packer of layers knows besides.
type layer struct {
	leave map[string]bool
}

// convert writes what stands for a whiteout, and leaves out the empty places of
// mounts; done says that there is nothing left to write.
func (l *layer) convert(tw *tar.Writer, name, entry string, fi fs.FileInfo) (done bool, err error) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if ok && fi.Mode()&fs.ModeCharDevice != 0 && st.Rdev == 0 {
		return true, whiteout(tw, path.Join(path.Dir(entry), whiteoutPrefix+path.Base(entry)))
	}
	if l.leave[name] {
		return l.isPlace(name, fi)
	}
	if fi.IsDir() || fi.Mode().IsRegular() {
		return false, l.check(name)
	}
	return false, nil
}

// isPlace tells whether there is nothing but what a mount needs.
func (l *layer) isPlace(name string, fi fs.FileInfo) (bool, error) {
	if fi.Mode().IsRegular() {
		return fi.Size() == 0, nil
	}
	if !fi.IsDir() {
		return false, nil
	}
	children, err := os.ReadDir(name)
	return len(children) == 0, ignoreVanished(err)
}

func (l *layer) check(name string) error {
	for _, attr := range []string{"trusted.overlay.redirect", "trusted.overlay.metacopy"} {
		if _, err := unix.Lgetxattr(name, attr, nil); err == nil {
			return fmt.Errorf("%s: %w", name, errRenamed)
		}
	}
	return nil
}

// opaque follows the entry of a directory that hides those of its name below.
func (l *layer) opaque(tw *tar.Writer, name string, hdr *tar.Header) error {
	value := make([]byte, 1)
	n, err := unix.Lgetxattr(name, "trusted.overlay.opaque", value)
	if err != nil || n != 1 || value[0] != 'y' {
		return nil //nolint:nilerr // not marked, or marked with something that hides nothing
	}
	return whiteout(tw, hdr.Name+whiteoutOpaque)
}

func whiteout(tw *tar.Writer, entry string) error {
	return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: entry, Format: tar.FormatPAX})
}

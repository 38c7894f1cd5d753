// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs"
	"github.com/davit-engine/davit/storage/fault"
	"github.com/moby/sys/user"
)

// Files implements the service's Files with docker cp's rules: a path that ends
// in "/" or "/." must be a directory, a symbolic link as the last element is
// meant itself, and an archive of "/a/b" has "b" as its first entry, one of
// "/a/b/." the entry ".".
type Files struct{}

// Stat describes a path; [davit.NoSuchFile] when there is none.
func (*Files) Stat(root, name string) (davit.FileStat, error) {
	fi, target, err := tarfs.Lstat(root, name)
	if err != nil {
		return davit.FileStat{}, pathError(name, err)
	}
	return davit.FileStat{
		Name: path.Base(tarfs.Absolute(name)), Size: fi.Size(), Mode: uint32(fi.Mode()), Mtime: fi.ModTime(), LinkTarget: target,
	}, nil
}

// Copy writes a tar of a path to w.
func (*Files) Copy(ctx context.Context, root, name string, w io.Writer) error {
	return pathError(name, tarfs.Pack(ctx, root, name, w))
}

// Pack writes a tar of a whole tree to w.
func (*Files) Pack(ctx context.Context, root string, w io.Writer) error {
	return tarfs.PackRoot(ctx, root, w)
}

// Read returns the content of a file.
func (*Files) Read(root, name string, limit int64) ([]byte, error) {
	content, err := tarfs.Read(root, name, limit)
	if errors.Is(err, tarfs.ErrNotRegular) || errors.Is(err, syscall.EFBIG) {
		return nil, davit.Errorf(davit.InvalidConfiguration, "%w", err)
	}
	return content, pathError(name, err)
}

// maxAccounts bounds what is read of a root's passwd or group file, bytes.
const maxAccounts = 16 << 20

// findOwner looks user[:group] up in the account files of a root; nil for "".
func findOwner(root, spec string) (*tarfs.Owner, error) {
	if spec == "" {
		return nil, nil
	}
	var accounts [2]io.Reader
	for i, name := range []string{"/etc/passwd", "/etc/group"} {
		content, err := tarfs.Read(root, name, maxAccounts)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, pathError(name, err)
		}
		accounts[i] = bytes.NewReader(content)
	}
	found, err := user.GetExecUser(spec, nil, accounts[0], accounts[1])
	if err != nil {
		return nil, davit.Errorf(davit.InvalidConfiguration, "cannot give what is copied to the container's user %q: %w", spec, err)
	}
	return &tarfs.Owner{UID: found.Uid, GID: found.Gid}, nil
}

// Extract unpacks req.Source in a directory. Owners are those of the archive,
// unless req.Owner is to have it all.
func (*Files) Extract(ctx context.Context, root, name string, req davit.ContainerExtract) error {
	var refusal error
	check := func(dir string) error {
		if req.Check != nil {
			refusal = req.Check(dir)
		}
		return refusal
	}
	owner, err := findOwner(root, req.Owner)
	if err != nil {
		return err
	}
	err = tarfs.Unpack(ctx, root, name, req.Source, tarfs.Options{KeepKind: req.NoOverwriteDirNonDir, Check: check, Owner: owner})
	switch {
	case err == nil:
		return nil
	case refusal != nil:
		return refusal
	case errors.Is(err, tarfs.ErrNotDirectory):
		return davit.Errorf(davit.InvalidConfiguration, "extraction point is not a directory: %s", name)
	case errors.Is(err, tarfs.ErrOverwrite):
		return davit.Errorf(davit.InvalidConfiguration, "%w", err)
	case errors.Is(err, syscall.EROFS):
		return davit.Errorf(davit.AccessDenied, "%s is read-only: %w", name, err)
	}
	var path *fs.PathError
	var link *os.LinkError
	if errors.As(err, &link) && errors.Is(err, fs.ErrNotExist) {
		return davit.Errorf(davit.InvalidArchive, "%w", err) // a hard link to what is not there
	}
	if errors.As(err, &path) || errors.As(err, &link) || errors.Is(err, syscall.ENOSPC) {
		return pathError(name, err)
	}
	return fault.Damaged(ctx, "the archive", name, err)
}

// CopyUp implements the service's Files: without the path there is nothing to
// copy.
func (*Files) CopyUp(root, name, dst string) error {
	entries, err := os.ReadDir(dst)
	if err != nil {
		return fmt.Errorf("cannot fill %s: %w", dst, err)
	}
	if len(entries) > 0 {
		return nil
	}
	fi, _, err := tarfs.Lstat(root, name+"/.")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR) || err == nil && !fi.IsDir():
		return notDirectory(name)
	case err != nil:
		return err
	}
	if err := tarfs.CopyTree(root, name, dst); err != nil {
		return fmt.Errorf("cannot fill %s from %s: %w", dst, name, fault.NoSpace(err, dst))
	}
	return nil
}

func notDirectory(name string) error {
	return davit.Errorf(davit.InvalidConfiguration, "cannot use a volume at %s: it is not a directory in the image, and a volume is one", name)
}

// pathError gives an error of a path its code.
func pathError(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return davit.Errorf(davit.NoSuchFile, "Could not find the file %s", name)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		return davit.Errorf(davit.InvalidConfiguration, "%s: %w", name, err)
	default:
		return fault.NoSpace(err, name)
	}
}

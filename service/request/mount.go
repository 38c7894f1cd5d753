// SPDX-License-Identifier: Apache-2.0

package request

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
)

// mountConfig is the error of a mount of that type.
func mountConfig(kind, format string, args ...any) error {
	return invalid("invalid mount config for type %q: %w", kind, invalid(format, args...))
}

// parseMount reads one --mount.
func parseMount(q *davit.MountRequest) (davit.Mount, error) {
	m := davit.Mount{Type: q.Type, Target: q.Target, ReadWrite: !q.ReadOnly}
	if !slices.Contains([]string{"bind", "volume", "tmpfs", "image"}, q.Type) {
		return m, invalid("invalid mount config for type %q: mount type unknown: use bind, volume, tmpfs or image", q.Type)
	}
	if err := checkTarget(q.Target); err != nil {
		return m, mountConfig(q.Type, "%w", err)
	}
	if name := foreignOption(q); name != "" {
		return m, mountConfig(q.Type, "field %s must not be specified", name)
	}
	var err error
	switch q.Type {
	case "bind":
		err = bindMount(&m, q)
	case "volume":
		err = volumeMount(&m, q)
	case "tmpfs":
		m.Options, err = tmpfsOptions(q)
		if err == nil && q.Source != "" {
			err = invalid("field Source must not be specified")
		}
	case "image":
		m.Source, m.ReadWrite = q.Source, false
		if q.Source == "" {
			err = invalid("field Source must not be empty")
			break
		}
		m.Subpath, err = subpath(q.Subpath)
	}
	if err != nil {
		return m, mountConfig(q.Type, "%w", err)
	}
	return m, nil
}

// foreignOption names an option of another type of mount than the request's.
func foreignOption(q *davit.MountRequest) string {
	for _, f := range []struct {
		name  string
		set   bool
		types []string
	}{
		{"BindOptions", q.Propagation != "" || q.NonRecursive || q.CreateMountpoint || q.ReadOnlyNonRecursive || q.ReadOnlyForceRecursive, []string{"bind"}},
		{"VolumeOptions", q.NoCopy || len(q.VolumeLabels) > 0 || q.VolumeDriver != "" || len(q.VolumeOptions) > 0, []string{"volume"}},
		{"Subpath", q.Subpath != "", []string{"volume", "image"}},
		{"TmpfsOptions", q.TmpfsSize != 0 || q.TmpfsMode != 0 || len(q.TmpfsOptions) > 0, []string{"tmpfs"}},
	} {
		if f.set && !slices.Contains(f.types, q.Type) {
			return f.name
		}
	}
	return ""
}

func bindMount(m *davit.Mount, q *davit.MountRequest) error {
	switch {
	case q.Source == "":
		return invalid("field Source must not be empty")
	case !strings.HasPrefix(q.Source, "/"):
		return invalid("invalid mount path: '%s' mount path must be absolute", q.Source)
	case strings.ContainsRune(q.Source, 0):
		return invalid("a path contains a NUL byte")
	// The runtime takes any option of mount(8) there: "remount", with a link in
	// the image, makes what is mounted read-only elsewhere writable.
	case q.Propagation != "" && !slices.Contains(propagations, q.Propagation):
		return invalid("invalid propagation mode: %s: use %s", q.Propagation, strings.Join(propagations, ", "))
	case q.ReadOnlyNonRecursive && !q.ReadOnly:
		return invalid("mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive")
	case q.ReadOnlyForceRecursive && !q.ReadOnly:
		return invalid("mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive")
	case q.ReadOnlyForceRecursive && q.ReadOnlyNonRecursive:
		return invalid("mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive")
	}
	m.Source = path.Clean(q.Source) // what the rules of access looked at
	m.Propagation = cmp.Or(q.Propagation, "rprivate")
	m.NonRecursive, m.MakeSource = q.NonRecursive, q.CreateMountpoint
	m.ReadOnlyNonRecursive, m.ReadOnlyForceRecursive = q.ReadOnlyNonRecursive, q.ReadOnlyForceRecursive
	return nil
}

func volumeMount(m *davit.Mount, q *davit.MountRequest) (err error) {
	switch {
	case q.Source != "" && !validName.MatchString(q.Source):
		return invalid("invalid volume name %q: use [a-zA-Z0-9][a-zA-Z0-9_.-]", q.Source)
	case q.Source == "" && q.ReadOnly:
		return invalid("must not set ReadOnly mode when using anonymous volumes")
	}
	if m.Subpath, err = subpath(q.Subpath); err != nil {
		return err
	}
	m.Name, m.Driver, m.CopyUp = q.Source, cmp.Or(q.VolumeDriver, localDriver), !q.NoCopy && q.Subpath == ""
	m.VolumeLabels, m.VolumeOptions = q.VolumeLabels, q.VolumeOptions
	return nil
}

// subpath cleans what of a volume or image is to be mounted; "" is all of it.
func subpath(p string) (string, error) {
	switch {
	case p == "":
		return "", nil
	case !filepath.IsLocal(p) || strings.ContainsRune(p, 0):
		return "", invalid("subpath must be a relative path within the volume")
	case path.Clean(p) == ".":
		return "", nil
	}
	return path.Clean(p), nil
}

// tmpfsFlags and tmpfsKeys are the options of mount(8) and tmpfs(5) that make
// sense for a new file system. Others make another mount of it than the one
// that was asked for: bind, remount, shared.
var (
	tmpfsFlags = []string{
		"defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync", "atime", "noatime",
		"diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime",
	}
	tmpfsKeys = []string{"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"}
)

func checkTmpfs(target, options string) error {
	if options == "" {
		return nil
	}
	for _, o := range strings.Split(options, ",") {
		key, value, valued := strings.Cut(o, "=")
		if (valued && (value == "" || strings.ContainsRune(value, 0) || !slices.Contains(tmpfsKeys, key))) || (!valued && !slices.Contains(tmpfsFlags, key)) {
			return invalid("invalid tmpfs option %q of %s: use %s or %s=", o, target, strings.Join(tmpfsFlags, ", "), strings.Join(tmpfsKeys, "=, "))
		}
	}
	return nil
}

// tmpfsOptions writes what a request asks of a tmpfs as mount(8) options.
func tmpfsOptions(q *davit.MountRequest) (string, error) {
	var o []string
	switch {
	case q.TmpfsSize < 0:
		return "", invalid("invalid tmpfs size %d: it must not be negative", q.TmpfsSize)
	case q.TmpfsSize > 0:
		o = append(o, fmt.Sprintf("size=%d", q.TmpfsSize))
	}
	switch {
	case q.TmpfsMode > 0o7777:
		return "", invalid("invalid tmpfs mode %o: it has more than permissions", q.TmpfsMode)
	case q.TmpfsMode != 0:
		o = append(o, fmt.Sprintf("mode=%o", q.TmpfsMode))
	}
	for _, parts := range q.TmpfsOptions {
		if len(parts) != 1 && len(parts) != 2 {
			return "", invalid("invalid option array length: a tmpfs option is a flag, or a key and a value")
		}
		option := strings.Join(parts, "=")
		if strings.ContainsRune(option, ',') {
			return "", invalid("invalid tmpfs option %q", option)
		}
		o = append(o, option)
	}
	joined := strings.Join(o, ",")
	return joined, checkTmpfs(q.Target, joined)
}

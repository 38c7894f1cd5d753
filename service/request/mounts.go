// SPDX-License-Identifier: Apache-2.0

package request

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
)

// Lookup finds what mounts are made of.
type Lookup struct {
	Container func(ref string) (davit.Container, error)
	Image     func(ref string) (davit.Image, error)
	Missing   func(path string) bool // on the host; nil: nobody knows
}

// Mounts makes the container's list of mounts: those of other containers, over
// them its binds and mounts, its tmpfs, and the volumes that its image declares
// where nothing else is. The same target asked for twice is an error.
func Mounts(r *davit.Container, look Lookup) error {
	from, err := volumesFrom(r.HostConfig.VolumesFrom, look)
	if err != nil {
		return err
	}
	own, err := ownMounts(r, look)
	if err != nil {
		return err
	}
	for _, m := range from {
		if _, taken := own[m.Target]; !taken {
			own[m.Target] = m
		}
	}
	for target := range r.Config.Volumes {
		m := davit.Mount{Type: "volume", Target: path.Clean(target), Driver: localDriver, ReadWrite: true, CopyUp: true}
		if err := checkTarget(target); err != nil {
			return invalid("invalid volume of the image: %w", err)
		}
		if driver := r.HostConfig.VolumeDriver; driver != "" {
			m.Driver = driver
		}
		if _, taken := own[m.Target]; !taken {
			own[m.Target] = m
		}
	}
	for _, m := range own {
		if m.Type == "volume" && m.Driver != localDriver {
			return NoDriver(m.Driver)
		}
	}
	// A mount below another one comes after it.
	r.Mounts = slices.SortedFunc(maps.Values(own), func(a, b davit.Mount) int {
		return cmp.Or(strings.Count(a.Target, "/")-strings.Count(b.Target, "/"), strings.Compare(a.Target, b.Target))
	})
	return nil
}

const localDriver = "local"

// NoDriver is the error of a volume driver that there is not.
func NoDriver(name string) error {
	return davit.Errorf(davit.InvalidConfiguration, "error looking up volume plugin %s: plugin %q not found: this engine has the driver local", name, name)
}

// ownMounts reads what the request itself asks for, by target.
func ownMounts(r *davit.Container, look Lookup) (map[string]davit.Mount, error) {
	out := map[string]davit.Mount{}
	add := func(m davit.Mount) error {
		m.Target = path.Clean(m.Target)
		if _, taken := out[m.Target]; taken {
			return invalid("Duplicate mount point: %s", m.Target)
		}
		out[m.Target] = m
		return nil
	}
	for _, b := range r.HostConfig.Binds {
		m, err := parseBind(b, cmp.Or(r.HostConfig.VolumeDriver, localDriver))
		if err != nil {
			return nil, err
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for i := range r.HostConfig.Mounts {
		m, err := parseMount(&r.HostConfig.Mounts[i])
		switch {
		case err != nil:
		case m.Type == "image":
			err = findImage(&m, look)
		case m.Type == "bind" && !m.MakeSource && look.Missing != nil && look.Missing(m.Source):
			err = mountConfig("bind", "bind source path does not exist: %s", m.Source)
		}
		if err != nil {
			return nil, err
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for target, opts := range r.HostConfig.Tmpfs {
		if err := checkTarget(target); err != nil {
			return nil, invalid("invalid tmpfs mount: %w", err)
		}
		if err := checkTmpfs(target, opts); err != nil {
			return nil, err
		}
		if err := add(davit.Mount{Type: "tmpfs", Target: target, ReadWrite: true, Options: opts}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// findImage gives an image mount the id that its reference has now.
func findImage(m *davit.Mount, look Lookup) error {
	img, err := look.Image(m.Source)
	if davit.CodeOf(err) == davit.NoSuchImage {
		// Not that code: to a create, the docker CLI takes a 404 for the container's
		// own image being missing, and pulls that.
		return mountConfig("image", "%w: pull it first", err)
	}
	m.Source = img.ID.String()
	return err
}

// checkTarget refuses what can be no mount point.
func checkTarget(target string) error {
	switch {
	case target == "":
		return invalid("field Target must not be empty")
	case strings.ContainsRune(target, 0):
		return invalid("a path contains a NUL byte")
	case !strings.HasPrefix(target, "/"):
		return invalid("invalid mount path: '%s' mount path must be absolute", target)
	case path.Clean(target) == "/":
		return invalid("invalid specification: destination can't be '/'")
	}
	return nil
}

// SplitFrom reads container[:mode] of --volumes-from.
func SplitFrom(spec string) (ref, mode string, err error) {
	if spec == "" {
		return "", "", invalid("volumes-from specification cannot be an empty string")
	}
	ref, mode, _ = strings.Cut(spec, ":")
	m, ok := parseModes(mode)
	if !ok || m.propagation != "" || m.noCopy {
		return "", "", invalid("invalid volumes-from %q: invalid mode: %s", spec, mode)
	}
	return ref, mode, nil
}

// volumesFrom returns the mounts of other containers, those of a later one over
// those of an earlier one.
func volumesFrom(specs []string, look Lookup) (map[string]davit.Mount, error) {
	out := map[string]davit.Mount{}
	for _, spec := range specs {
		ref, mode, err := SplitFrom(spec)
		if err != nil {
			return nil, err
		}
		other, err := look.Container(ref)
		if davit.CodeOf(err) == davit.NoSuchContainer {
			return nil, invalid("cannot take the volumes of %s: %w", ref, err) // not its code: see findImage
		}
		if err != nil {
			return nil, err
		}
		modes, _ := parseModes(mode)
		for _, m := range other.Listed() {
			m.ReadWrite = m.ReadWrite && !modes.readOnly
			m.CopyUp, m.VolumeLabels = false, nil
			out[m.Target] = m
		}
	}
	return out, nil
}

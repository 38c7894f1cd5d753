// SPDX-License-Identifier: Apache-2.0

package request

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
)

// Mounts makes the container's list of mounts of its binds, mounts,
// tmpfs and the volumes that its image declares. Later kinds do not override
// earlier ones on the same target; the same target given twice is an error.
func Mounts(r *davit.Container) error {
	var out []davit.Mount
	taken := map[string]bool{}
	add := func(m davit.Mount) error {
		m.Target = path.Clean(m.Target)
		switch {
		case !strings.HasPrefix(m.Target, "/"):
			return invalid("invalid mount target %q: it must be an absolute path", m.Target)
		case m.Target == "/":
			return invalid("invalid mount target: it cannot be '/'")
		case taken[m.Target]:
			return invalid("Duplicate mount point: %s", m.Target)
		}
		taken[m.Target] = true
		out = append(out, m)
		return nil
	}
	for _, b := range r.HostConfig.Binds {
		m, err := parseBind(b)
		if err != nil {
			return err
		}
		if err := add(m); err != nil {
			return err
		}
	}
	for _, q := range r.HostConfig.Mounts {
		m, err := parseMount(q)
		if err != nil {
			return err
		}
		if err := add(m); err != nil {
			return err
		}
	}
	for target, opts := range r.HostConfig.Tmpfs {
		if err := checkTmpfs(target, opts); err != nil {
			return err
		}
		if err := add(davit.Mount{Type: "tmpfs", Target: target, ReadWrite: true, Options: opts}); err != nil {
			return err
		}
	}
	for target := range r.Config.Volumes {
		if taken[path.Clean(target)] {
			continue
		}
		m := davit.Mount{Type: "volume", Target: target, Driver: "local", ReadWrite: true, CopyUp: true}
		if err := add(m); err != nil {
			return err
		}
	}
	// A mount below another one comes after it.
	slices.SortStableFunc(out, func(a, b davit.Mount) int {
		return cmp.Or(strings.Count(a.Target, "/")-strings.Count(b.Target, "/"), strings.Compare(a.Target, b.Target))
	})
	r.Mounts = out
	return nil
}

// parseBind reads source:target[:option,…] of -v.
func parseBind(spec string) (davit.Mount, error) {
	parts := strings.Split(spec, ":")
	m := davit.Mount{ReadWrite: true, CopyUp: true}
	switch len(parts) {
	case 2:
	case 3:
		if err := bindOptions(&m, spec, parts[2]); err != nil {
			return m, err
		}
	default:
		return m, invalid("invalid volume specification: '%s': it must be source:target[:options]", spec)
	}
	m.Source, m.Target = parts[0], parts[1]
	if strings.HasPrefix(m.Source, "/") {
		m.Type, m.MakeSource, m.Source = "bind", true, path.Clean(m.Source)
		if m.Propagation == "" {
			m.Propagation = "rprivate"
		}
		m.CopyUp = false
		return m, nil
	}
	if !validName.MatchString(m.Source) {
		return m, invalid("invalid volume specification: '%s': %q includes invalid characters for a local volume name, only %q are allowed. If you intended to pass a host directory, use absolute path", spec, m.Source, "[a-zA-Z0-9][a-zA-Z0-9_.-]")
	}
	m.Type, m.Name, m.Source, m.Driver = "volume", m.Source, "", "local"
	return m, nil
}

// propagations are those of mount_namespaces(7).
var propagations = []string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}

func bindOptions(m *davit.Mount, spec, options string) error {
	for _, o := range strings.Split(options, ",") {
		switch o {
		case "ro":
			m.ReadWrite = false
		case "rw", "z", "Z": // labels: no effect without SELinux
		case "nocopy":
			m.CopyUp = false
		default:
			if slices.Contains(propagations, o) {
				m.Propagation = o
				continue
			}
			return invalid("invalid volume specification: '%s': invalid mode: %s", spec, o)
		}
	}
	return nil
}

func parseMount(q davit.MountRequest) (davit.Mount, error) {
	m := davit.Mount{Type: q.Type, Target: q.Target, ReadWrite: !q.ReadOnly, Propagation: q.Propagation}
	// The runtime takes any option of mount(8) there: "remount", with a link in
	// the image, makes what is mounted read-only elsewhere writable.
	if q.Propagation != "" && !slices.Contains(propagations, q.Propagation) {
		return m, invalid("invalid mount config for %s: invalid propagation %q: use %s", q.Target, q.Propagation, strings.Join(propagations, ", "))
	}
	switch q.Type {
	case "bind":
		if !strings.HasPrefix(q.Source, "/") {
			return m, invalid("invalid mount config for type \"bind\": invalid mount path: '%s' mount path must be absolute", q.Source)
		}
		m.Source = path.Clean(q.Source) // what the rules of access looked at
		m.Propagation = cmp.Or(m.Propagation, "rprivate")
	case "volume":
		if q.Source != "" && !validName.MatchString(q.Source) {
			return m, invalid("invalid mount config for type \"volume\": invalid volume name %q", q.Source)
		}
		m.Name, m.Driver, m.CopyUp = q.Source, "local", !q.NoCopy
	case "tmpfs":
		if q.Source != "" {
			return m, invalid("invalid mount config for type \"tmpfs\": field Source must not be specified")
		}
		m.Options = tmpfsOptions(q)
	default:
		return m, invalid("mount type %q unknown: use bind, volume or tmpfs", q.Type)
	}
	return m, nil
}

// tmpfsFlags and tmpfsKeys are the options of mount(8) and tmpfs(5) that make
// sense for a new file system. Others make another mount of it than the one
// that was asked for: bind, remount, shared.
var (
	tmpfsFlags = []string{
		"ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "atime", "noatime",
		"diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime",
	}
	tmpfsKeys = []string{"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"}
)

func checkTmpfs(target, options string) error {
	if options == "" {
		return nil
	}
	for _, o := range strings.Split(options, ",") {
		key, _, valued := strings.Cut(o, "=")
		if (valued && !slices.Contains(tmpfsKeys, key)) || (!valued && !slices.Contains(tmpfsFlags, key)) {
			return invalid("invalid tmpfs option %q of %s: use %s or %s=", o, target, strings.Join(tmpfsFlags, ", "), strings.Join(tmpfsKeys, "=, "))
		}
	}
	return nil
}

// tmpfsOptions writes a request's size and mode as mount(8) options.
func tmpfsOptions(q davit.MountRequest) string {
	var o []string
	if q.TmpfsSize > 0 {
		o = append(o, fmt.Sprintf("size=%d", q.TmpfsSize))
	}
	if q.TmpfsMode != 0 {
		o = append(o, fmt.Sprintf("mode=%o", q.TmpfsMode))
	}
	return strings.Join(o, ",")
}

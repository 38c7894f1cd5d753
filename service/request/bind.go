// SPDX-License-Identifier: Apache-2.0

package request

import (
	"path"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
)

// modes are the options of -v.
type modes struct {
	readOnly    bool
	noCopy      bool
	propagation string
}

// propagations are those of mount_namespaces(7).
var propagations = []string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}

// parseModes reads the options of -v: at most one of a kind. Labels have no
// effect without SELinux, and consistency has none on Linux.
func parseModes(list string) (m modes, ok bool) {
	if list == "" {
		return m, true
	}
	given := map[string]bool{}
	for _, o := range strings.Split(list, ",") {
		var kind string
		switch o {
		case "ro", "rw":
			kind, m.readOnly = "access", o == "ro"
		case "z", "Z":
			kind = "label"
		case "nocopy":
			kind, m.noCopy = "copy", true
		case "consistent", "cached", "delegated":
			kind = "consistency"
		default:
			if !slices.Contains(propagations, o) {
				return m, false
			}
			kind, m.propagation = "propagation", o
		}
		if given[kind] {
			return m, false
		}
		given[kind] = true
	}
	return m, true
}

// parseBind reads [source:]target[:option,…] of -v. driver is that of volumes.
func parseBind(spec, driver string) (davit.Mount, error) {
	m := davit.Mount{ReadWrite: true, CopyUp: true}
	parts := strings.Split(spec, ":")
	if parts[0] == "" || len(parts) > 3 {
		return m, invalid("invalid volume specification: '%s'", spec)
	}
	switch len(parts) {
	case 1:
		m.Target = parts[0]
	case 2:
		if _, isMode := parseModes(parts[1]); isMode { // /target:ro
			return m, invalid("invalid volume specification: '%s'", spec)
		}
		m.Source, m.Target = parts[0], parts[1]
	case 3:
		m.Source, m.Target, m.Mode = parts[0], parts[1], parts[2]
	}
	o, ok := parseModes(m.Mode)
	if !ok {
		return m, invalid("invalid mode: %s", m.Mode)
	}
	m.ReadWrite, m.Propagation, m.CopyUp = !o.readOnly, o.propagation, !o.noCopy
	if err := checkTarget(m.Target); err != nil {
		return m, invalid("invalid volume specification: '%s': %w", spec, err)
	}
	var err error
	if strings.HasPrefix(m.Source, "/") {
		err = bindOfHost(&m, o)
	} else {
		err = bindOfVolume(&m, o, driver)
	}
	if err != nil {
		return m, invalid("invalid volume specification: '%s': %w", spec, err)
	}
	return m, nil
}

func bindOfHost(m *davit.Mount, o modes) error {
	switch {
	case o.noCopy:
		return mountConfig("bind", "field VolumeOptions must not be specified: nocopy is for volumes")
	case strings.ContainsRune(m.Source, 0):
		return invalid("a path contains a NUL byte")
	}
	m.Type, m.MakeSource, m.CopyUp, m.Source = "bind", true, false, path.Clean(m.Source)
	if m.Propagation == "" {
		m.Propagation = "rprivate"
	}
	return nil
}

func bindOfVolume(m *davit.Mount, o modes, driver string) error {
	switch {
	case o.propagation != "":
		return mountConfig("volume", "field BindOptions must not be specified: propagation is for binds")
	case m.Source != "" && !validName.MatchString(m.Source):
		return invalid("%q includes invalid characters for a local volume name, only %q are allowed. If you intended to pass a host directory, use absolute path", m.Source, "[a-zA-Z0-9][a-zA-Z0-9_.-]")
	case m.Source == "" && o.readOnly:
		return mountConfig("volume", "must not set ReadOnly mode when using anonymous volumes")
	}
	m.Type, m.Name, m.Source, m.Driver = "volume", m.Source, "", driver
	return nil
}

// SPDX-License-Identifier: Apache-2.0

// Package catalog knows the interfaces that XML files describe, in the format
// of the D-Bus specification ("Introspection Data Format").
package catalog

import (
	"encoding/xml"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5/introspect"
)

const documentType = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
`

// Catalog is what the XML files say, by the name of the interface.
type Catalog map[string]introspect.Interface

// Load reads the files of a directory.
func Load(files fs.ReadFileFS, dir string) (Catalog, error) {
	entries, err := fs.ReadDir(files, dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list the interfaces: %w", err)
	}
	c := Catalog{}
	for _, e := range entries {
		data, err := files.ReadFile(dir + "/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("cannot read interface %s: %w", e.Name(), err)
		}
		var n introspect.Node
		if err := xml.Unmarshal(data, &n); err != nil {
			return nil, fmt.Errorf("cannot parse interface %s: %w", e.Name(), err)
		}
		for _, i := range n.Interfaces {
			c[i.Name] = i
		}
	}
	return c, nil
}

// Method returns a method of an interface.
func (c Catalog) Method(iface, member string) (introspect.Method, bool) {
	methods := c[iface].Methods
	i := slices.IndexFunc(methods, func(m introspect.Method) bool { return m.Name == member })
	if i < 0 {
		return introspect.Method{}, false
	}
	return methods[i], true
}

// Writable tells whether a property of an interface can be set.
func (c Catalog) Writable(iface, name string) bool {
	return slices.ContainsFunc(c[iface].Properties, func(p introspect.Property) bool {
		return p.Name == name && strings.Contains(p.Access, "write")
	})
}

// Signature joins the types of a method's arguments of one direction.
func Signature(m introspect.Method, direction string) string {
	var b strings.Builder
	for _, a := range m.Args {
		if a.Direction == direction {
			b.WriteString(a.Type)
		}
	}
	return b.String()
}

// Describe returns the introspection of an object with the interfaces the child nodes.
func (c Catalog) Describe(interfaces, children []string) (string, error) {
	var n introspect.Node
	for _, name := range interfaces {
		n.Interfaces = append(n.Interfaces, c[name])
	}
	for _, name := range children {
		n.Children = append(n.Children, introspect.Node{Name: name})
	}
	out, err := xml.MarshalIndent(n, "", "  ")
	if err != nil {
		return "", fmt.Errorf("cannot write introspection: %w", err)
	}
	return documentType + string(out) + "\n", nil
}

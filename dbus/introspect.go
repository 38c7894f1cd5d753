// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"embed"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5/introspect"

	"github.com/davit-engine/davit"
)

// The interfaces that this service implements.
const (
	managerInterface   = davit.BusName + ".Manager"
	jobInterface       = davit.BusName + ".Job"
	containerInterface = davit.BusName + ".Container"
	imageInterface     = davit.BusName + ".Image"
	networkInterface   = davit.BusName + ".Network"
	volumeInterface    = davit.BusName + ".Volume"

	peerInterface       = "org.freedesktop.DBus.Peer"
	introspectInterface = "org.freedesktop.DBus.Introspectable"
	propertiesInterface = "org.freedesktop.DBus.Properties"
)

// standardInterfaces are on every object.
var standardInterfaces = []string{peerInterface, introspectInterface, propertiesInterface}

//go:embed xml/*.xml
var xmlFiles embed.FS

const documentType = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
`

// catalog is what the XML files say, by the name of the interface.
type catalog map[string]introspect.Interface

// loadCatalog reads the embedded files.
func loadCatalog() (catalog, error) {
	entries, err := xmlFiles.ReadDir("xml")
	if err != nil {
		return nil, fmt.Errorf("cannot list the embedded interfaces: %w", err)
	}
	c := catalog{}
	for _, e := range entries {
		data, err := xmlFiles.ReadFile("xml/" + e.Name())
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

// method returns a method of an interface.
func (c catalog) method(iface, member string) (introspect.Method, bool) {
	methods := c[iface].Methods
	i := slices.IndexFunc(methods, func(m introspect.Method) bool { return m.Name == member })
	if i < 0 {
		return introspect.Method{}, false
	}
	return methods[i], true
}

// signatureOf joins the types of a method's arguments of one direction.
func signatureOf(m introspect.Method, direction string) string {
	var b strings.Builder
	for _, a := range m.Args {
		if a.Direction == direction {
			b.WriteString(a.Type)
		}
	}
	return b.String()
}

// describe returns the introspection of an object with the interfaces, beside
// the standard ones, and the child nodes.
func (c catalog) describe(interfaces, children []string) (string, error) {
	var n introspect.Node
	for _, name := range slices.Concat(standardInterfaces, interfaces) {
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

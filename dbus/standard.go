// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/dbus/values"
)

func ping(*call) ([]any, error) { return nil, nil }

func machineID(*call) ([]any, error) {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return nil, fmt.Errorf("cannot read the machine id: %w", err)
	}
	return []any{values.Text(string(bytes.TrimSpace(id)))}, nil
}

func introspectObject(c *call) ([]any, error) {
	interfaces := slices.Clone(standardInterfaces)
	if c.object.iface != "" {
		interfaces = append(interfaces, c.object.iface)
	}
	var children []string
	if c.object.children != nil {
		var err error
		if children, err = c.object.children(c.ctx); err != nil {
			return nil, err
		}
	}
	out, err := c.catalog.Describe(interfaces, children)
	return []any{out}, err
}

// propertiesOf returns the properties of one interface of the call's object.
func propertiesOf(c *call, iface string) (values.Properties, error) {
	switch {
	case iface != "" && iface == c.object.iface:
		return c.object.properties(asDaemon(c.ctx))
	case iface == peerInterface || iface == introspectInterface || iface == propertiesInterface:
		return nil, nil
	}
	return nil, refusal.New(refusal.NameUnknownInterface, "%s has no interface %s", c.path, iface)
}

func getProperty(c *call) ([]any, error) {
	name := arg[string](c, 1)
	known, err := propertiesOf(c, arg[string](c, 0))
	if err != nil {
		return nil, err
	}
	v, ok := known[name]
	if !ok {
		return nil, refusal.New(refusal.NameUnknownProperty, "%s has no property %s", c.path, name)
	}
	return []any{godbus.MakeVariant(v)}, nil
}

func getAllProperties(c *call) ([]any, error) {
	known, err := propertiesOf(c, arg[string](c, 0))
	if err != nil {
		return nil, err
	}
	return []any{known.Variants()}, nil
}

// setProperty sets one of those that the interface says can be.
func setProperty(c *call) ([]any, error) {
	if _, err := getProperty(c); err != nil {
		return nil, err
	}
	iface, name := arg[string](c, 0), arg[string](c, 1)
	if c.object.set == nil || !c.catalog.Writable(iface, name) {
		return nil, refusal.New(refusal.NamePropertyReadOnly, "property %s is read-only", name)
	}
	return nil, c.object.set(c, name, arg[godbus.Variant](c, 2))
}

// document answers with v as JSON. Valid JSON holds neither invalid UTF-8 nor
// a zero byte, so the bus takes it.
func document(v any, err error) ([]any, error) {
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("cannot write JSON: %w", err)
	}
	return []any{string(out)}, nil
}

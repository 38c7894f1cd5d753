// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"slices"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/parameters"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/engine"
)

// networkLine is a line of ListNetworks, a(ssssto).
type networkLine struct {
	ID, Name, Driver, Link string
	Created                uint64 // microseconds since the epoch
	Path                   godbus.ObjectPath
}

func listNetworks(c *call) ([]any, error) {
	filters, err := listArgs(c)
	if err != nil {
		return nil, err
	}
	list, err := ask(c, davit.Networks{Filters: filters})
	lines := []networkLine{}
	for _, n := range list {
		lines = append(lines, networkLine{
			values.Text(n.ID), values.Text(n.Name), values.Text(n.Driver), values.Text(n.Link), values.USec(n.Created), values.Path("network", n.ID),
		})
	}
	return []any{lines}, err
}

func getNetwork(c *call) ([]any, error) {
	n, err := ask(c, davit.NetworkInspect{Network: arg[string](c, 0)})
	return []any{values.Path("network", n.ID)}, err
}

func describeNetwork(c *call, n davit.NetworkInfo) ([]any, error) {
	return document(ask(c, davit.NetworkInspect{Network: n.ID}))
}

// reapplyNetworks translates ReapplyNetworks(flags), and Reapply of a network.
func reapplyNetworks(c *call) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 0), 0); err != nil {
		return nil, err
	}
	return c.submit(davit.ReapplyNetworks{})
}

// references counts the containers that mount a volume.
func (s *session) references(ctx context.Context, volume string) (int, error) {
	list, err := engine.Do(ctx, s.eng, davit.Containers{All: true})
	n := 0
	for _, c := range list {
		if slices.ContainsFunc(c.Mounts, func(m davit.Mount) bool { return m.Type == "volume" && m.Name == volume }) {
			n++
		}
	}
	return n, err
}

// volumeLine is a line of ListVolumes, a(sssto).
type volumeLine struct {
	Name, Driver, Mountpoint string
	Created                  uint64 // microseconds since the epoch
	Path                     godbus.ObjectPath
}

func listVolumes(c *call) ([]any, error) {
	filters, err := listArgs(c)
	if err != nil {
		return nil, err
	}
	list, err := ask(c, davit.Volumes{Filters: filters})
	lines := []volumeLine{}
	for _, v := range list {
		lines = append(lines, volumeLine{values.Text(v.Name), values.Text(v.Driver), values.Text(v.Mountpoint), values.USec(v.Created), values.Path("volume", v.Name)})
	}
	return []any{lines}, err
}

func getVolume(c *call) ([]any, error) {
	v, err := ask(c, davit.VolumeInspect{Volume: arg[string](c, 0)})
	return []any{values.Path("volume", v.Name)}, err
}

// createVolume translates CreateVolume(name, driver, options, flags); options
// are Labels a{ss} and the driver's own, strings.
func createVolume(c *call) ([]any, error) {
	q := davit.VolumeCreate{Name: arg[string](c, 0), Driver: arg[string](c, 1), Options: map[string]string{}}
	if err := checkFlags(arg[uint64](c, 3), 0); err != nil {
		return nil, err
	}
	o := parameters.Of(arg[map[string]godbus.Variant](c, 2))
	parameters.Take(o, "Labels", &q.Labels)
	for _, name := range o.Rest() {
		var value string
		parameters.Take(o, name, &value)
		q.Options[name] = value
	}
	if err := o.Finish(); err != nil {
		return nil, err
	}
	return c.submit(q)
}

func removeVolume(c *call) ([]any, error) {
	return deleteVolume(c, arg[string](c, 0), arg[uint64](c, 1))
}

func removeThisVolume(c *call, v davit.Volume) ([]any, error) {
	return deleteVolume(c, v.Name, arg[uint64](c, 0))
}

func deleteVolume(c *call, name string, flags uint64) ([]any, error) {
	if err := checkFlags(flags, flagForce); err != nil {
		return nil, err
	}
	return c.submit(davit.VolumeDelete{Volume: name, Force: flags&flagForce != 0})
}

func describeVolume(c *call, v davit.Volume) ([]any, error) {
	return document(ask(c, davit.VolumeInspect{Volume: v.Name}))
}

// volumeDirectory answers with the volume's directory.
func volumeDirectory(c *call, v davit.Volume) ([]any, error) {
	return c.directory(ask(c, davit.VolumeDirectory{Volume: v.Name}))
}

// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/body"
	"github.com/davit-engine/davit/api/wire"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
)

func listVolumes(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	list, err := query(c, davit.Volumes{Filters: filters})
	if err != nil {
		return err
	}
	out := volume.ListResponse{Volumes: []volume.Volume{}, Warnings: []string{}}
	for _, v := range list {
		out.Volumes = append(out.Volumes, volumeWire(v))
	}
	return c.reply(http.StatusOK, out)
}

func createVolume(c *call) error {
	var req volume.CreateRequest
	if err := c.body(&req); err != nil {
		return err
	}
	q, err := body.Volume(req)
	if err != nil {
		return err
	}
	v, err := run(c, q)
	if err != nil {
		return err
	}
	return c.reply(http.StatusCreated, volumeWire(v))
}

func inspectVolume(c *call) error {
	v, err := query(c, davit.VolumeInspect{Volume: c.name})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, volumeWire(v))
}

func deleteVolume(c *call) error {
	_, err := run(c, davit.VolumeDelete{Volume: c.name, Force: c.flag("force")})
	return c.replyEmpty(http.StatusNoContent, err)
}

func volumeWire(v davit.Volume) volume.Volume {
	return volume.Volume{
		Name: v.Name, Driver: v.Driver, Mountpoint: v.Mountpoint, CreatedAt: v.Created.Format(time.RFC3339),
		Labels: wire.OrEmptyMap(v.Labels), Options: wire.OrEmptyMap(v.Options), Scope: "local",
	}
}

func listNetworks(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	list, err := query(c, davit.Networks{Filters: filters})
	if err != nil {
		return err
	}
	out := []network.Summary{}
	for _, n := range list {
		out = append(out, network.Summary{Network: networkWire(n.Network)})
	}
	return c.reply(http.StatusOK, out)
}

func inspectNetwork(c *call) error {
	if scope := c.form.Get("scope"); scope != "" && scope != "local" {
		return davit.Errorf(davit.NoSuchNetwork, "network %s not found: its scope is local, not %s", c.name, scope)
	}
	n, err := query(c, davit.NetworkInspect{Network: c.name})
	if err != nil {
		return err
	}
	out := network.Inspect{Network: networkWire(n.Network), Containers: map[string]network.EndpointResource{}}
	for _, ep := range n.Endpoints {
		out.Containers[ep.ContainerID] = network.EndpointResource{
			Name: n.Names[ep.ContainerID], EndpointID: ep.EndpointID, MacAddress: wire.HardwareAddr(ep.MAC), IPv4Address: ep.Address,
		}
	}
	return c.reply(http.StatusOK, out)
}

func networkWire(n davit.Network) network.Network {
	out := network.Network{
		ID: n.ID, Name: n.Name, Driver: n.Driver, Created: n.Created, Scope: "local", EnableIPv4: true,
		IPAM: network.IPAM{Driver: "default", Options: map[string]string{}, Config: []network.IPAMConfig{}}, Internal: n.Internal,
		Options: wire.OrEmptyMap(n.Options), Labels: wire.OrEmptyMap(n.Labels),
	}
	if n.Subnet.IsValid() {
		out.IPAM.Config = append(out.IPAM.Config, network.IPAMConfig{Subnet: n.Subnet, Gateway: n.Gateway})
	}
	return out
}

// listPlugins answers truly: there are none. docker inspect asks for a name
// everywhere, here too.
func listPlugins(c *call) error { return c.reply(http.StatusOK, []struct{}{}) }

func inspectPlugin(c *call) error {
	return &statusError{http.StatusNotFound, fmt.Sprintf("plugin %q not found", c.name)}
}

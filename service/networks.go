// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/filter"
)

// networkInfo completes a network by its endpoints.
func (s *Service) networkInfo(n davit.Network) davit.NetworkInfo {
	info := davit.NetworkInfo{Network: n, Names: map[string]string{}}
	for _, c := range s.all() {
		rec := c.record()
		for _, ep := range rec.Endpoints {
			if ep.NetworkID == n.ID {
				info.Endpoints = append(info.Endpoints, ep)
				info.Names[rec.ID] = rec.Name
			}
		}
		if rec.State.Running() && len(rec.Endpoints) == 0 && rec.HostConfig.NetworkMode == n.Name {
			info.Endpoints = append(info.Endpoints, davit.Endpoint{NetworkID: n.ID, NetworkName: n.Name, ContainerID: rec.ID})
			info.Names[rec.ID] = rec.Name
		}
	}
	return info
}

// networkFilters are those of GET /networks that this engine knows.
var networkFilters = filter.Table[davit.Network]{
	"name":     func(n davit.Network, v string) bool { return strings.Contains(n.Name, v) },
	"id":       func(n davit.Network, v string) bool { return strings.HasPrefix(n.ID, v) },
	"driver":   func(n davit.Network, v string) bool { return n.Driver == v },
	"scope":    func(_ davit.Network, v string) bool { return v == "local" },
	"type":     func(_ davit.Network, v string) bool { return v == "builtin" },
	"label":    func(n davit.Network, v string) bool { return filter.Label(n.Labels, v) },
	"dangling": func(davit.Network, string) bool { return false }, // built-in networks never are
}

func (s *Service) listNetworks(_ context.Context, _ *engine.Job, q davit.Networks) ([]davit.NetworkInfo, error) {
	if err := networkFilters.Check(q.Filters); err != nil {
		return nil, err
	}
	out := []davit.NetworkInfo{}
	for _, n := range s.allNetworks() {
		if networkFilters.Match(n, q.Filters) {
			out = append(out, s.networkInfo(n))
		}
	}
	return out, nil
}

func (s *Service) allNetworks() []davit.Network {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.networks)
}

func (s *Service) inspectNetwork(_ context.Context, _ *engine.Job, q davit.NetworkInspect) (davit.NetworkInfo, error) {
	for _, n := range s.allNetworks() {
		if n.Name == q.Network || n.ID == q.Network || (len(q.Network) >= 2 && strings.HasPrefix(n.ID, q.Network)) {
			return s.networkInfo(n), nil
		}
	}
	return davit.NetworkInfo{}, davit.Errorf(davit.NoSuchNetwork, "network %s not found", q.Network)
}

// SPDX-License-Identifier: Apache-2.0

package request

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
)

// Ports turns a container's bindings, and with --publish-all its
// exposed ports, into requests to the network, ordered by container port.
func Ports(r *davit.Container, defaultIP netip.Addr) ([]davit.PortRequest, error) {
	if r.HostConfig.NetworkMode != "bridge" {
		return nil, nil
	}
	var out []davit.PortRequest
	for key, bindings := range r.HostConfig.PortBindings {
		port, proto, err := Port(key)
		if err != nil {
			return nil, err
		}
		if len(bindings) == 0 {
			bindings = []davit.PortBinding{{}}
		}
		for _, b := range bindings {
			req, err := portRequest(b, defaultIP)
			if err != nil {
				return nil, err
			}
			req.ContainerPort, req.Proto = port, proto
			out = append(out, req)
		}
	}
	if r.HostConfig.PublishAllPorts {
		for key := range r.Config.ExposedPorts {
			port, proto, err := Port(key)
			if err != nil {
				return nil, err
			}
			if _, bound := r.HostConfig.PortBindings[key]; !bound {
				out = append(out, davit.PortRequest{Proto: proto, ContainerPort: port, HostIP: defaultIP})
			}
		}
	}
	slices.SortFunc(out, func(a, b davit.PortRequest) int {
		if a.ContainerPort != b.ContainerPort {
			return int(a.ContainerPort) - int(b.ContainerPort)
		}
		return strings.Compare(a.Proto, b.Proto)
	})
	return out, nil
}

func portRequest(b davit.PortBinding, defaultIP netip.Addr) (davit.PortRequest, error) {
	req := davit.PortRequest{HostIP: defaultIP}
	if b.HostIP != "" {
		ip, err := netip.ParseAddr(b.HostIP)
		if err != nil {
			return req, invalid("invalid IP address: %s", b.HostIP)
		}
		if req.HostIP = ip.Unmap(); !req.HostIP.Is4() {
			return req, davit.Errorf(davit.NotSupported, "publishing on the IPv6 address %s (HostIp of HostConfig.PortBindings) is not supported: the default network has IPv4 only", b.HostIP)
		}
	}
	if b.HostPort == "" || b.HostPort == "0" {
		return req, nil
	}
	first, last, isRange := strings.Cut(b.HostPort, "-")
	if !isRange {
		last = first
	}
	lo, err1 := strconv.ParseUint(first, 10, 16)
	hi, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || lo == 0 || hi < lo {
		return req, invalid("invalid host port: %s: it must be a port from 1 to 65535 or a rising range of them", b.HostPort)
	}
	req.FirstPort, req.LastPort = uint16(lo), uint16(hi)
	return req, nil
}

// Port reads "80/tcp" or "80".
func Port(key string) (port uint16, proto string, err error) {
	num, proto, found := strings.Cut(key, "/")
	if !found {
		proto = "tcp"
	}
	proto = strings.ToLower(proto)
	n, err := strconv.ParseUint(num, 10, 16)
	if err != nil || n == 0 {
		return 0, "", invalid("invalid container port %q: it must be a number from 1 to 65535 with /tcp, /udp or /sctp", key)
	}
	if proto != "tcp" && proto != "udp" && proto != "sctp" {
		return 0, "", invalid("port %s: invalid protocol %q: use tcp, udp or sctp", key, proto)
	}
	return uint16(n), proto, nil
}

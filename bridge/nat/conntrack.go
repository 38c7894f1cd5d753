// SPDX-License-Identifier: Apache-2.0

package nat

import (
	"fmt"
	"net/netip"

	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flow is one direction each of a connection that the kernel tracks: whom the
// client sent to, and who answers.
type Flow struct {
	To, From netip.AddrPort
}

// Translated says whether the flow goes to another address than the client's
// packets do.
func (f Flow) Translated() bool { return f.To.Addr() != f.From.Addr() }

// matcher lets a function choose flows.
type matcher func(Flow) bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (m matcher) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, ok1 := netip.AddrFromSlice(flow.Forward.DstIP)
	from, ok2 := netip.AddrFromSlice(flow.Reverse.SrcIP)
	return ok1 && ok2 && m(Flow{
		To:   netip.AddrPortFrom(to.Unmap(), flow.Forward.DstPort),
		From: netip.AddrPortFrom(from.Unmap(), flow.Reverse.SrcPort),
	})
}

// ForgetUDP makes the kernel forget the UDP flows that drop chooses. A flow
// keeps the translation of its first packet as long as packets come: without
// this a client that goes on sending would stay with a container that is gone,
// or with the host although a port is published by now. (A TCP client makes a
// new connection, and with it a new flow.)
func ForgetUDP(h *netlinksafe.Handle, drop func(Flow) bool) error {
	_, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, matcher(drop))
	if err != nil {
		return fmt.Errorf("cannot forget flows of the connection tracker: %w", err)
	}
	return nil
}

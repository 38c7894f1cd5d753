// SPDX-License-Identifier: Apache-2.0

package davit

import (
	"net/netip"
	"time"
)

// Network is the record of a network.
type Network struct {
	ID       string
	Name     string
	Driver   string // bridge, host, null
	Created  time.Time
	Link     string // the bridge's name on the host
	Subnet   netip.Prefix
	Gateway  netip.Addr
	MTU      int
	Internal bool
	Options  map[string]string `json:",omitempty"`
	Labels   map[string]string `json:",omitempty"`
}

// NetworkConfig configures the default network.
type NetworkConfig struct {
	Link      string       // name of the bridge, "davit0"
	Address   netip.Prefix // bip: the bridge's address and length; zero value chooses one
	MTU       int          // 0: of the default route's link, else 1500
	IPTables  bool
	IPMasq    bool
	ICC       bool // containers of the default network may talk to each other
	IPForward bool
	HostIP    netip.Addr // default address of published ports; zero is 0.0.0.0
}

// PortRequest asks for one published port.
type PortRequest struct {
	Proto         string
	ContainerPort uint16
	HostIP        netip.Addr // zero: the network's default
	FirstPort     uint16     // 0: any free port
	LastPort      uint16     // equal to FirstPort unless a range was asked for
}

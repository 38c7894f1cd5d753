// SPDX-License-Identifier: Apache-2.0

package values

import (
	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/host"
)

// Network is what is known of a network.
func Network(n davit.NetworkInfo) Properties {
	return Properties{
		"Id": Text(n.ID), "Name": Text(n.Name), "Driver": Text(n.Driver), "Scope": "local", "Internal": n.Internal,
		"InterfaceName": Text(n.Link), "InterfaceIndex": host.InterfaceIndex(n.Link), "CreateTimestamp": USec(n.Created),
	}
}

// Volume is what is known of a volume, which references containers mount.
func Volume(v davit.Volume, references int) Properties {
	return Properties{
		"Name": Text(v.Name), "Driver": Text(v.Driver), "Mountpoint": Text(v.Mountpoint), "CreateTimestamp": USec(v.Created),
		"NReferences": uint32(references),
	}
}

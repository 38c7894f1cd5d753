// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// convertSecurity says how far the container is confined.
func convertSecurity(h *davit.HostConfig) (protocol.Security, error) {
	o, err := davit.ParseSecurityOpt(h.SecurityOpt)
	if err != nil {
		return protocol.Security{}, err
	}
	return protocol.Security{
		Privileged: h.Privileged, ReadonlyRootfs: h.ReadonlyRootfs, CapAdd: h.CapAdd, CapDrop: h.CapDrop,
		NoNewPrivileges: o.NoNewPrivileges, WritableCgroups: o.WritableCgroups, Seccomp: o.Seccomp,
		AppArmor: o.AppArmor, Labels: o.Labels, MaskedPaths: h.MaskedPaths, ReadonlyPaths: h.ReadonlyPaths,
	}, nil
}

// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// convertNamespaces says which namespaces a container shares, and with whom.
// Those of another container are found by its runtime directory at each start,
// as it may have been started anew.
func convertNamespaces(h *davit.HostConfig) protocol.Namespaces {
	shared := func(mode string, more ...string) string {
		if id, ok := strings.CutPrefix(mode, "container:"); ok {
			return id
		}
		for _, word := range append(more, protocol.Host) {
			if mode == word {
				return mode
			}
		}
		return ""
	}
	return protocol.Namespaces{
		Network: shared(h.NetworkMode), Pid: shared(h.PidMode), Ipc: shared(h.IpcMode, "none"), UTS: shared(h.UTSMode),
		Cgroup: h.CgroupnsMode,
	}
}

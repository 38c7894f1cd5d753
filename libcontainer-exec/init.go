// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"os"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// initTarget is where Docker puts the init in a container.
const initTarget = "/sbin/docker-init"

// addInit puts the init of the engine before the container's program.
func addInit(c *protocol.Container, path string) error {
	if path == "" {
		return davit.Errorf(davit.NotSupported, "davit-init was not found beside davitd: install the davit package whole, or give --init-path")
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return davit.Errorf(davit.InvalidConfiguration, "the init %s is not a program", path)
	}
	c.Args = slices.Concat([]string{initTarget, "--"}, c.Args)
	c.Mounts = append(c.Mounts, protocol.Mount{Type: "bind", Source: path, Target: initTarget, ReadOnly: true})
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package values

import "github.com/davit-engine/davit"

// Exec is what is known of an exec session.
func Exec(x davit.Exec) Properties {
	p := Properties{
		"Id": Text(x.ID), "Container": ContainerPath(x.ContainerID), "State": "created", "Leader": uint32(max(0, x.Pid)), "ExitStatus": int32(0),
	}
	switch {
	case x.Exit != nil:
		p["State"], p["ExitStatus"] = "exited", int32(x.Exit.Code)
	case x.Running:
		p["State"] = "running"
	}
	return p
}

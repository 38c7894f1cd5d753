// SPDX-License-Identifier: Apache-2.0

package values

import (
	"strconv"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/host"
)

// Container is what is known of a container.
func Container(c davit.ContainerInfo) Properties {
	policy := c.HostConfig.RestartPolicy
	restart := policy.Name
	if restart == "" {
		restart = "no"
	}
	if policy.MaximumRetryCount > 0 {
		restart += ":" + strconv.Itoa(policy.MaximumRetryCount)
	}
	return Properties{
		"Id": c.ID, "Name": Text(c.Name), "Image": Text(c.ImageRef), "ImageId": Text(string(c.ImageID)), "Unit": Text(c.State.Unit),
		"State": string(c.State.Status), "Health": c.State.Health.String(), "Leader": uint32(max(0, c.State.Pid)), "ExitStatus": int32(c.State.ExitCode),
		"OOMKilled": c.State.OOMKilled, "RestartPolicy": Text(restart), "NRestarts": uint32(max(0, c.Restarts)),
		"CreateTimestamp": USec(c.Created), "StartTimestamp": USec(c.State.StartedAt), "FinishTimestamp": USec(c.State.FinishedAt),
	}
}

// ContainerChanges are the properties whose changes are signalled with their
// values, and ContainerInvalid those that are asked of the host: they change
// with a start or an end.
func ContainerChanges() []string {
	return []string{
		"Name", "Unit", "State", "Health", "Leader", "ExitStatus", "OOMKilled", "RestartPolicy", "NRestarts", "StartTimestamp", "FinishTimestamp",
	}
}

// ContainerInvalid are the properties that are asked of the host: they change with a start or an end.
func ContainerInvalid() []string {
	return []string{"Slice", "ControlGroup", "InvocationID", "NetworkInterfaces"}
}

// Host are those of a container's that the host tells, as it does of
// systemd's units and of machines. What cannot be told is empty.
func Host(c davit.ContainerInfo) Properties {
	group := host.ControlGroup(c.State.Pid, c.State.Unit)
	return Properties{
		"Slice": Text(host.Slice(group)), "ControlGroup": Text(group), "InvocationID": host.Invocation(c.State.Unit),
		"NetworkInterfaces": host.Interfaces(c.Endpoints),
	}
}

// SPDX-License-Identifier: Apache-2.0

package davit

// The permissions that jobs need of callers from outside. Behind [BusName] and
// a dot each is the name of a polkit action (polkit(8)); contrib/polkit holds
// them to defaults. What needs none of them is root's.
const (
	ActionInspect          = "inspect"
	ActionReadLogs         = "read-logs"
	ActionManageContainers = "manage-containers"
	// ActionRunPrivileged is whatever equals being root on the host.
	ActionRunPrivileged  = "run-privileged"
	ActionExec           = "exec"
	ActionShell          = "shell"
	ActionTransferFiles  = "transfer-files"
	ActionManageImages   = "manage-images"
	ActionPushImages     = "push-images"
	ActionManageNetworks = "manage-networks"
	ActionManageVolumes  = "manage-volumes"
	ActionManageJobs     = "manage-jobs"
	ActionPrune          = "prune"
)

// Actions lists the permissions.
func Actions() []string {
	return []string{
		ActionInspect, ActionReadLogs, ActionManageContainers, ActionRunPrivileged, ActionExec, ActionShell, ActionTransferFiles,
		ActionManageImages, ActionPushImages, ActionManageNetworks, ActionManageVolumes, ActionManageJobs, ActionPrune,
	}
}

// ObserversGroup is the group of the host whose members may look at everything
// where no polkit says otherwise. It owns the read-only socket.
const ObserversGroup = "davit-observers"

// Doors: the names of listening sockets, which are classes of trust
// (FileDescriptorName= of systemd.socket(5)).
const (
	DoorAPI      = "api"     // everything, by the caller's permissions
	DoorReadOnly = "api-ro"  // whoever can open it may look, and change nothing
	DoorTLS      = "api-tls" // clients with a certificate: as root
)

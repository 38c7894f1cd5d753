// SPDX-License-Identifier: Apache-2.0

// Package reach says by which member of the bus's interfaces each type of job
// is asked for.
package reach

import (
	"strings"
)

// What stands for a member in [Table].
const (
	Internal = "internal"   // no caller can ask for it
	Enqueued = "EnqueueJob" // it has no method of its own
)

// Table says how each type of job is asked for on the bus: the member, without
// the service's name, that a caller would look for first. Tests hold it against
// the engine's table and the XML files.
func Table() map[string]string {
	return map[string]string{
		"acceptconnections": Internal, "allocate_interface": Internal, "destroy": Internal, "exited": Internal,
		"init_networkdriver": Internal, "release_interface": Internal, "restore": Internal, "serveapi": Internal, "servebus": Internal,

		"noop": Enqueued,

		"commands": "Manager.ListJobTypes", "events": "Manager.OpenEvents", "info": "Manager.Describe", "job_cancel": "Manager.CancelJob",
		"prune": "Manager.Prune", "reload": "Manager.Reload", "system_df": "Manager.GetDiskUsage", "version": "Manager.Describe",

		"attach": "Container.Attach", "commit": "Container.Commit", "container_by_pid": "Manager.GetContainerByPID",
		"container_changes": "Container.GetChanges", "container_copy": "Container.CopyFrom", "container_extract": "Container.CopyTo",
		"container_inspect": "Container.Describe", "container_stat_path": "Container.StatPath", "containers": "Manager.ListContainers",
		"create": "Manager.CreateContainer", "delete": "Container.Remove", "export": "Container.Export", "kill": "Container.Kill",
		"logs": "Container.OpenLogs", "os_release": "Container.GetOSRelease", "pause": "Container.Pause", "rename": "Container.Rename",
		"resize": "Container.ResizeTTY", "restart": "Container.Restart", "root_directory": "Container.OpenRootDirectory",
		"run": "Manager.RunContainer", "start": "Container.Start", "stats": "Container.OpenStats", "stop": "Container.Stop",
		"top": "Container.GetProcesses", "unpause": "Container.Unpause", "update": "Container.Update", "wait": "Container.Wait",

		"exec_create": "Container.CreateExec", "exec_inspect": "Exec.Describe", "exec_kill": "Exec.Kill", "exec_resize": "Exec.ResizeTTY",
		"exec_start": "Exec.Start",

		"auth": "Manager.RegistryLogin", "history": "Image.GetHistory", "image_delete": "Image.Remove", "image_export": "Manager.SaveImages",
		"image_inspect": "Image.Describe", "images": "Manager.ListImages", "import": "Manager.ImportImage", "load": "Manager.LoadImages",
		"pull": "Manager.PullImage", "push": "Manager.PushImage", "search": "Manager.SearchImages", "tag": "Image.Tag",

		"network_inspect": "Network.Describe", "networks": "Manager.ListNetworks", "reapply_networks": "Manager.ReapplyNetworks",

		"volume_create": "Manager.CreateVolume", "volume_delete": "Volume.Remove", "volume_directory": "Volume.OpenDirectory",
		"volume_inspect": "Volume.Describe", "volumes": "Manager.ListVolumes",
	}
}

// SubjectKind returns what kind of thing the jobs of a type are about, ""
// when it cannot be told.
func SubjectKind(jobType string) string {
	switch jobType {
	case "create", "run":
		return "Container"
	case "tag", "image_delete", "push":
		return "Image"
	case "volume_create", "volume_delete":
		return "Volume"
	}
	if strings.HasPrefix(Table()[jobType], "Container.") {
		return "Container"
	}
	return ""
}

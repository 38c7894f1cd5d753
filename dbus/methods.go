// SPDX-License-Identifier: Apache-2.0

package dbus

// row says which handler serves a method, and who may call it.
type row struct {
	iface, member string
	gate          gate
	handle        handler
}

// rows is the table of all methods; a test holds it against the XML files.
func rows() []row {
	standard := []row{
		{peerInterface, "Ping", everybody, ping},
		{peerInterface, "GetMachineId", everybody, machineID},
		{introspectInterface, "Introspect", readers, introspectObject},
		{propertiesInterface, "Get", readers, getProperty},
		{propertiesInterface, "GetAll", readers, getAllProperties},
		{propertiesInterface, "Set", rootOnly, setProperty},
	}
	var all []row
	for _, part := range [][]row{standard, managerRows(), jobRows(), containerRows(), execRows(), imageRows(), networkRows(), volumeRows()} {
		all = append(all, part...)
	}
	return all
}

func managerRows() []row {
	return []row{
		{managerInterface, "Describe", byJob, describeEngine},
		{managerInterface, "GetDiskUsage", byJob, diskUsage},
		{managerInterface, "OpenEvents", byJob, openEvents},
		{managerInterface, "Reload", rootOnly, reload},
		{managerInterface, "Prune", byJob, prune},
		{managerInterface, "ListJobs", inspectors, listJobs},
		{managerInterface, "ListJobTypes", inspectors, listJobTypes},
		{managerInterface, "GetJob", byJob, getJob},
		{managerInterface, "EnqueueJob", rootOnly, enqueueJob},
		{managerInterface, "EnqueueJobWithFDs", rootOnly, enqueueJobWithFDs},
		{managerInterface, "CancelJob", byJob, cancelJobByID},
		{managerInterface, "WaitJob", byJob, waitJobByID},
		{managerInterface, "ListContainers", byJob, listContainers},
		{managerInterface, "GetContainer", byJob, getContainer},
		{managerInterface, "GetContainerByPID", byJob, containerByPID},
		{managerInterface, "GetContainerByPIDFD", byJob, containerByPIDFD},
		{managerInterface, "GetContainerByUnit", byJob, containerByUnit},
		{managerInterface, "CreateContainer", byJob, createContainer},
		{managerInterface, "RunContainer", byJob, runContainer},
		{managerInterface, "StartContainer", byJob, startContainer},
		{managerInterface, "StopContainer", byJob, stopContainer},
		{managerInterface, "RestartContainer", byJob, restartContainer},
		{managerInterface, "KillContainer", byJob, killContainer},
		{managerInterface, "RemoveContainer", byJob, removeContainer},
		{managerInterface, "ListImages", byJob, listImages},
		{managerInterface, "GetImage", byJob, getImage},
		{managerInterface, "PullImage", byJob, pullImage},
		{managerInterface, "PushImage", byJob, pushImage},
		{managerInterface, "BuildImage", everybody, later},
		{managerInterface, "LoadImages", byJob, loadImages},
		{managerInterface, "SaveImages", byJob, saveImages},
		{managerInterface, "ImportImage", byJob, importImage},
		{managerInterface, "SearchImages", byJob, searchImages},
		{managerInterface, "RegistryLogin", byJob, registryLogin},
		{managerInterface, "TagImage", byJob, tagImage},
		{managerInterface, "RemoveImage", byJob, removeImage},
		{managerInterface, "ListNetworks", byJob, listNetworks},
		{managerInterface, "GetNetwork", byJob, getNetwork},
		{managerInterface, "CreateNetwork", everybody, later},
		{managerInterface, "RemoveNetwork", everybody, later},
		{managerInterface, "ReapplyNetworks", byJob, reapplyNetworks},
		{managerInterface, "ListVolumes", byJob, listVolumes},
		{managerInterface, "GetVolume", byJob, getVolume},
		{managerInterface, "CreateVolume", byJob, createVolume},
		{managerInterface, "RemoveVolume", byJob, removeVolume},
	}
}

func jobRows() []row {
	return []row{
		{jobInterface, "Cancel", byJob, on(cancelJob)},
		{jobInterface, "Wait", watchers, on(waitJob)},
		{jobInterface, "OpenOutput", watchers, on(openOutput)},
		{jobInterface, "GetAfter", watchers, on(jobsBefore)},
	}
}

func containerRows() []row {
	return []row{
		{containerInterface, "Start", byJob, onContainer(startContainerNamed)},
		{containerInterface, "Stop", byJob, onContainer(stopContainerNamed)},
		{containerInterface, "Restart", byJob, onContainer(restartContainerNamed)},
		{containerInterface, "Kill", byJob, onContainer(killContainerNamed)},
		{containerInterface, "Pause", byJob, on(pauseContainer)},
		{containerInterface, "Unpause", byJob, on(unpauseContainer)},
		{containerInterface, "Remove", byJob, onContainer(removeContainerNamed)},
		{containerInterface, "Rename", byJob, on(renameContainer)},
		{containerInterface, "Update", everybody, onContainer(updateContainerNamed)},
		{containerInterface, "Commit", byJob, on(commitContainer)},
		{containerInterface, "Export", byJob, on(exportContainer)},
		{containerInterface, "CopyTo", byJob, on(copyTo)},
		{containerInterface, "CopyFrom", byJob, on(copyFrom)},
		{containerInterface, "StatPath", byJob, on(statPath)},
		{containerInterface, "Describe", byJob, on(describeContainer)},
		{containerInterface, "Wait", byJob, on(waitContainer)},
		{containerInterface, "GetProcesses", byJob, on(containerProcesses)},
		{containerInterface, "GetAddresses", byJob, on(containerAddresses)},
		{containerInterface, "GetOSRelease", byJob, on(containerRelease)},
		{containerInterface, "GetChanges", byJob, on(containerChanged)},
		{containerInterface, "GetStats", byJob, on(getStats)},
		{containerInterface, "OpenStats", byJob, on(openStats)},
		{containerInterface, "OpenLogs", byJob, on(openLogs)},
		{containerInterface, "Attach", byJob, on(attach)},
		{containerInterface, "ResizeTTY", byJob, on(resizeContainer)},
		{containerInterface, "OpenShell", byJob, on(openShell)},
		{containerInterface, "CreateExec", byJob, on(createExec)},
		{containerInterface, "OpenRootDirectory", byJob, on(containerRoot)},
	}
}

func execRows() []row {
	return []row{
		{execInterface, "Start", byJob, on(startExec)},
		{execInterface, "ResizeTTY", byJob, on(resizeExec)},
		{execInterface, "Kill", byJob, on(killExec)},
		{execInterface, "Describe", byJob, on(describeExec)},
	}
}

func imageRows() []row {
	return []row{
		{imageInterface, "Tag", byJob, on(tagThisImage)},
		{imageInterface, "Push", byJob, on(pushThisImage)},
		{imageInterface, "Save", byJob, on(saveThisImage)},
		{imageInterface, "Remove", byJob, on(removeThisImage)},
		{imageInterface, "Describe", byJob, on(describeImage)},
		{imageInterface, "GetHistory", byJob, on(imageHistory)},
		{imageInterface, "GetOSRelease", byJob, on(imageRelease)},
	}
}

func networkRows() []row {
	return []row{
		{networkInterface, "Connect", everybody, later},
		{networkInterface, "Disconnect", everybody, later},
		{networkInterface, "Remove", everybody, later},
		{networkInterface, "Reapply", byJob, reapplyNetworks},
		{networkInterface, "Describe", byJob, on(describeNetwork)},
	}
}

func volumeRows() []row {
	return []row{
		{volumeInterface, "Remove", byJob, on(removeThisVolume)},
		{volumeInterface, "Describe", byJob, on(describeVolume)},
		{volumeInterface, "OpenDirectory", byJob, on(volumeDirectory)},
	}
}

func methodTable() map[string]row {
	table := map[string]row{}
	for _, r := range rows() {
		table[r.iface+"."+r.member] = r
	}
	return table
}

// SPDX-License-Identifier: Apache-2.0

package dbus

// row says which handler serves a method.
type row struct {
	iface, member string
	handle        handler
}

// rows is the table of all methods; a test holds it against the XML files.
func rows() []row {
	return []row{
		{peerInterface, "Ping", ping},
		{peerInterface, "GetMachineId", machineID},
		{introspectInterface, "Introspect", introspectObject},
		{propertiesInterface, "Get", getProperty},
		{propertiesInterface, "GetAll", getAllProperties},
		{propertiesInterface, "Set", setProperty},

		{managerInterface, "Describe", describeEngine},
		{managerInterface, "ListJobs", listJobs},
		{managerInterface, "ListJobTypes", listJobTypes},
		{managerInterface, "GetJob", getJob},
		{managerInterface, "EnqueueJob", enqueueJob},
		{managerInterface, "CancelJob", cancelJobByID},
		{managerInterface, "WaitJob", waitJobByID},
		{managerInterface, "ListContainers", listContainers},
		{managerInterface, "GetContainer", getContainer},
		{managerInterface, "RunContainer", runContainer},
		{managerInterface, "StartContainer", startContainer},
		{managerInterface, "StopContainer", stopContainer},
		{managerInterface, "RestartContainer", restartContainer},
		{managerInterface, "KillContainer", killContainer},
		{managerInterface, "RemoveContainer", removeContainer},
		{managerInterface, "ListImages", listImages},
		{managerInterface, "GetImage", getImage},
		{managerInterface, "PullImage", pullImage},
		{managerInterface, "TagImage", tagImage},
		{managerInterface, "RemoveImage", removeImage},
		{managerInterface, "ListNetworks", listNetworks},
		{managerInterface, "GetNetwork", getNetwork},
		{managerInterface, "ListVolumes", listVolumes},
		{managerInterface, "GetVolume", getVolume},
		{managerInterface, "CreateVolume", createVolume},
		{managerInterface, "RemoveVolume", removeVolume},

		{jobInterface, "Cancel", on(cancelJob)},
		{jobInterface, "Wait", on(waitJob)},
		{jobInterface, "OpenOutput", on(openOutput)},

		{containerInterface, "Start", onContainer(startContainerNamed)},
		{containerInterface, "Stop", onContainer(stopContainerNamed)},
		{containerInterface, "Restart", onContainer(restartContainerNamed)},
		{containerInterface, "Kill", onContainer(killContainerNamed)},
		{containerInterface, "Remove", onContainer(removeContainerNamed)},
		{containerInterface, "Rename", on(renameContainer)},
		{containerInterface, "Describe", on(describeContainer)},
		{containerInterface, "Wait", on(waitContainer)},
		{containerInterface, "GetProcesses", on(containerProcesses)},

		{imageInterface, "Tag", on(tagThisImage)},
		{imageInterface, "Remove", on(removeThisImage)},
		{imageInterface, "Describe", on(describeImage)},
		{imageInterface, "GetHistory", on(imageHistory)},

		{networkInterface, "Describe", on(describeNetwork)},

		{volumeInterface, "Remove", on(removeThisVolume)},
		{volumeInterface, "Describe", on(describeVolume)},
	}
}

func methodTable() map[string]handler {
	table := map[string]handler{}
	for _, r := range rows() {
		table[r.iface+"."+r.member] = r.handle
	}
	return table
}

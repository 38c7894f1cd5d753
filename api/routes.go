// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/http"
	"strings"
)

// routes is the table of endpoints: all that moby/moby/api documents, and
// /davit/. Rows without variable stand before those that would match them.
func routes() []route {
	return append(served(), unserved()...)
}

func served() []route {
	return []route{
		{method: "GET", pattern: "/_ping", handle: ping},
		{method: "HEAD", pattern: "/_ping", handle: ping},
		{method: "GET", pattern: "/version", handle: getVersion},
		{method: "GET", pattern: "/info", handle: getInfo},
		{method: "GET", pattern: "/events", handle: getEvents},
		{method: "GET", pattern: "/system/df", handle: getDiskUsage},
		{method: "POST", pattern: "/build/prune", handle: pruneBuildCache},

		{method: "GET", pattern: "/containers/json", handle: listContainers},
		{method: "POST", pattern: "/containers/create", handle: createContainer},
		{method: "GET", pattern: "/containers/{id}/json", handle: inspectContainer},
		{method: "GET", pattern: "/containers/{id}/top", handle: topContainer},
		{method: "GET", pattern: "/containers/{id}/logs", handle: logs},
		{method: "GET", pattern: "/containers/{id}/stats", handle: stats},
		{method: "GET", pattern: "/containers/{id}/changes", handle: listChanges},
		{method: "GET", pattern: "/containers/{id}/export", handle: exportContainer, changes: true},
		{method: "POST", pattern: "/containers/prune", handle: pruneContainers},
		{method: "POST", pattern: "/containers/{id}/pause", handle: pauseContainer},
		{method: "POST", pattern: "/containers/{id}/unpause", handle: unpauseContainer},
		{method: "POST", pattern: "/containers/{id}/start", handle: startContainer},
		{method: "POST", pattern: "/containers/{id}/stop", handle: stopContainer},
		{method: "POST", pattern: "/containers/{id}/restart", handle: restartContainer},
		{method: "POST", pattern: "/containers/{id}/kill", handle: killContainer},
		{method: "POST", pattern: "/containers/{id}/rename", handle: renameContainer},
		{method: "POST", pattern: "/containers/{id}/resize", handle: resizeContainer},
		{method: "POST", pattern: "/containers/{id}/wait", handle: waitContainer},
		{method: "POST", pattern: "/containers/{id}/attach", handle: attachContainer},
		{method: "GET", pattern: "/containers/{id}/attach/ws", handle: attachWebSocket, changes: true},
		{method: "GET", pattern: "/containers/{id}/archive", handle: getArchive, changes: true},
		{method: "HEAD", pattern: "/containers/{id}/archive", handle: statPath},
		{method: "PUT", pattern: "/containers/{id}/archive", handle: putArchive},
		{method: "POST", pattern: "/containers/{id}/exec", handle: createExec},
		{method: "DELETE", pattern: "/containers/{id}", handle: deleteContainer},
		{method: "POST", pattern: "/exec/{id}/start", handle: startExec},
		{method: "POST", pattern: "/exec/{id}/resize", handle: resizeExec},
		{method: "GET", pattern: "/exec/{id}/json", handle: inspectExec},

		{method: "GET", pattern: "/images/json", handle: listImages},
		{method: "POST", pattern: "/images/create", handle: createImage},
		{method: "POST", pattern: "/images/load", handle: loadImages},
		{method: "GET", pattern: "/images/search", handle: searchImages, changes: true},
		{method: "POST", pattern: "/images/{name...}/push", handle: pushImage},
		{method: "POST", pattern: "/auth", handle: checkAuth},
		{method: "POST", pattern: "/commit", handle: commitContainer},
		{method: "POST", pattern: "/images/prune", handle: pruneImages},
		{method: "GET", pattern: "/images/get", handle: saveImages, changes: true},
		{method: "GET", pattern: "/images/{name...}/get", handle: saveImages, changes: true},
		{method: "GET", pattern: "/images/{name...}/json", handle: inspectImage},
		{method: "GET", pattern: "/images/{name...}/history", handle: history},
		{method: "POST", pattern: "/images/{name...}/tag", handle: tagImage},
		{method: "DELETE", pattern: "/images/{name...}", handle: deleteImage},

		{method: "GET", pattern: "/volumes", handle: listVolumes},
		{method: "POST", pattern: "/volumes/create", handle: createVolume},
		{method: "POST", pattern: "/volumes/prune", handle: pruneVolumes},
		{method: "GET", pattern: "/volumes/{name}", handle: inspectVolume},
		{method: "DELETE", pattern: "/volumes/{name}", handle: deleteVolume},
		{method: "GET", pattern: "/networks", handle: listNetworks},
		{method: "POST", pattern: "/networks/prune", handle: pruneNetworks},
		{method: "GET", pattern: "/networks/{id}", handle: inspectNetwork},

		{method: "GET", pattern: "/plugins", handle: listPlugins},
		{method: "GET", pattern: "/plugins/{name...}/json", handle: inspectPlugin},

		{method: "GET", pattern: "/davit/jobs", handle: listJobs},
		{method: "GET", pattern: "/davit/jobs/{id}", handle: getJob},
		{method: "DELETE", pattern: "/davit/jobs/{id}", handle: cancelJob},
		{method: "GET", pattern: "/davit/job-types", handle: listJobTypes},
	}
}

// unserved are the documented endpoints that are not served yet, and those of
// Swarm, which answer as a daemon does that belongs to none.
func unserved() (table []route) {
	for _, row := range []string{
		"POST /containers/{id}/update",
		"GET /containers/{id}/checkpoints", "POST /containers/{id}/checkpoints",
		"DELETE /containers/{id}/checkpoints/{name...}",
		"POST /build", "POST /build/cancel", "POST /session", "POST /grpc",
		"GET /images/{name...}/attestations", "GET /distribution/{name...}/json",
		"POST /networks/create", "DELETE /networks/{id}",
		"POST /networks/{id}/connect", "POST /networks/{id}/disconnect",
		"GET /plugins/privileges", "POST /plugins/pull", "POST /plugins/create",
		"DELETE /plugins/{name...}", "POST /plugins/{name...}/enable",
		"POST /plugins/{name...}/disable", "POST /plugins/{name...}/upgrade",
		"POST /plugins/{name...}/push", "POST /plugins/{name...}/set",
		"POST /swarm/init", "POST /swarm/join",
	} {
		table = append(table, answered(row, notImplemented))
	}
	table = append(table, route{method: "POST", pattern: "/swarm/leave", handle: notInSwarm})
	for _, row := range []string{
		"GET /swarm", "POST /swarm/update", "GET /swarm/unlockkey", "POST /swarm/unlock",
		"GET /nodes", "GET /nodes/{id}", "DELETE /nodes/{id}", "POST /nodes/{id}/update",
		"GET /services", "POST /services/create", "GET /services/{id}", "DELETE /services/{id}",
		"POST /services/{id}/update", "GET /services/{id}/logs",
		"GET /tasks", "GET /tasks/{id}", "GET /tasks/{id}/logs",
		"GET /secrets", "POST /secrets/create", "GET /secrets/{id}", "DELETE /secrets/{id}", "POST /secrets/{id}/update",
		"GET /configs", "POST /configs/create", "GET /configs/{id}", "DELETE /configs/{id}", "POST /configs/{id}/update",
		"PUT /volumes/{name}", // only cluster volumes can be updated
	} {
		table = append(table, answered(row, noSwarmManager))
	}
	return table
}

// answered makes a row of a method and a pattern, separated by a space.
func answered(row string, handle func(*call) error) route {
	method, pattern, _ := strings.Cut(row, " ")
	return route{method: method, pattern: pattern, handle: handle}
}

func notImplemented(c *call) error {
	return unsupported("%s %s is not implemented yet", c.route.method, c.route.pattern)
}

func notInSwarm(*call) error {
	return &statusError{http.StatusServiceUnavailable, "This node is not part of a swarm"}
}

func noSwarmManager(*call) error {
	return &statusError{http.StatusServiceUnavailable, "This node is not a swarm manager. Use \"docker swarm init\" or " +
		"\"docker swarm join\" to connect this node to swarm and try again."}
}

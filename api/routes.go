// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/http"
	"slices"
	"strings"
)

// routes is the table of endpoints: all that moby/moby/api documents, and
// /davit/. Rows without variable stand before those that would match them.
func routes() []route {
	return slices.Concat(ofTheSystem(), ofContainers(), ofImages(), ofResources(), ofDavit(), unserved())
}

func ofTheSystem() []route {
	return []route{
		{method: "GET", pattern: "/_ping", handle: ping},
		{method: "HEAD", pattern: "/_ping", handle: ping},
		{method: "GET", pattern: "/version", handle: getVersion},
		{method: "GET", pattern: "/info", handle: getInfo},
		{
			method: "GET", pattern: "/events", handle: getEvents, query: "filters since until",
			filters: "config container daemon event image label network node plugin scope secret service type volume",
		},
		{method: "GET", pattern: "/system/df", handle: getDiskUsage, query: "type verbose"},
		{method: "POST", pattern: "/build/prune", handle: pruneBuildCache},
	}
}

func ofContainers() []route {
	return []route{
		{
			method: "GET", pattern: "/containers/json", handle: listContainers, query: "all filters limit size",
			filters: "ancestor annotation before exited expose health id is-task isolation label name network publish since status volume",
		},
		{method: "POST", pattern: "/containers/create", handle: createContainer, query: "name platform"},
		{method: "GET", pattern: "/containers/{id}/json", handle: inspectContainer, query: "size"},
		{method: "GET", pattern: "/containers/{id}/top", handle: topContainer, query: "ps_args"},
		{method: "GET", pattern: "/containers/{id}/logs", handle: logs, query: "details follow since stderr stdout tail timestamps until"},
		{method: "GET", pattern: "/containers/{id}/stats", handle: stats, query: "one-shot stream"},
		{method: "GET", pattern: "/containers/{id}/changes", handle: listChanges},
		{method: "GET", pattern: "/containers/{id}/export", handle: exportContainer, changes: true},
		{method: "POST", pattern: "/containers/prune", handle: pruneContainers, query: "filters", filters: "label label! until"},
		{method: "POST", pattern: "/containers/{id}/pause", handle: pauseContainer},
		{method: "POST", pattern: "/containers/{id}/unpause", handle: unpauseContainer},
		{
			method: "POST", pattern: "/containers/{id}/start", handle: startContainer, query: "detachKeys",
			refuses: notes{"checkpoint": "there are no checkpoints yet", "checkpoint-dir": "there are no checkpoints yet"},
			remarks: notes{"detachKeys": "what is no sequence is refused; a start attaches nothing"},
		},
		{method: "POST", pattern: "/containers/{id}/stop", handle: stopContainer, query: "signal t"},
		{method: "POST", pattern: "/containers/{id}/restart", handle: restartContainer, query: "signal t"},
		{method: "POST", pattern: "/containers/{id}/kill", handle: killContainer, query: "signal"},
		{method: "POST", pattern: "/containers/{id}/update", handle: updateContainer},
		{method: "POST", pattern: "/containers/{id}/rename", handle: renameContainer, query: "name"},
		{method: "POST", pattern: "/containers/{id}/resize", handle: resizeContainer, query: "h w"},
		{method: "POST", pattern: "/containers/{id}/wait", handle: waitContainer, query: "condition"},
		{method: "POST", pattern: "/containers/{id}/attach", handle: attachContainer, query: "detachKeys logs stderr stdin stdout stream"},
		{method: "GET", pattern: "/containers/{id}/attach/ws", handle: attachWebSocket, changes: true, query: "detachKeys logs stderr stdin stdout stream"},
		{method: "GET", pattern: "/containers/{id}/archive", handle: getArchive, changes: true, query: "path"},
		{method: "HEAD", pattern: "/containers/{id}/archive", handle: statPath, query: "path"},
		{method: "PUT", pattern: "/containers/{id}/archive", handle: putArchive, query: "copyUIDGID noOverwriteDirNonDir path"},
		{method: "POST", pattern: "/containers/{id}/exec", handle: createExec},
		{
			method: "DELETE", pattern: "/containers/{id}", handle: deleteContainer, query: "force link v",
			remarks: notes{"link": "a container has the one name"},
		},
		{method: "POST", pattern: "/exec/{id}/start", handle: startExec},
		{method: "POST", pattern: "/exec/{id}/resize", handle: resizeExec, query: "h w"},
		{method: "GET", pattern: "/exec/{id}/json", handle: inspectExec},
	}
}

func ofImages() []route {
	return []route{
		{method: "GET", pattern: "/images/json", handle: listImages, query: "all filters", filters: "before dangling label reference since until"},
		{method: "POST", pattern: "/images/create", handle: createImage, query: "changes fromImage fromSrc message platform repo tag"},
		{method: "POST", pattern: "/images/load", handle: loadImages, query: "platform quiet"},
		{method: "GET", pattern: "/images/search", handle: searchImages, changes: true, query: "filters limit term", filters: "is-automated is-official stars"},
		{method: "POST", pattern: "/images/{name...}/push", handle: pushImage, query: "platform tag"},
		{method: "POST", pattern: "/auth", handle: checkAuth},
		{method: "POST", pattern: "/commit", handle: commitContainer, query: "author changes comment container pause repo tag"},
		{method: "POST", pattern: "/images/prune", handle: pruneImages, query: "filters", filters: "dangling label label! until"},
		{method: "GET", pattern: "/images/get", handle: saveImages, changes: true, query: "names platform"},
		{method: "GET", pattern: "/images/{name...}/get", handle: saveImages, changes: true, query: "platform"},
		{method: "GET", pattern: "/images/{name...}/json", handle: inspectImage, query: "manifests platform"},
		{method: "GET", pattern: "/images/{name...}/history", handle: history, query: "platform"},
		{method: "POST", pattern: "/images/{name...}/tag", handle: tagImage, query: "repo tag"},
		{method: "DELETE", pattern: "/images/{name...}", handle: deleteImage, query: "force noprune platforms"},
	}
}

func ofResources() []route {
	return []route{
		{method: "GET", pattern: "/volumes", handle: listVolumes, query: "filters", filters: "dangling driver label name"},
		{method: "POST", pattern: "/volumes/create", handle: createVolume},
		{method: "POST", pattern: "/volumes/prune", handle: pruneVolumes, query: "filters", filters: "all label label!"},
		{method: "GET", pattern: "/volumes/{name}", handle: inspectVolume},
		{method: "DELETE", pattern: "/volumes/{name}", handle: deleteVolume, query: "force"},
		{method: "GET", pattern: "/networks", handle: listNetworks, query: "filters", filters: "dangling driver id label name scope type"},
		{method: "POST", pattern: "/networks/prune", handle: pruneNetworks, query: "filters", filters: "label label! until"},
		{method: "GET", pattern: "/networks/{id}", handle: inspectNetwork, query: "scope"},

		{method: "GET", pattern: "/plugins", handle: listPlugins},
		{method: "GET", pattern: "/plugins/{name...}/json", handle: inspectPlugin},
	}
}

func ofDavit() []route {
	return []route{
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

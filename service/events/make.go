// SPDX-License-Identifier: Apache-2.0

package events

import (
	"cmp"
	"strconv"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/request"
)

// Container publishes an event of a container, with Docker's attributes and
// more.
func (l *Log) Container(action string, rec *davit.Container, more map[string]string) {
	attrs := request.MergeMap(rec.Config.Labels, map[string]string{"image": rec.ImageRef, "name": rec.Name})
	l.Emit(davit.Event{Type: "container", Action: action, ActorID: rec.ID, Attributes: request.MergeMap(attrs, more)})
}

// Die publishes how a container ended. oomTold says that it was told already
// that the container had no memory left.
func (l *Log) Die(rec *davit.Container, x davit.Exit, oomTold bool) {
	if x.OOMKilled && !oomTold {
		l.Container("oom", rec, nil)
	}
	l.Container("die", rec, map[string]string{
		"exitCode":     strconv.Itoa(x.Code),
		"execDuration": strconv.Itoa(int(cmp.Or(x.At, time.Now()).Sub(rec.State.StartedAt).Seconds())),
	})
}

// Network publishes that a container came to a network, or left it.
func (l *Log) Network(action, containerID string, ep davit.Endpoint) {
	l.Emit(davit.Event{Type: "network", Action: action, ActorID: ep.NetworkID, Attributes: map[string]string{
		"container": containerID, "name": ep.NetworkName, "type": "bridge",
	}})
}

// Mounted publishes that a container's volumes are mounted.
func (l *Log) Mounted(rec *davit.Container) {
	l.volumes("mount", rec, func(m davit.Mount) map[string]string {
		return map[string]string{
			"destination": m.Target, "read/write": strconv.FormatBool(m.ReadWrite), "propagation": m.Propagation,
		}
	})
}

// Unmounted publishes that they are not any more.
func (l *Log) Unmounted(rec *davit.Container) {
	l.volumes("unmount", rec, func(davit.Mount) map[string]string { return nil })
}

func (l *Log) volumes(action string, rec *davit.Container, more func(davit.Mount) map[string]string) {
	for _, m := range rec.Mounts {
		if m.Type == "volume" {
			attrs := map[string]string{"driver": cmp.Or(m.Driver, "local"), "container": rec.ID}
			l.Emit(davit.Event{Type: "volume", Action: action, ActorID: m.Name, Attributes: request.MergeMap(attrs, more(m))})
		}
	}
}

// Pruned publishes that a prune removed things of a class.
func (l *Log) Pruned(class string, bytes int64) {
	l.Emit(davit.Event{Type: class, Action: "prune", Attributes: map[string]string{"reclaimed": strconv.FormatInt(bytes, 10)}})
}

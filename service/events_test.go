// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"io"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/google/go-cmp/cmp"
)

// told returns the events of a type that pass, each with its attributes but those
// that it has of its container.
func (d *daemon) told(class string, actions ...string) (out []map[string]string) {
	filters := map[string][]string{"type": {class}, "event": actions}
	if len(actions) == 0 {
		delete(filters, "event")
	}
	do(d, davit.Events{Until: time.Now(), Filters: filters, Emit: func(ev davit.Event) error {
		line := map[string]string{"action": ev.Action}
		for k, v := range ev.Attributes {
			if k != "name" && k != "image" {
				line[k] = v
			}
		}
		out = append(out, line)
		return nil
	}})
	return out
}

// What a container is used for is told, with what Docker tells of it.
func TestEventsOfUses(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		id := d.run("web", volume("data", "/data"), deaf, func(q *davit.Create) {
			q.HostConfig.Binds = append(q.HostConfig.Binds, "logs:/logs:ro")
			q.Config.Tty, q.Config.OpenStdin = true, true
		})
		do(d, davit.Top{Container: "web"})
		do(d, davit.Resize{Container: "web", Rows: 24, Columns: 80})
		in, typed := io.Pipe()
		left := make(chan error, 1)
		go func() {
			_, err := try(d, davit.Attach{Container: "web", Stream: true, Stdin: true, Stdout: true, Open: func(bool) (davit.Streams, error) {
				return davit.Streams{Stdin: in, Stdout: &fake.Buffer{}}, nil
			}})
			left <- err
		}()
		settle()
		if _, err := typed.Write([]byte{16, 17}); err != nil {
			t.Fatal(err)
		}
		if err := <-left; err != nil {
			t.Errorf("detached: %v", err)
		}
		session := do(d, davit.ExecCreate{Exec: davit.Exec{ContainerID: "web", Cmd: []string{"/bin/sh", "-c", "exit 3"}}})
		do(d, davit.ExecStart{ID: session, Detach: true})
		settle()
		do(d, davit.Stop{Container: "web"})
		settle()

		want := []map[string]string{
			{"action": "top"},
			{"action": "resize", "height": "24", "width": "80"},
			{"action": "attach"},
			{"action": "detach"},
			{"action": "exec_create: /bin/sh -c exit 3", "execID": session},
			{"action": "exec_start: /bin/sh -c exit 3", "execID": session},
			{"action": "exec_die", "execID": session, "exitCode": "3"},
		}
		if diff := cmp.Diff(want, d.told("container", "top", "resize", "attach", "detach", "exec_create", "exec_start", "exec_die")); diff != "" {
			t.Errorf("events of the container (-want +got):\n%s", diff)
		}
		want = []map[string]string{
			{"action": "mount", "driver": "local", "container": id, "destination": "/data", "read/write": "true", "propagation": ""},
			{"action": "mount", "driver": "local", "container": id, "destination": "/logs", "read/write": "false", "propagation": ""},
			{"action": "unmount", "driver": "local", "container": id},
			{"action": "unmount", "driver": "local", "container": id},
		}
		if diff := cmp.Diff(want, d.told("volume", "mount", "unmount")); diff != "" {
			t.Errorf("events of the volumes (-want +got):\n%s", diff)
		}
	})
}

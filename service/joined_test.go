// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"slices"
	"testing"

	"github.com/davit-engine/davit"
)

// joining has a container join the namespaces of another one.
func joining(ref string) func(*davit.Create) {
	return func(q *davit.Create) {
		q.HostConfig.NetworkMode, q.HostConfig.PidMode, q.HostConfig.IpcMode = "container:"+ref, "container:"+ref, "container:"+ref
	}
}

func shareable(q *davit.Create) { q.HostConfig.IpcMode = "shareable" }

func TestJoinedContainers(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		donor := d.create("donor", shareable)
		user := d.create("user", joining("donor"))
		rec := d.inspect("user")
		if got, want := rec.HostConfig.PidMode, "container:"+donor; got != want || rec.HostConfig.NetworkMode != want || rec.HostConfig.IpcMode != want {
			t.Errorf("joined is %q, want %q", got, want)
		}
		if rec.Config.Hostname != davit.ShortID(donor) {
			t.Errorf("its name is %q, want the other's", rec.Config.Hostname)
		}
		refused(d, davit.Start{Container: user}, davit.ContainerNotRunning)
		do(d, davit.Start{Container: donor})
		do(d, davit.Start{Container: user})
		if eps := d.inspect("user").Endpoints; len(eps) != 0 {
			t.Errorf("it has endpoints of its own: %v", eps)
		}
		d.create("private")
		refused(d, request("xx", joining("nobody")), davit.InvalidConfiguration)
		refused(d, request("xx", func(q *davit.Create) { q.HostConfig.IpcMode = "container:private" }), davit.InvalidConfiguration)
	})
}

// After a boot of the host, who joins another one is started after it, whatever
// their order.
func TestJoinedContainersComeBackInOrder(t *testing.T) {
	always := func(q *davit.Create) { q.HostConfig.RestartPolicy.Name = "always" }
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		for _, c := range []struct {
			name   string
			change func(*davit.Create)
		}{{"aa", shareable}, {"bb", joining("aa")}, {"cc", joining("bb")}} {
			do(d, davit.Start{Container: d.create(c.name, always, c.change)})
		}
		d.kill()
		h.rt.Reboot()
		d = h.boot()
		if err := d.svc.Resume(); err != nil {
			t.Fatal(err)
		}
		settle()
		var up []string
		for _, name := range []string{"aa", "bb", "cc"} {
			if d.inspect(name).State.Running() {
				up = append(up, name)
			}
		}
		if !slices.Equal(up, []string{"aa", "bb", "cc"}) {
			t.Errorf("running are %v", up)
		}
	})
}

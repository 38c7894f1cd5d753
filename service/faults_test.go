// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"slices"
	"testing"
	"time"

	"github.com/davit-engine/davit"
)

// jobsOf12 are the jobs of Docker 1.2 (docker-1.2.md, section 2) that Davit
// has under their names.
var jobsOf12 = []string{
	"commands",
	"init_networkdriver", "serveapi", "acceptconnections", "version",
	"events", "auth", "search", "allocate_interface", "release_interface",
	"attach", "commit", "container_changes", "container_copy", "container_inspect", "containers", "create", "delete", "export", "info",
	"kill", "logs", "pause", "unpause", "resize", "restart", "start", "stop", "top", "wait", "image_delete",
	"tag", "image_inspect", "image_export", "history", "images", "load", "import", "pull", "push",
}

// goneSince12 says of the others what became of them.
var goneSince12 = map[string]string{
	"log":               "what happens is an event at once; no job is needed to tell it",
	"subscribers_count": "EventsListeners of the result of info",
	"allocate_port":     "part of allocate_interface: an endpoint has its ports from the start",
	"link":              "links are dropped: networks have names",
	"build":             "not in scope yet",
	"image_set":         "a step of pull and load",
	"image_tag":         "tag",
	"image_get":         "image_inspect",
	"image_tarlayer":    "a step of push and image_export",
	"viz":               "dropped: images have no parents any more",
}

func TestChecklist07_CommandsListsTheJobsOf12(t *testing.T) {
	if n := len(jobsOf12) + len(goneSince12); n != 50 {
		t.Fatalf("1.2 had 50 jobs, not %d", n)
	}
	onHost(t, func(t *testing.T, h *host) {
		listed := do(h.boot(), davit.Commands{})
		for _, name := range jobsOf12 {
			if !slices.Contains(listed, name) {
				t.Errorf("commands does not list %s", name)
			}
		}
		for name, why := range goneSince12 {
			if slices.Contains(listed, name) {
				t.Errorf("commands lists %s: is it true that %q?", name, why)
			}
		}
		if !slices.IsSorted(listed) {
			t.Error("the list is not sorted")
		}
	})
}

// TestFault17_AlwaysContainersStartSideBySideAfterBoot: in 1.2 the daemon was
// ready when the last of them had started, one after the other.
func TestFault17_AlwaysContainersStartSideBySideAfterBoot(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		for _, name := range []string{"one", "two", "three"} {
			d.run(name, policy("always"))
		}
		d.kill()
		h.rt.Reboot()
		before := len(h.rt.Calls("Create"))
		come := h.rt.Hang("Create")
		d = h.boot() // returns when the gate is open, which READY=1 waits for
		if calls := h.rt.Calls("Create"); len(calls) != before || !d.gate.Opened() {
			t.Errorf("before the boot's end there were starts: %v", calls[before:])
		}
		begin := time.Now()
		if err := d.svc.Resume(); err != nil {
			t.Fatal(err)
		}
		<-come
		settle()
		running := 0
		for _, c := range do(d, davit.Containers{}) {
			if c.State.Status == davit.StatusRunning {
				running++
			}
		}
		if running != 2 {
			t.Errorf("beside one that hangs, %d of the other 2 run", running)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("that took %v", took)
		}
		h.rt.Free()
		settle()
	})
}

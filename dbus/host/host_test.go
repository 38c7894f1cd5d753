// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"os"
	"testing"
	"time"

	"github.com/davit-engine/davit/dbus/host"
)

func TestGroupIn(t *testing.T) {
	tests := map[string]string{
		"0::/davit.slice/davit-web.service":                   "/davit.slice/davit-web.service",
		"1:name=systemd:/,0::/davit.slice/x.service/payload":  "/davit.slice/x.service/payload",
		"1:name=systemd:/davit.slice/x.service,0::/elsewhere": "/davit.slice/x.service",
		"12:pids:/a,1:name=systemd:/b/c":                      "/b/c",
		"":                                                    "",
		"nonsense":                                            "",
	}
	for cell, want := range tests {
		if got := host.GroupIn(cell); got != want {
			t.Errorf("%q: %q, not %q", cell, got, want)
		}
	}
}

func TestSlice(t *testing.T) {
	tests := map[string]string{
		"/davit.slice/davit-web.service": "davit.slice", "/a.slice/a-b.slice/x.service/payload": "a-b.slice", "/": "", "": "", "/x/y": "",
	}
	for group, want := range tests {
		if got := host.Slice(group); got != want {
			t.Errorf("%q: %q, not %q", group, got, want)
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	if got := host.ControlGroup(0, "x.service"); got != "" {
		t.Errorf("no process is in %q", got)
	}
	if got := host.Invocation("davit-not-there.service"); got == nil || len(got) != 0 {
		t.Errorf("a unit that is not there was run: %x", got)
	}
	if got := host.Invocation("../../../etc/passwd"); len(got) != 0 {
		t.Errorf("%x", got)
	}
	if got := host.InterfaceIndex("no-such-link"); got != 0 {
		t.Errorf("a link that is not there has index %d", got)
	}
	if got := host.InterfaceIndex("lo"); got <= 0 {
		t.Errorf("lo has index %d", got)
	}
	if _, err := os.Stat("/proc/self/cgroup"); err == nil && host.ControlGroup(os.Getpid(), "") == "" {
		t.Error("this process is in no control group")
	}
}

func TestClock(t *testing.T) {
	c := host.NewClock()
	at := time.Now()
	first, later := c.USec(at), c.USec(at.Add(time.Second))
	if first == 0 || later-first != 1_000_000 || c.USec(at) != first {
		t.Errorf("%d, then %d", first, later)
	}
	if c.USec(time.Time{}) != 0 {
		t.Error("no time is one")
	}
}

// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/catalog"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
)

const policyFile = "../contrib/dbus/org.davit.Engine1.conf"

const policyHead = `<?xml version="1.0"?>
<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Written by go test ./dbus -run TestPolicyFile -update. -->
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
        "https://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <policy user="root">
    <allow own="NAME"/>
    <allow send_destination="NAME"/>
    <allow receive_sender="NAME"/>
  </policy>

  <!-- Signals name containers and images: a broadcast that everybody could
       read was CVE-2016-6349. -->
  <policy group="davit">
    <allow receive_sender="NAME" receive_type="signal"/>
  </policy>
  <policy group="davit-observers">
    <allow receive_sender="NAME" receive_type="signal"/>
  </policy>

  <!-- Whoever calls one of these is asked about inside, by polkit. What is not
       listed is root's. max_fds: no caller parks descriptors in the engine. -->
  <policy context="default">
    <deny own="NAME"/>
    <deny send_destination="NAME"/>
    <deny receive_sender="NAME" receive_type="signal"/>
    <allow send_destination="NAME" send_interface="org.freedesktop.DBus.Peer" max_fds="0"/>
    <allow send_destination="NAME" send_interface="org.freedesktop.DBus.Introspectable" max_fds="0"/>
    <allow send_destination="NAME" send_interface="org.freedesktop.DBus.Properties" send_member="Get" max_fds="0"/>
    <allow send_destination="NAME" send_interface="org.freedesktop.DBus.Properties" send_member="GetAll" max_fds="0"/>
`

// policy writes the bus policy of the interfaces and their methods.
func policy(c catalog.Catalog) string {
	var b strings.Builder
	b.WriteString(policyHead)
	for _, r := range rows() {
		if !strings.HasPrefix(r.iface, davit.BusName+".") || privileged(c, r) {
			continue
		}
		m, _ := c.Method(r.iface, r.member)
		fds := strings.Count(catalog.Signature(m, "in"), "h")
		fmt.Fprintf(&b, "    <allow send_destination=\"NAME\" send_interface=%q send_member=%q max_fds=\"%d\"/>\n", r.iface, r.member, fds)
	}
	b.WriteString("  </policy>\n</busconfig>\n")
	return strings.ReplaceAll(b.String(), "NAME", davit.BusName)
}

// privileged tells whether the interface's description keeps a method to root.
func privileged(c catalog.Catalog, r row) bool {
	m, _ := c.Method(r.iface, r.member)
	for _, a := range m.Annotations {
		if a.Name == "org.freedesktop.systemd1.Privileged" {
			return a.Value == "true"
		}
	}
	return false
}

// TestPolicyFile holds the installed policy against the table of methods.
func TestPolicyFile(t *testing.T) {
	c, err := loadCatalog()
	if err != nil {
		t.Fatal(err)
	}
	want := policy(c)
	if testutil.Update() {
		if err := os.WriteFile(policyFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("methods (-) and file (+) differ; -update writes the file anew:\n%s", d)
	}
}

// TestPrivileged holds the annotation against the gate that counts.
func TestPrivileged(t *testing.T) {
	c, err := loadCatalog()
	if err != nil {
		t.Fatal(err)
	}
	var annotated []string
	for _, r := range rows() {
		if privileged(c, r) {
			annotated = append(annotated, r.member)
		}
	}
	if want := []string{"Reload", "EnqueueJob", "EnqueueJobWithFDs"}; !slices.Equal(annotated, want) {
		t.Errorf("for root only: %v, not %v", annotated, want)
	}
	eng := engine.New(nil)
	eng.SetAuthorizer(yes{})
	user := &call{session: &session{Server: &Server{eng: eng}}, ctx: engine.WithCaller(t.Context(), engine.Caller{Transport: engine.Bus, UID: 1000})}
	user.caller.UID = 1000
	for _, r := range rows() {
		if r.iface != managerInterface {
			continue // their gates need an object
		}
		if refused := r.gate(user) != nil; refused != privileged(c, r) {
			t.Errorf("%s: a user who may do everything is refused: %v; the description says root only: %v", r.member, refused, privileged(c, r))
		}
	}
}

// yes allows everything.
type yes struct{}

func (yes) Authorize(context.Context, engine.Caller, engine.Access) error { return nil }

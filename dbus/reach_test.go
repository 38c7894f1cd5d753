// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/lent"
	"github.com/davit-engine/davit/dbus/reach"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

// registered returns the table of the real service.
func registered(t *testing.T) []engine.TypeInfo {
	t.Helper()
	images, hub := fake.NewImages(), fake.NewHub()
	eng := engine.New(slog.New(slog.DiscardHandler))
	_, err := service.New(service.Options{
		Engine: eng, Log: slog.New(slog.DiscardHandler), Config: davit.DefaultConfig(),
		Drivers: service.Drivers{
			Runtime: fake.NewRuntime(), Network: fake.NewNetwork(netip.MustParsePrefix("172.30.0.0/16")), Resolver: &fake.Resolver{},
			State: fake.NewState(), Images: images, Rootfs: fake.NewRootfs(t.TempDir(), images), Volumes: fake.NewVolumes(t.TempDir()),
			Files: &fake.Files{}, Registry: fake.NewRegistry(hub), REST: fake.NewDoor(), Gate: &fake.Gate{},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return eng.Types()
}

// TestReach proves that a caller on the bus reaches every type of job: by a
// method, or by EnqueueJob, unless it is one that no caller can ask for.
func TestReach(t *testing.T) {
	c, err := loadCatalog()
	if err != nil {
		t.Fatal(err)
	}
	table, left := reach.Table(), reach.Table()
	for _, ty := range registered(t) {
		member, ok := table[ty.Name]
		delete(left, ty.Name)
		switch {
		case !ok:
			t.Errorf("job %s is not in the table", ty.Name)
		case ty.Internal != (member == reach.Internal):
			t.Errorf("job %s: %q, and internal is %v", ty.Name, member, ty.Internal)
		case member == reach.Enqueued && ty.Class != engine.Change:
			t.Errorf("job %s is a %s, which EnqueueJob refuses", ty.Name, ty.Class)
		}
	}
	if len(left) > 0 {
		t.Errorf("no handler is registered for %v", left)
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		member := table[name]
		if member == reach.Internal || member == reach.Enqueued {
			continue
		}
		iface, method, _ := strings.Cut(member, ".")
		if _, ok := c.Method(davit.BusName+"."+iface, method); !ok {
			t.Errorf("job %s: there is no method %s", name, member)
		}
		if r := methodTable()[davit.BusName+"."+member]; r.handle == nil {
			t.Errorf("job %s: nothing serves %s", name, member)
		}
	}
}

// TestEnqueueableStreams proves that a job which reads or writes a caller's
// file can be given one by EnqueueJob, as all others can be enqueued.
func TestEnqueueableStreams(t *testing.T) {
	for _, q := range []any{&davit.Load{}, &davit.Import{}, &davit.ContainerExtract{}, &davit.Save{}, &davit.Export{}, &davit.ContainerCopy{}} {
		name := q.(engine.Request).JobType()
		if len(fileParameters(name)) == 0 {
			t.Errorf("job %s takes no path", name)
		}
		if err := (&jobFile{file: lent.Target("/x")}).fill(q); err != nil {
			t.Errorf("job %s: %v", name, err)
		}
	}
}

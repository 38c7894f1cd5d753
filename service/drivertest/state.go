// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/google/go-cmp/cmp/cmpopts"

	gocmp "github.com/google/go-cmp/cmp"
)

// exampleContainer is a record with something in most of its corners.
func exampleContainer(name string) *davit.Container {
	timeout := 7
	return &davit.Container{
		ID: fake.ID(name), Name: name, Created: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC),
		Path: "/bin/sh", Args: []string{"-c", "exit 3"},
		Config: davit.ContainerConfig{
			Env: []string{"VERSION=1.14", "EMPTY="}, Labels: map[string]string{"a": "1.0"}, StopTimeout: &timeout,
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
		},
		HostConfig: davit.HostConfig{
			NetworkMode: "bridge", RestartPolicy: davit.RestartPolicy{Name: "on-failure", MaximumRetryCount: 3},
			PortBindings: map[string][]davit.PortBinding{"80/tcp": {{HostPort: "8080"}}}, Resources: davit.Resources{Memory: 1 << 33},
			ReadonlyPaths: []string{},
		},
		Endpoints: []davit.Endpoint{{
			EndpointID: "ep", Address: netip.MustParsePrefix("172.20.0.2/16"), Gateway: netip.MustParseAddr("172.20.0.1"),
			Ports: []davit.PortMapping{{Proto: "tcp", HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: 8080, ContainerPort: 80}},
		}},
		State: davit.State{Status: davit.StatusRunning, Pid: 4711, StartedAt: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)},
	}
}

// diff compares records as they are after a restart.
func diff(want, got any) string {
	return gocmp.Diff(want, got, gocmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty())
}

// TestState checks a [service.State]. open opens the database in dir, which
// nobody else has open, and makes it when there is none.
func TestState(t *testing.T, open func(t *testing.T, dir string) service.State) {
	fresh := func(t *testing.T) service.State {
		s := open(t, t.TempDir())
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	t.Run("records", func(t *testing.T) { testStateRecords(t, fresh(t)) })
	t.Run("names", func(t *testing.T) { testStateNames(t, fresh(t)) })
	t.Run("one winner of a name", func(t *testing.T) { testStateRace(t, fresh(t)) })
	t.Run("networks", func(t *testing.T) { testStateNetworks(t, fresh(t)) })
	t.Run("durable", func(t *testing.T) { testStateDurable(t, open) })
}

func testStateRecords(t *testing.T, s service.State) {
	if all := result(s.Containers())(t); len(all) != 0 {
		t.Fatalf("a new database has containers: %v", all)
	}
	want := exampleContainer("web")
	must(t, s.PutContainer(want))
	all := result(s.Containers())(t)
	if d := diff([]*davit.Container{want}, all); d != "" {
		t.Fatalf("what was put is not what is there (-want +got):\n%s", d)
	}
	all[0].Config.Env[0] = "changed"
	want.Config.Labels["a"] = "changed"
	if again := result(s.Containers())(t); again[0].Config.Env[0] != "VERSION=1.14" || again[0].Config.Labels["a"] != "1.0" {
		t.Error("the database shares its records with its callers")
	}
	want.State.Status = davit.StatusExited
	must(t, s.PutContainer(want))
	if all = result(s.Containers())(t); len(all) != 1 || all[0].State.Status != davit.StatusExited {
		t.Errorf("putting the same id again did not replace the record: %+v", all)
	}
	must(t, s.DeleteContainer(want.ID))
	must(t, s.DeleteContainer(want.ID))
	must(t, s.DeleteContainer(fake.ID("never")))
	if all = result(s.Containers())(t); len(all) != 0 {
		t.Errorf("the deleted record is still there: %+v", all)
	}
}

func testStateNames(t *testing.T, s service.State) {
	one, two := exampleContainer("one"), exampleContainer("two")
	must(t, s.PutContainer(one))
	thief := exampleContainer("two")
	thief.Name = "one"
	wantCode(t, s.PutContainer(thief), davit.NameConflict, "putting another id with a name that is taken")
	if all := result(s.Containers())(t); len(all) != 1 || all[0].ID != one.ID {
		t.Fatalf("a refused record left something: %+v", all)
	}
	must(t, s.PutContainer(two))
	two.Name = "one"
	wantCode(t, s.PutContainer(two), davit.NameConflict, "renaming to a name that is taken")
	for _, c := range result(s.Containers())(t) {
		if c.ID == two.ID && c.Name != "two" {
			t.Errorf("a refused renaming changed the record: %+v", c)
		}
	}
	one.Name = "uno"
	must(t, s.PutContainer(one))
	must(t, s.PutContainer(two)) // its name is free now
	must(t, s.DeleteContainer(two.ID))
	one.Name = "one"
	must(t, s.PutContainer(one)) // and again
}

func testStateRace(t *testing.T, s service.State) {
	const n = 8
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		c := exampleContainer(string(rune('a' + i)))
		c.Name = "same"
		wg.Go(func() { errs[i] = s.PutContainer(c) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantCode(t, err, davit.NameConflict, "losing the race for a name")
	}
	if all := result(s.Containers())(t); won != 1 || len(all) != 1 {
		t.Errorf("%d won the name, %d records: want 1 and 1", won, len(all))
	}
}

func testStateNetworks(t *testing.T, s service.State) {
	if all := result(s.Networks())(t); len(all) != 0 {
		t.Fatalf("a new database has networks: %v", all)
	}
	n := davit.Network{ID: fake.ID("net"), Name: "host", Driver: "host", Subnet: netip.MustParsePrefix("10.0.0.0/8"), MTU: 1500}
	must(t, s.PutNetwork(n))
	n.MTU = 9000
	must(t, s.PutNetwork(n))
	if d := diff([]davit.Network{n}, result(s.Networks())(t)); d != "" {
		t.Errorf("networks (-want +got):\n%s", d)
	}
}

func testStateDurable(t *testing.T, open func(t *testing.T, dir string) service.State) {
	dir := t.TempDir()
	s := open(t, dir)
	c := exampleContainer("kept")
	must(t, s.PutContainer(c))
	must(t, s.PutNetwork(davit.Network{ID: "n"}))
	id := result(s.EngineID())(t)
	if again := result(s.EngineID())(t); id == "" || again != id {
		t.Errorf("the engine's id is %q, then %q", id, again)
	}
	must(t, s.Close())
	s = open(t, dir)
	defer func() { must(t, s.Close()) }()
	if d := diff([]*davit.Container{c}, result(s.Containers())(t)); d != "" {
		t.Errorf("after opening again (-want +got):\n%s", d)
	}
	if n := result(s.Networks())(t); len(n) != 1 {
		t.Errorf("after opening again there are %d networks, want 1", len(n))
	}
	if again := result(s.EngineID())(t); again != id {
		t.Errorf("the engine's id changed from %s to %s", id, again)
	}
	thief := exampleContainer("other")
	thief.Name = "kept"
	wantCode(t, s.PutContainer(thief), davit.NameConflict, "taking a name that was taken before the restart")
	other := open(t, t.TempDir())
	defer func() { must(t, other.Close()) }()
	if their := result(other.EngineID())(t); their == id {
		t.Errorf("two databases have the same id %s", id)
	}
}

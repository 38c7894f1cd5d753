// SPDX-License-Identifier: Apache-2.0

package dbus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
)

// listen subscribes to the signals of the service.
func listen(t *testing.T, c *godbus.Conn) chan *godbus.Signal {
	t.Helper()
	signals := make(chan *godbus.Signal, 4096)
	c.Signal(signals)
	if err := c.AddMatchSignal(godbus.WithMatchPathNamespace(root)); err != nil {
		t.Fatal(err)
	}
	return signals
}

// next returns the next signal of a name.
func next(t *testing.T, signals chan *godbus.Signal, name string) *godbus.Signal {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case s := <-signals:
			if s.Name == name {
				return s
			}
		case <-deadline:
			t.Fatalf("no %s", name)
		}
	}
}

// TestChattyJob has a job report without end: the bus is told at most four
// times a second.
func TestChattyJob(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	signals := listen(t, conn)
	begun := time.Now()
	const lasts = 1200 * time.Millisecond
	register(t, f.eng, engine.Type[davit.Noop]{}, func(_ context.Context, j *engine.Job, _ davit.Noop) (davit.Nothing, error) {
		n := uint64(0)
		for time.Since(begun) < lasts {
			n++
			j.Report(engine.Progress{Phase: "Counting", Item: "x", Current: n})
		}
		return davit.Nothing{}, nil
	})
	if result, out := f.wait(t, conn, f.call(conn, "EnqueueJob", "noop", "", noOptions, uint64(0))); result != "done" {
		t.Fatal(result, out)
	}
	updates := 0
	for {
		s := <-signals
		if s.Name == manager+".JobRemoved" {
			break
		}
		if s.Name == davit.BusName+".Job.ProgressUpdate" {
			updates++
		}
	}
	if limit := int(time.Since(begun)/(250*time.Millisecond)) + 1; updates < 2 || updates > limit {
		t.Errorf("%d updates in %v, at most %d", updates, time.Since(begun), limit)
	}
}

// TestReload waits for a reload, and hears of it.
func TestReload(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	signals := listen(t, conn)
	for _, want := range []error{nil, errors.New("line 3: nonsense")} {
		f.mu.Lock()
		f.reload = want
		f.mu.Unlock()
		if err := f.call(conn, "Reload").Err; (err == nil) != (want == nil) || (err != nil && err.Error() != want.Error()) {
			t.Errorf("%v, not %v", err, want)
		}
		for _, active := range []bool{true, false} {
			if s := next(t, signals, manager+".Reloading"); s.Body[0] != active {
				t.Errorf("Reloading(%v), not %v", s.Body[0], active)
			}
		}
	}
}

// TestQueue looks at a job that waits for another, and at the times that both
// tell.
func TestQueue(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	before := monotonicUSec(t)
	for range 2 { // the fixture's pulls of one reference wait for each other
		if err := f.call(conn, "PullImage", "slow", noOptions, uint64(0)).Err; err != nil {
			t.Fatal(err)
		}
	}
	after := monotonicUSec(t)
	second := conn.Object(davit.BusName, root+"/job/_33")
	var line []struct {
		ID                   uint32
		Type, Subject, State string
		Path                 godbus.ObjectPath
	}
	if err := second.Call(davit.BusName+".Job.GetAfter", 0).Store(&line); err != nil || len(line) != 1 || line[0].ID != 2 || line[0].Path != root+"/job/_32" || line[0].Subject != "slow" {
		t.Errorf("%+v, %v", line, err)
	}
	for name, want := range map[string]bool{"EnqueueTimestampMonotonic": true, "StartTimestampMonotonic": false, "FinishTimestampMonotonic": false} {
		v, err := second.GetProperty(davit.BusName + ".Job." + name)
		if err != nil {
			t.Fatal(err)
		}
		if at := v.Value().(uint64); want != (at >= before && at <= after) || (!want && at != 0) {
			t.Errorf("%s = %d, between %d and %d: %v", name, at, before, after, want)
		}
	}
	close(f.release)
	var result string
	var out options
	if err := second.Call(davit.BusName+".Job.Wait", 0).Store(&result, &out); err != nil || result != "done" {
		t.Fatal(result, err)
	}
	if v, err := second.GetProperty(davit.BusName + ".Job.SubjectPath"); err != nil || v.Value() != imageObject {
		t.Errorf("SubjectPath %v, %v", v, err)
	}
	if result, _ := f.wait(t, conn, f.call(conn, "StartContainer", "web", uint64(0))); result != "done" {
		t.Fatal(result)
	}
	if v, err := conn.Object(davit.BusName, root+"/job/_34").GetProperty(davit.BusName + ".Job.SubjectPath"); err != nil || v.Value() != containerObject {
		t.Errorf("SubjectPath %v, %v", v, err)
	}
}

func monotonicUSec(t *testing.T) uint64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return uint64(now.Nano() / 1000)
}

// TestFacts calls what is answered at once.
func TestFacts(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	var release map[string]string
	if err := onObject(conn, containerObject, "GetOSRelease").Store(&release); err != nil || release["OF"] != containerID {
		t.Error(release, err)
	}
	if err := onObject(conn, imageObject, "GetOSRelease").Store(&release); err != nil || release["OF"] != string(imageID) {
		t.Error(release, err)
	}
	var changes []struct {
		Path string
		Kind uint32
	}
	if err := onObject(conn, containerObject, "GetChanges").Store(&changes); err != nil || len(changes) != 1 || changes[0].Kind != 2 {
		t.Error(changes, err)
	}
	var addresses []struct {
		Family  int32
		Address []byte
	}
	if err := onObject(conn, containerObject, "GetAddresses").Store(&addresses); err != nil || len(addresses) != 1 || addresses[0].Family != unix.AF_INET || string(addresses[0].Address) != "\xac\x1e\x00\x02" {
		t.Error(addresses, err)
	}
	var json string
	if err := onObject(conn, containerObject, "StatPath", "/etc").Store(&json); err != nil || json[:14] != `{"Name":"/etc"` {
		t.Error(json, err)
	}
	if err := f.call(conn, "GetDiskUsage", uint64(0)).Store(&json); err != nil || json[:16] != `{"LayersSize":42` {
		t.Error(json, err)
	}
	var found []struct {
		Name, Description   string
		Stars               uint32
		Official, Automated bool
	}
	if err := f.call(conn, "SearchImages", "x", option("Limit", uint32(5), "is-official", "true"), uint64(0)).Store(&found); err != nil || len(found) != 1 || found[0].Stars != 5 {
		t.Error(found, err)
	}
	for name, want := range map[string]any{"NReferences": uint32(1)} {
		if v, err := conn.Object(davit.BusName, root+"/volume/data").GetProperty(davit.BusName + ".Volume." + name); err != nil || v.Value() != want {
			t.Errorf("%s = %v, %v", name, v, err)
		}
	}
	if v, err := conn.Object(davit.BusName, root).GetProperty(manager + ".LastHealthCheckTimestampMonotonic"); err != nil || v.Value() != uint64(60_000_000) {
		t.Error(v, err)
	}
	testutil.Eventually(t, 10*time.Second, "nothing is under way", func() bool { return f.busy.Load() == 0 })
}

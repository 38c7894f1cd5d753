// SPDX-License-Identifier: Apache-2.0

package dbus_test

import (
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
)

type jobLine struct {
	ID                           uint32
	Type, Subject, State, Result string
	Progress                     float64
	Path                         godbus.ObjectPath
}

func TestPullListWait(t *testing.T) {
	needRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	var id uint32
	var path godbus.ObjectPath
	if err := f.call(conn, "PullImage", "busybox", map[string]godbus.Variant{}, uint64(0)).Store(&id, &path); err != nil {
		t.Fatal(err)
	}
	var result string
	var output map[string]godbus.Variant
	if err := f.call(conn, "WaitJob", id).Store(&result, &output); err != nil {
		t.Fatal(err)
	}
	t.Log(result, output)
	var jobs []jobLine
	if err := f.call(conn, "ListJobs").Store(&jobs); err != nil {
		t.Fatal(err)
	}
	t.Log(jobs)
	var lines [][]any
	if err := f.call(conn, "ListContainers", map[string]godbus.Variant{}, uint64(0)).Store(&lines); err != nil {
		t.Fatal(err)
	}
	t.Log(lines)
	if err := f.call(conn, "RunContainer", "busybox", "web", []string{"true"}, map[string]godbus.Variant{"Publish": godbus.MakeVariant([]string{"80:80"})}, uint64(0)).Store(&id, &path); err != nil {
		t.Fatal(err)
	}
	if err := conn.Object(davit.BusName, path).Call(davit.BusName+".Job.Wait", 0).Store(&result, &output); err != nil {
		t.Fatal(err)
	}
	t.Log(result, output)
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
}

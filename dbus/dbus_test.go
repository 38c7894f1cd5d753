// SPDX-License-Identifier: Apache-2.0

package dbus_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
)

type options = map[string]godbus.Variant

// option makes options of names and values.
func option(pairs ...any) options {
	o := options{}
	for i := 0; i < len(pairs); i += 2 {
		o[pairs[i].(string)] = godbus.MakeVariant(pairs[i+1])
	}
	return o
}

// wait waits for the job of an answered call and returns its result.
func (f *fixture) wait(t *testing.T, conn *godbus.Conn, c *godbus.Call) (result string, output options) {
	t.Helper()
	var id uint32
	var path godbus.ObjectPath
	if err := c.Store(&id, &path); err != nil {
		t.Fatal(err)
	}
	if err := f.call(conn, "WaitJob", id).Store(&result, &output); err != nil {
		t.Fatal(err)
	}
	return result, output
}

// TestChanges sends every method that makes a job and looks at the request.
func TestChanges(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	second, forever := time.Second, time.Duration(-1)
	container := root + "/container/_3" + godbus.ObjectPath(containerID)
	image := root + "/image/" + godbus.ObjectPath(imageID.Encoded())
	run := davit.Run{Pull: true}
	run.Create.Name = "web"
	run.Create.Config = davit.ContainerConfig{
		Image: "busybox", Cmd: []string{"httpd", "-f"}, Env: []string{"A=1"}, User: "www", WorkingDir: "/srv", Tty: true,
		Labels: map[string]string{"l": "1"}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}
	run.Create.HostConfig = davit.HostConfig{
		Binds: []string{"/a:/b"}, Privileged: true, NetworkMode: "host",
		Resources:     davit.Resources{Memory: 1 << 20, PidsLimit: new(int64(64)), NanoCPUs: 500_000_000},
		RestartPolicy: davit.RestartPolicy{Name: "on-failure", MaximumRetryCount: 3},
		PortBindings:  map[string][]davit.PortBinding{"80/tcp": {{HostPort: "8080"}}},
	}
	tests := []struct {
		path   godbus.ObjectPath // "" is the Manager
		member string
		args   []any
		want   engine.Request
	}{
		{member: "StartContainer", args: []any{"web", uint64(0)}, want: davit.Start{Container: "web"}},
		{member: "StopContainer", args: []any{"web", ^uint64(0), uint64(0)}, want: davit.Stop{Container: "web"}},
		{member: "StopContainer", args: []any{"web", uint64(1e6), uint64(0)}, want: davit.Stop{Container: "web", Timeout: &second}},
		{member: "RestartContainer", args: []any{"web", uint64(1 << 63), uint64(0)}, want: davit.Restart{Container: "web", Timeout: &forever}},
		{member: "KillContainer", args: []any{"web", "main", int32(15)}, want: davit.Kill{Container: "web", Signal: "15"}},
		{member: "RemoveContainer", args: []any{"web", uint64(1)}, want: davit.Delete{Container: "web", Force: true}},
		{member: "TagImage", args: []any{"busybox", "b:1", uint64(0)}, want: davit.Tag{Image: "busybox", Reference: "b:1"}},
		{member: "RemoveImage", args: []any{"busybox", uint64(0)}, want: davit.ImageDelete{Image: "busybox"}},
		{member: "PullImage", args: []any{"busybox", option("Platform", "linux/arm/v7"), uint64(0)}, want: davit.Pull{
			Reference: "busybox", Platform: davit.Platform{OS: "linux", Architecture: "arm", Variant: "v7"},
		}},
		{member: "CreateVolume", args: []any{"data", "local", option("Labels", map[string]string{"a": "b"}, "size", "1m"), uint64(0)}, want: davit.VolumeCreate{
			Name: "data", Driver: "local", Labels: map[string]string{"a": "b"}, Options: map[string]string{"size": "1m"},
		}},
		{member: "RemoveVolume", args: []any{"data", uint64(1)}, want: davit.VolumeDelete{Volume: "data", Force: true}},
		{member: "RunContainer", args: []any{"busybox", "web", []string{"httpd", "-f"}, option(
			"Environment", []string{"A=1"}, "Binds", []string{"/a:/b"}, "Publish", []string{"8080:80"}, "Privileged", true,
			"MemoryMax", uint64(1<<20), "TasksMax", uint64(64), "CPUQuotaPerSecUSec", uint64(500_000), "Restart", "on-failure:3",
			"User", "www", "WorkingDirectory", "/srv", "Network", "host", "Labels", map[string]string{"l": "1"}, "TTY", true,
		), uint64(0)}, want: run},
		{member: "EnqueueJob", args: []any{"stop", "web", option("Signal", "TERM", "Timeout", int64(time.Second)), uint64(0)}, want: davit.Stop{
			Container: "web", Signal: "TERM", Timeout: &second,
		}},
		{member: "EnqueueJob", args: []any{"pull", "busybox", option("Platform", options{"OS": godbus.MakeVariant("linux")}), uint64(0)}, want: davit.Pull{
			Reference: "busybox", Platform: davit.Platform{OS: "linux"},
		}},
		{container, "Start", []any{uint64(0)}, davit.Start{Container: containerID}},
		{container, "Stop", []any{uint64(0), uint64(0)}, davit.Stop{Container: containerID, Timeout: new(time.Duration)}},
		{container, "Restart", []any{^uint64(0), uint64(0)}, davit.Restart{Container: containerID}},
		{container, "Kill", []any{"", int32(9)}, davit.Kill{Container: containerID, Signal: "9"}},
		{container, "Remove", []any{uint64(0)}, davit.Delete{Container: containerID}},
		{container, "Rename", []any{"other"}, davit.Rename{Container: containerID, Name: "other"}},
		{image, "Tag", []any{"b:2", uint64(0)}, davit.Tag{Image: string(imageID), Reference: "b:2"}},
		{image, "Remove", []any{uint64(1)}, davit.ImageDelete{Image: string(imageID), Force: true}},
		{root + "/volume/data", "Remove", []any{uint64(0)}, davit.VolumeDelete{Volume: "data"}},
		{container, "Pause", nil, davit.Pause{Container: containerID}},
		{container, "Unpause", nil, davit.Unpause{Container: containerID}},
		{container, "Commit", []any{"b:3", option("Author", "me", "Comment", "why", "Pause", false, "Changes", []string{"CMD x"}), uint64(0)}, davit.ContainerCommit{
			Container: containerID, Reference: "b:3", Author: "me", Message: "why", Changes: []string{"CMD x"},
		}},
		{container, "Commit", []any{"", noOptions, uint64(0)}, davit.ContainerCommit{Container: containerID, Pause: true}},
		{root + "/exec/" + godbus.ObjectPath(execID), "Kill", []any{"", int32(15)}, davit.ExecKill{ID: execID, Signal: "15"}},
		{image, "Push", []any{"", option("Platform", "linux/arm64"), uint64(0)}, davit.Push{Reference: "busybox:latest", Platform: davit.Platform{OS: "linux", Architecture: "arm64"}}},
		{image, "Push", []any{"busybox", noOptions, uint64(0)}, davit.Push{Reference: "busybox"}},
		{root + "/network/" + godbus.ObjectPath(networkID), "Reapply", []any{uint64(0)}, davit.ReapplyNetworks{}},
		{member: "PushImage", args: []any{"busybox", noOptions, uint64(0)}, want: davit.Push{Reference: "busybox"}},
		{member: "Prune", args: []any{"image", option("until", "1h"), uint64(0)}, want: davit.Prune{Class: "image", Filters: map[string][]string{"until": {"1h"}}}},
		{member: "ReapplyNetworks", args: []any{uint64(0)}, want: davit.ReapplyNetworks{}},
		{member: "CreateContainer", args: []any{"web", `{"Image":"busybox"}`, uint64(0)}, want: davit.Create{Name: "web", Config: davit.ContainerConfig{Image: "busybox"}}},
	}
	for _, tt := range tests {
		t.Run(string(tt.path)+tt.member, func(t *testing.T) {
			c := f.call(conn, tt.member, tt.args...)
			if tt.path != "" {
				kind, _, _ := strings.Cut(strings.TrimPrefix(string(tt.path), string(root)+"/"), "/")
				iface := davit.BusName + "." + strings.ToUpper(kind[:1]) + kind[1:]
				c = conn.Object(davit.BusName, tt.path).Call(iface+"."+tt.member, 0, tt.args...)
			}
			if result, out := f.wait(t, conn, c); result != "done" {
				t.Fatal(result, out)
			}
			if d := cmp.Diff(tt.want, f.lastRequest(), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("wanted (-) and submitted (+) request:\n%s", d)
			}
		})
	}
}

// TestRefusals looks at the error names.
func TestRefusals(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	container := root + "/container/_3" + godbus.ObjectPath(containerID)
	image := root + "/image/" + godbus.ObjectPath(imageID.Encoded())
	const standard = "org.freedesktop.DBus.Error."
	get := "org.freedesktop.DBus.Properties.Get"
	tests := []struct {
		name, path, method string
		args               []any
		want, says         string
	}{
		{"no object", "/org/davit/Engine1/nothing", manager + ".ListJobs", nil, standard + "UnknownObject", "nothing"},
		{"no job", "/org/davit/Engine1/job/_399", davit.BusName + ".Job.Wait", nil, standard + "UnknownObject", ""},
		{"other spelling", "/org/davit/Engine1/job/1", davit.BusName + ".Job.Wait", nil, standard + "UnknownObject", ""},
		{"prefix of an id", "/org/davit/Engine1/container/_33f4e", davit.BusName + ".Container.Describe", nil, standard + "UnknownObject", ""},
		{"no interface", "", "a.b.C", nil, standard + "UnknownInterface", "a.b"},
		{"other object's interface", "", davit.BusName + ".Job.Cancel", nil, standard + "UnknownInterface", ""},
		{"no method", "", manager + ".Nothing", nil, standard + "UnknownMethod", "Nothing"},
		{"too few arguments", "", manager + ".PullImage", []any{"x"}, standard + "InvalidArgs", "takes (sa{sv}t), not (s)"},
		{"wrong type", "", manager + ".GetJob", []any{"1"}, standard + "InvalidArgs", "takes (u), not (s)"},
		{"unknown flag", "", manager + ".StartContainer", []any{"web", uint64(4)}, standard + "InvalidArgs", "0x4"},
		{"unknown property of a run", "", manager + ".RunContainer", []any{"i", "n", []string{}, option("Foo", "x"), uint64(0)}, standard + "InvalidArgs", `"Foo"`},
		{"property of wrong type", "", manager + ".RunContainer", []any{"i", "n", []string{}, option("MemoryMax", "1g"), uint64(0)}, standard + "InvalidArgs", "MemoryMax must be of type t, not s"},
		{"unknown option", "", manager + ".PullImage", []any{"i", option("Foo", "x"), uint64(0)}, standard + "InvalidArgs", `"Foo"`},
		{"filter of wrong type", "", manager + ".ListImages", []any{option("dangling", true), uint64(0)}, standard + "InvalidArgs", "dangling"},
		{"no signal", "", manager + ".KillContainer", []any{"web", "main", int32(0)}, standard + "InvalidArgs", "not a signal"},
		{"no such job", "", manager + ".WaitJob", []any{uint32(999)}, davit.BusName + ".NoSuchJob", "999"},
		{"no such container", "", manager + ".GetContainer", []any{"nope"}, davit.BusName + ".NoSuchContainer", "nope"},
		{"no such type", "", manager + ".EnqueueJob", []any{"nope", "", noOptions, uint64(0)}, davit.BusName + ".NoSuchJobType", "nope"},
		{"internal type", "", manager + ".EnqueueJob", []any{"restore", "", noOptions, uint64(0)}, davit.BusName + ".NoSuchJobType", "restore"},
		{"query type", "", manager + ".EnqueueJob", []any{"version", "", noOptions, uint64(0)}, standard + "NotSupported", "query"},
		{"type with a stream", "", manager + ".EnqueueJob", []any{"import", "x", noOptions, uint64(0)}, standard + "InvalidArgs", "SourcePath"},
		{"path of a type without one", "", manager + ".EnqueueJob", []any{"start", "x", option("SourcePath", "/x"), uint64(0)}, standard + "InvalidArgs", "SourcePath"},
		{"relative path", "", manager + ".EnqueueJob", []any{"load", "", option("SourcePath", "x"), uint64(0)}, standard + "InvalidArgs", "absolute"},
		{"path upwards", "", manager + ".EnqueueJob", []any{"load", "", option("SourcePath", "/x/../y"), uint64(0)}, standard + "InvalidArgs", "clean"},
		{"path of a directory", "", manager + ".EnqueueJob", []any{"load", "", option("SourcePath", "/etc"), uint64(0)}, standard + "InvalidArgs", "regular"},
		{"path of a link", "", manager + ".EnqueueJob", []any{"load", "", option("SourcePath", "/proc/self/exe"), uint64(0)}, davit.BusName + ".NoSuchFile", "symbolic link"},
		{"path of nothing", "", manager + ".EnqueueJob", []any{"load", "", option("SourcePath", "/nowhere/x"), uint64(0)}, davit.BusName + ".NoSuchFile", "/nowhere/x"},
		{"follow type", "", manager + ".EnqueueJob", []any{"logs", "web", noOptions, uint64(0)}, standard + "NotSupported", davit.BusName + ".Container.OpenLogs"},
		{"later", "", manager + ".RemoveNetwork", []any{"x", uint64(0)}, standard + "NotSupported", "RemoveNetwork is not supported yet"},
		{"streams of no terminal", string(container), davit.BusName + ".Container.Attach", []any{[]string{"tty"}, uint64(0)}, standard + "InvalidArgs", "stdin, stdout, stderr"},
		{"one stream twice", string(container), davit.BusName + ".Container.Attach", []any{[]string{"stdin", "stdin"}, uint64(0)}, standard + "InvalidArgs", "once"},
		{"no stream", string(container), davit.BusName + ".Container.Attach", []any{[]string{}, uint64(0)}, standard + "InvalidArgs", "no stream"},
		{"log that there is not", string(container), davit.BusName + ".Container.OpenLogs", []any{option("Tail", uint64(13)), uint64(0)}, standard + "NotSupported", "no log"},
		{"events that end before they begin", "", manager + ".OpenEvents", []any{noOptions, uint64(2), uint64(1), uint64(0)}, standard + "InvalidArgs", "before"},
		{"another image's name", string(image), davit.BusName + ".Image.Push", []any{"alpine", noOptions, uint64(0)}, standard + "InvalidArgs", "tag it first"},
		{"no such pid", "", manager + ".GetContainerByPID", []any{uint32(1)}, davit.BusName + ".NoSuchContainer", "process 1"},
		{"no such unit", "", manager + ".GetContainerByUnit", []any{"x.service"}, davit.BusName + ".NoSuchContainer", "x.service"},
		{"no such job to cancel", "", manager + ".CancelJob", []any{uint32(999)}, davit.BusName + ".NoSuchJob", "999"},
		{"other log target", "/org/freedesktop/LogControl1", "org.freedesktop.DBus.Properties.Set", []any{"org.freedesktop.LogControl1", "LogTarget", godbus.MakeVariant("syslog")}, standard + "NotSupported", "journal"},
		{"no log level", "/org/freedesktop/LogControl1", "org.freedesktop.DBus.Properties.Set", []any{"org.freedesktop.LogControl1", "LogLevel", godbus.MakeVariant("loud")}, standard + "InvalidArgs", "loud"},
		{"fixed log property", "/org/freedesktop/LogControl1", "org.freedesktop.DBus.Properties.Set", []any{"org.freedesktop.LogControl1", "SyslogIdentifier", godbus.MakeVariant("x")}, standard + "PropertyReadOnly", ""},
		{"unknown parameter", "", manager + ".EnqueueJob", []any{"start", "web", option("Foo", "x"), uint64(0)}, standard + "InvalidArgs", "no parameter Foo (it has: Container)"},
		{"secret parameter", "", manager + ".EnqueueJob", []any{"pull", "web", option("Auth", "x"), uint64(0)}, standard + "InvalidArgs", "Auth"},
		{"parameter of wrong type", "", manager + ".EnqueueJob", []any{"stop", "web", option("Timeout", "x"), uint64(0)}, standard + "InvalidArgs", "Timeout must be of type x"},
		{"subject twice", "", manager + ".EnqueueJob", []any{"stop", "web", option("Container", "x"), uint64(0)}, standard + "InvalidArgs", "Container"},
		{"no property", "", get, []any{manager, "Foo"}, standard + "UnknownProperty", "Foo"},
		{"property of no interface", "", get, []any{"a.b", "Foo"}, standard + "UnknownInterface", "a.b"},
		{"read-only property", "", "org.freedesktop.DBus.Properties.Set", []any{manager, "Version", godbus.MakeVariant("2")}, standard + "PropertyReadOnly", "Version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := root
			if tt.path != "" {
				path = godbus.ObjectPath(tt.path)
			}
			err := conn.Object(davit.BusName, path).Call(tt.method, 0, tt.args...).Err
			if errorNameOf(err) != tt.want || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v; want %s with %q", errorNameOf(err), err, tt.want, tt.says)
			}
		})
	}
}

// TestManagerProperties holds the Manager's properties against the XML file.
func TestManagerProperties(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	c := conn.Object(davit.BusName, root).Call("org.freedesktop.DBus.Properties.GetAll", 0, manager)
	if c.Err != nil {
		t.Fatal(c.Err)
	}
	values := c.Body[0].(options) // Store would lose the types
	data, err := os.ReadFile("xml/" + manager + ".xml")
	if err != nil {
		t.Fatal(err)
	}
	var n introspect.Node
	if err := xml.Unmarshal(data, &n); err != nil {
		t.Fatal(err)
	}
	want, got := map[string]string{}, map[string]string{}
	for _, p := range n.Interfaces[0].Properties {
		want[p.Name] = p.Type
	}
	for name, v := range values {
		got[name] = v.Signature().String()
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("XML (-) and properties (+) differ:\n%s", d)
	}
}

// TestFailedJob waits for a job that fails: the wait does not.
func TestFailedJob(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	result, out := f.wait(t, conn, f.call(conn, "PullImage", "missing", noOptions, uint64(0)))
	if result != "failed" || out["ErrorName"].Value() != davit.BusName+".NoSuchImage" {
		t.Errorf("%s %v", result, out)
	}
	job := conn.Object(davit.BusName, root+"/job/_32")
	for name, want := range map[string]any{
		"State": "finished", "Result": "failed", "ErrorMessage": "no such image: missing", "Transport": "dbus", "OwnerUID": uint32(0),
	} {
		if v, err := job.GetProperty(davit.BusName + ".Job." + name); err != nil || v.Value() != want {
			t.Errorf("%s = %v, %v; want %v", name, v, err, want)
		}
	}
}

// TestSlowJob watches, times and cancels a job that does not end by itself.
func TestSlowJob(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	if err := f.call(conn, "PullImage", "slow", noOptions, uint64(0)).Err; err != nil {
		t.Fatal(err)
	}
	job := conn.Object(davit.BusName, root+"/job/_32")
	var fd godbus.UnixFD
	if err := job.Call(davit.BusName+".Job.OpenOutput", 0, uint64(0)).Store(&fd); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, 10*time.Second, "a quarter of the progress is told", func() bool {
		v, err := job.GetProperty(davit.BusName + ".Job.Progress")
		return err == nil && v.Value() == 0.25
	})
	waited := job.Go(davit.BusName+".Job.Wait", 0, make(chan *godbus.Call, 1))
	if err := f.call(conn, "CancelJob", uint32(2)).Err; err != nil {
		t.Fatal(err)
	}
	if c := <-waited.Done; c.Err != nil || c.Body[0] != "canceled" {
		t.Errorf("wait: %v %v", c.Body, c.Err)
	}
	if err := job.Call(davit.BusName+".Job.Cancel", 0).Err; err != nil {
		t.Errorf("a second cancel: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(readAll(t, fd)))
	var first, last struct {
		Status, ID, Error string
		ProgressDetail    struct{ Current, Total uint64 }
	}
	if err := dec.Decode(&first); err != nil || first.Status != "Downloading" || first.ID != "abc" || first.ProgressDetail.Total != 4 {
		t.Errorf("first line: %+v, %v", first, err)
	}
	if err := dec.Decode(&last); err != nil || last.Error == "" {
		t.Errorf("last line: %+v, %v", last, err)
	}
}

func TestContainerWait(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	container := conn.Object(davit.BusName, root+"/container/_3"+godbus.ObjectPath(containerID))
	var status int32
	var message string
	if err := container.Call(davit.BusName+".Container.Wait", 0, "not-running").Store(&status, &message); err != nil || status != 3 {
		t.Errorf("%d %q %v", status, message, err)
	}
	// The job of a caller that leaves the bus ends.
	other, err := godbus.Connect(f.address)
	if err != nil {
		t.Fatal(err)
	}
	other.Object(davit.BusName, container.Path()).Go(davit.BusName+".Container.Wait", 0, nil, "removed")
	waits := func() bool {
		for _, j := range f.eng.Jobs() {
			if j.Type() == "wait" && j.Snapshot().State == engine.Running {
				return true
			}
		}
		return false
	}
	testutil.Eventually(t, 10*time.Second, "a job waits", waits)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, 10*time.Second, "no job waits", func() bool { return !waits() })
}

// TestEventSignals turns events into signals.
func TestEventSignals(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	signals := make(chan *godbus.Signal, 64)
	conn.Signal(signals)
	if err := conn.AddMatchSignal(godbus.WithMatchPathNamespace(root)); err != nil {
		t.Fatal(err)
	}
	expect := func(name string, path godbus.ObjectPath, first any) {
		t.Helper()
		deadline := time.After(10 * time.Second)
		for {
			select {
			case s := <-signals:
				if s.Name == name && s.Path == path && s.Body[0] == first {
					return
				}
			case <-deadline:
				t.Fatalf("no %s from %s", name, path)
			}
		}
	}
	container := root + "/container/_3" + godbus.ObjectPath(containerID)
	changed := "org.freedesktop.DBus.Properties.PropertiesChanged"
	f.emit <- davit.Event{Type: "container", Action: "create", ActorID: containerID}
	expect(manager+".ContainerNew", root, containerID)
	f.emit <- davit.Event{Type: "container", Action: "start", ActorID: containerID}
	expect(changed, container, davit.BusName+".Container")
	f.emit <- davit.Event{Type: "container", Action: "destroy", ActorID: containerID}
	expect(manager+".ContainerRemoved", root, containerID)
	setImages := func(list ...davit.ImageSummary) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.images = list
	}
	other := davit.ImageSummary{ID: "sha256:ab"}
	setImages(davit.ImageSummary{ID: imageID, Tags: []string{"other:tag"}}, other)
	f.emit <- davit.Event{Type: "image", Action: "pull", ActorID: "whatever"}
	expect(changed, root+"/image/"+godbus.ObjectPath(imageID.Encoded()), davit.BusName+".Image")
	expect(manager+".ImageNew", root, string(other.ID))
	setImages(other)
	f.emit <- davit.Event{Type: "image", Action: "delete"}
	expect(manager+".ImageRemoved", root, string(imageID))
}

// TestGolden compares the introspection of every kind of object with files.
func TestGolden(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	for name, path := range map[string]godbus.ObjectPath{
		"top": "/", "manager": root, "jobs": root + "/job", "job": root + "/job/_31",
		"container": root + "/container/_3" + godbus.ObjectPath(containerID), "image": root + "/image/" + godbus.ObjectPath(imageID.Encoded()),
		"network": root + "/network/" + godbus.ObjectPath(networkID), "volume": root + "/volume/data",
		"exec": root + "/exec/" + godbus.ObjectPath(execID), "freedesktop": "/org/freedesktop", "log": "/org/freedesktop/LogControl1",
	} {
		var got string
		if err := conn.Object(davit.BusName, path).Call("org.freedesktop.DBus.Introspectable.Introspect", 0).Store(&got); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		testutil.Golden(t, "introspect-"+name+".xml", got)
	}
}

func TestNoBus(t *testing.T) {
	for _, address := range []string{"unix:path=" + t.TempDir() + "/none", "unix:path=/etc/passwd/x"} {
		err := dbus.New(engine.New(nil), dbus.Options{Address: address}).Serve(t.Context(), func() { t.Error("ready") })
		if !errors.Is(err, dbus.ErrNoBus) || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v", address, err)
		}
	}
	err := dbus.New(engine.New(nil), dbus.Options{Address: "tcp:host=localhost"}).Serve(t.Context(), func() { t.Error("ready") })
	if err == nil || errors.Is(err, dbus.ErrNoBus) {
		t.Errorf("an address that is not understood: %v", err)
	}
}

func TestNameTaken(t *testing.T) {
	f := newFixture(t)
	err := dbus.New(f.eng, dbus.Options{Address: f.address}).Serve(t.Context(), func() { t.Error("ready") })
	if !errors.Is(err, dbus.ErrNameTaken) || !strings.Contains(err.Error(), davit.BusName) {
		t.Error(err)
	}
}

// TestPingOfABusyServer has all calls that may be made wait for a job.
func TestPingOfABusyServer(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	if err := f.call(f.client(t), "PullImage", "slow", noOptions, uint64(0)).Err; err != nil {
		t.Fatal(err)
	}
	const limit, each = 1024, 64
	answers := make(chan *godbus.Call, limit)
	for range limit / each {
		job := f.client(t).Object(davit.BusName, root+"/job/_32")
		for range each {
			job.Go(davit.BusName+".Job.Wait", 0, answers)
		}
	}
	testutil.Eventually(t, 10*time.Second, "all calls to be served", func() bool { return f.busy.Load() == limit })
	if err := f.call(f.client(t), "PullImage", "busybox", noOptions, uint64(0)).Err; errorNameOf(err) != "org.freedesktop.DBus.Error.LimitsExceeded" {
		t.Errorf("one more: %v", err)
	}
	if err := f.server.Ping(t.Context()); err != nil {
		t.Errorf("a server that has much to do does not find itself alive: %v", err)
	}
	close(f.release)
	for range limit {
		if c := <-answers; c.Err != nil {
			t.Fatal(c.Err)
		}
	}
}

func TestPing(t *testing.T) {
	f := newFixture(t)
	if err := f.server.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := f.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := f.server.Ping(t.Context()); err == nil {
		t.Error("a stopped server answers")
	}
}

func TestBusLost(t *testing.T) {
	f := newFixture(t)
	f.bus.stop()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for ctx.Err() == nil && f.server.Ping(ctx) == nil { // until it is noticed
		}
		done <- f.stop()
	}()
	if err := <-done; err == nil || errors.Is(err, dbus.ErrNoBus) {
		t.Errorf("Serve returned %v", err)
	}
}

// TestStop ends the service while a call waits: it is answered.
func TestStop(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	conn := f.client(t)
	if err := f.call(conn, "PullImage", "slow", noOptions, uint64(0)).Err; err != nil {
		t.Fatal(err)
	}
	waited := conn.Object(davit.BusName, root).Go(manager+".WaitJob", 0, make(chan *godbus.Call, 1), uint32(2))
	var jobs [][]any
	if err := f.call(conn, "ListJobs").Store(&jobs); err != nil || len(jobs) != 2 {
		t.Fatal(jobs, err)
	}
	if err := f.stop(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if c := <-waited.Done; errorNameOf(c.Err) != davit.BusName+".ShuttingDown" {
		t.Errorf("the waiting call got %v (%s)", c.Err, errorNameOf(c.Err))
	}
	close(f.release)
	j, err := f.eng.Job(2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Wait(t.Context()); err != nil {
		t.Errorf("the job of the caller did not outlive the service: %v", err)
	}
}

// TestStopLosesNoCall ends the service under calls: each is answered, by the
// service or, once the name is released, by the bus.
func TestStopLosesNoCall(t *testing.T) {
	testutil.RequireRoot(t)
	f := newFixture(t)
	const callers, before = 4, 50
	answered := make(chan error, callers)
	begun := make(chan struct{}, callers)
	for range callers {
		conn := f.client(t)
		go func() {
			for n := 0; ; n++ {
				if n == before {
					begun <- struct{}{}
				}
				if err := f.call(conn, "ListJobs").Err; err != nil {
					answered <- err
					return
				}
			}
		}()
	}
	for range callers {
		<-begun
	}
	if err := f.stop(); err != nil {
		t.Error(err)
	}
	for range callers {
		err := <-answered
		switch name := errorNameOf(err); name {
		case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner", davit.BusName + ".ShuttingDown":
		default:
			t.Errorf("a call got %q: %v", name, err)
		}
	}
}

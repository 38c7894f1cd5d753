// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// past are the events that there have been.
func (e *engine) past(t testing.TB, f client.Filters) (out []events.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	now := time.Now()
	stream := e.cli.Events(ctx, client.EventsListOptions{Since: "1", Until: strconv.FormatInt(now.Unix(), 10) + "." + pad(now.Nanosecond()), Filters: f})
	for {
		select {
		case m := <-stream.Messages:
			out = append(out, m)
		case err := <-stream.Err:
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatalf("events: %v", err)
			}
			return out
		}
	}
}

func pad(nanoseconds int) string {
	digits := strconv.Itoa(nanoseconds)
	return strings.Repeat("0", 9-len(digits)) + digits
}

func TestListWithEveryFilter(t *testing.T) {
	e := daemon(t)
	volume(t, e, "list", nil)
	first := e.create(t, idle(func(s *spec) { s.Name = "list-created"; s.Labels = map[string]string{"list": "1", "role": "a"} }))
	runs := e.start(t, idle(func(s *spec) {
		s.Name, s.Labels = "list-running", map[string]string{"list": "1", "role": "b"}
		s.Host.Binds = []string{"list:/v"}
		s.Host.PortBindings = network.PortMap{network.MustParsePort("80/tcp"): {{HostPort: "18080"}}}
		s.ExposedPorts = network.PortSet{network.MustParsePort("80/tcp"): {}, network.MustParsePort("53/udp"): {}}
	}))
	e.wait(t, e.start(t, sh("exit 3", func(s *spec) { s.Name, s.Labels = "list-exited", map[string]string{"list": "1"} })))
	list := func(t *testing.T, o client.ContainerListOptions) []string {
		t.Helper()
		got, err := e.cli.ContainerList(t.Context(), o)
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		names := []string{}
		for _, c := range got.Items {
			names = append(names, strings.TrimPrefix(c.Names[0], "/list-"))
		}
		slices.Sort(names)
		return names
	}
	all := []string{"created", "exited", "running"}
	for _, row := range []struct {
		line, term, value string
		want              []string
	}{
		{"label", "label", "role", []string{"created", "running"}},
		{"label and value", "label", "role=b", []string{"running"}},
		{"name", "name", "list-ex", []string{"exited"}},
		{"name anchored", "name", "^/list-running$", []string{"running"}},
		{"id", "id", first[:12], []string{"created"}},
		{"status", "status", "exited", []string{"exited"}},
		{"exit code", "exited", "3", []string{"exited"}},
		{"before", "before", "list-running", []string{"created"}},
		{"since", "since", "list-running", []string{"exited"}},
		{"ancestor", "ancestor", image, all},
		{"volume by name", "volume", "list", []string{"running"}},
		{"volume by place", "volume", "/v", []string{"running"}},
		{"network", "network", "bridge", []string{"created", "exited", "running"}},
		{"publish", "publish", "18080", []string{"running"}},
		{"expose", "expose", "53/udp", []string{"running"}},
		{"health", "health", "none", all},
		{"isolation is not of Linux", "is-task", "false", all},
	} {
		t.Run(row.line, func(t *testing.T) {
			f := client.Filters{}.Add("label", "list").Add(row.term, row.value)
			if row.term == "label" {
				f = client.Filters{}.Add("label", "list", row.value) // both
			}
			if got := list(t, client.ContainerListOptions{All: true, Filters: f}); !slices.Equal(got, row.want) {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
	t.Run("a filter that there is not", func(t *testing.T) {
		_, err := e.cli.ContainerList(t.Context(), client.ContainerListOptions{Filters: client.Filters{}.Add("colour", "red")})
		if statusOf(err) != 400 || !strings.Contains(err.Error(), "colour") {
			t.Errorf("it is refused by %v", err)
		}
	})
	t.Run("limit and what runs", func(t *testing.T) {
		if got := list(t, client.ContainerListOptions{Limit: 1}); !slices.Equal(got, []string{"exited"}) {
			t.Errorf("the last is %v", got)
		}
		if got := list(t, client.ContainerListOptions{Filters: client.Filters{}.Add("label", "list")}); !slices.Equal(got, []string{"running"}) {
			t.Errorf("running is %v", got)
		}
	})
	t.Run("size", func(t *testing.T) {
		e.in(t, runs, "dd if=/dev/zero of=/file bs=1k count=64 2>/dev/null")
		got, err := e.cli.ContainerList(t.Context(), client.ContainerListOptions{Size: true, Filters: client.Filters{}.Add("label", "list")})
		if err != nil || len(got.Items) != 1 || got.Items[0].SizeRw < 64<<10 || got.Items[0].SizeRootFs < 1<<20 {
			t.Fatalf("list: %+v, %v", got.Items, err)
		}
		c := got.Items[0]
		if len(c.Ports) < 2 || len(c.Mounts) != 1 || c.State != "running" || c.Image != image || c.NetworkSettings.Networks["bridge"] == nil {
			t.Errorf("it is %+v", c)
		}
	})
}

func TestInspectSaysWhatWasAsked(t *testing.T) {
	e := daemon(t)
	s := idle(func(s *spec) {
		s.Name, s.Hostname, s.User, s.WorkingDir = "inspect", "host", "joe", "/tmp"
		s.Env, s.Labels = []string{"A=b"}, map[string]string{"k": "v"}
		s.StopSignal, s.StopTimeout = "SIGINT", ptr(4)
		s.Host.Memory, s.Host.CapAdd = 64<<20, []string{"CAP_NET_ADMIN"}
		s.Host.ExtraHosts, s.Host.RestartPolicy = []string{"a:1.2.3.4"}, container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}
		s.Host.Mounts = []mount.Mount{{Type: mount.TypeTmpfs, Target: "/t"}}
		s.Host.Annotations = map[string]string{"an": "notation"}
	})
	id := e.start(t, s)
	r, err := e.cli.ContainerInspect(t.Context(), "inspect", client.ContainerInspectOptions{Size: true})
	if err != nil {
		t.Fatal(err)
	}
	c := r.Container
	if c.ID != id || c.Name != "/inspect" || c.Path != "sh" || !c.State.Running || c.State.Pid == 0 || c.SizeRootFs == nil || *c.SizeRootFs == 0 {
		t.Errorf("it is %+v", c)
	}
	if c.Config.Hostname != "host" || c.Config.User != "joe" || !slices.Contains(c.Config.Env, "A=b") || c.Config.Labels["k"] != "v" || *c.Config.StopTimeout != 4 {
		t.Errorf("its configuration is %+v", c.Config)
	}
	h := c.HostConfig
	if h.Memory != 64<<20 || !slices.Equal(h.CapAdd, s.Host.CapAdd) || h.RestartPolicy != s.Host.RestartPolicy || !slices.Equal(h.ExtraHosts, s.Host.ExtraHosts) ||
		len(h.Mounts) != 1 || h.Annotations["an"] != "notation" || h.IpcMode != "private" || h.LogConfig.Type == "" {
		t.Errorf("its host's part is %+v", h)
	}
	if n := c.NetworkSettings.Networks["bridge"]; n == nil || !n.IPAddress.IsValid() || len(n.MacAddress) == 0 || !n.Gateway.IsValid() {
		t.Errorf("its network is %+v", c.NetworkSettings)
	}
	if _, err := e.cli.ContainerInspect(t.Context(), "nobody", client.ContainerInspectOptions{}); statusOf(err) != 404 {
		t.Errorf("a container that is not there: %v", err)
	}
	// What was told can be asked for.
	again := spec{Config: *c.Config, Host: *h}
	e.start(t, again)
}

func TestLogs(t *testing.T) {
	e := daemon(t)
	id := e.start(t, sh("echo one; echo err >&2; sleep 1.1; echo two; echo three", func(s *spec) {
		s.Labels, s.Env = map[string]string{"role": "web"}, []string{"COLOUR=red"}
		s.Host.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"labels": "role", "env": "COLOUR"}}
	}))
	both := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true}
	t.Run("follow", func(t *testing.T) {
		o := both
		o.Follow = true
		if out, errs := e.output(t, id, o); out != "one\ntwo\nthree\n" || errs != "err\n" {
			t.Errorf("%q, %q", out, errs)
		}
	})
	e.wait(t, id)
	ask := func(line string, change func(*client.ContainerLogsOptions), want, wantErr string) {
		t.Helper()
		t.Run(line, func(t *testing.T) {
			o := both
			change(&o)
			out, errs := e.output(t, id, o)
			check(t, "stdout", out, want)
			check(t, "stderr", errs, wantErr)
		})
	}
	middle := e.inspect(t, id).State.FinishedAt
	end, err := time.Parse(time.RFC3339Nano, middle)
	if err != nil {
		t.Fatal(err)
	}
	half := end.Add(-500 * time.Millisecond).Format(time.RFC3339Nano)
	type o = client.ContainerLogsOptions
	ask("one stream", func(o *o) { o.ShowStdout = false }, "", "err")
	ask("tail", func(o *o) { o.Tail = "2" }, "two\nthree", "")
	ask("tail of none", func(o *o) { o.Tail = "0" }, "", "")
	ask("since", func(o *o) { o.Since = half }, "two\nthree", "")
	ask("until", func(o *o) { o.Until = half }, "one", "err")
	ask("timestamps", func(o *o) { o.Timestamps, o.Tail = true, "1" }, `~^20\d\d-\d\d-\d\dT[0-9:.]{18}Z three$`, "")
	ask("details", func(o *o) { o.Details, o.Tail = true, "1" }, "COLOUR=red,role=web three", "")
	t.Run("no stream", func(t *testing.T) {
		if _, err := e.cli.ContainerLogs(t.Context(), id, client.ContainerLogsOptions{}); statusOf(err) != 400 {
			t.Errorf("logs of no stream: %v", err)
		}
	})
	t.Run("of a terminal", func(t *testing.T) {
		tty := e.start(t, sh("echo one; echo err >&2", func(s *spec) { s.Tty = true }))
		e.wait(t, tty)
		r, err := e.cli.ContainerLogs(t.Context(), tty, both)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if data, err := io.ReadAll(r); err != nil || string(data) != "one\r\nerr\r\n" {
			t.Errorf("%q, %v", data, err)
		}
	})
}

func TestLogDrivers(t *testing.T) {
	e := daemon(t)
	for _, row := range []struct {
		line, driver string
		options      map[string]string
	}{
		{"json-file rotated", "json-file", map[string]string{"max-size": "2k", "max-file": "3"}},
		{"local", "local", nil},
		{"non-blocking", "json-file", map[string]string{"mode": "non-blocking", "max-buffer-size": "1m"}},
	} {
		t.Run(row.line, func(t *testing.T) {
			r := e.run(t, sh("for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; done", func(s *spec) {
				s.Host.LogConfig = container.LogConfig{Type: row.driver, Config: row.options}
			}))
			if lines := strings.Split(strings.TrimSpace(r.stdout), "\n"); len(lines) != 10 || lines[9] != "line 10" {
				t.Errorf("the log is %q", r.stdout)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		id := e.start(t, sh("echo lost", func(s *spec) { s.Host.LogConfig.Type = "none" }))
		e.wait(t, id)
		r, err := e.cli.ContainerLogs(t.Context(), id, client.ContainerLogsOptions{ShowStdout: true})
		if err == nil {
			data, _ := io.ReadAll(r)
			t.Errorf("it has a log: %q", data)
		} else if !strings.Contains(err.Error(), "does not support reading") {
			t.Errorf("refused by %v", err)
		}
	})
	t.Run("options", func(t *testing.T) {
		_, _, err := e.tryCreate(t, idle(func(s *spec) {
			s.Host.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"colour": "red"}}
		}))
		if err == nil || !strings.Contains(err.Error(), "colour") {
			t.Errorf("an option that there is not: %v", err)
		}
	})
}

func TestTop(t *testing.T) {
	e := daemon(t)
	id := e.start(t, idle())
	for _, args := range [][]string{nil, {"-o", "pid,comm"}} {
		var got client.ContainerTopResult
		testutil.Eventually(t, patience, "both processes", func() bool {
			var err error
			got, err = e.cli.ContainerTop(t.Context(), id, client.ContainerTopOptions{Arguments: args})
			if err != nil {
				t.Fatalf("top: %v", err)
			}
			return len(got.Processes) == 2
		})
		if !slices.Contains(got.Titles, "PID") || !strings.Contains(strings.Join(got.Processes[1], " "), "sleep") && !strings.Contains(strings.Join(got.Processes[0], " "), "sleep") {
			t.Errorf("top %v: %v", args, got)
		}
	}
	if _, err := e.cli.ContainerTop(t.Context(), e.create(t, idle()), client.ContainerTopOptions{}); statusOf(err) != 409 {
		t.Errorf("top of a container that does not run: %v", err)
	}
}

func TestChangesAndExport(t *testing.T) {
	e := daemon(t)
	id := e.start(t, sh("mkdir /new && echo x >/new/file && echo y >>/etc/passwd && rm /var/www/index.html", func(s *spec) {
		s.Host.Tmpfs = map[string]string{"/tmp": ""}
	}))
	if code := e.wait(t, id); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	diff, err := e.cli.ContainerDiff(t.Context(), id, client.ContainerDiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]container.ChangeType{}
	for _, c := range diff.Changes {
		got[c.Path] = c.Kind
	}
	// Whether a directory has changed with what is in it is its file system's word.
	delete(got, "/etc")
	delete(got, "/var")
	want := map[string]container.ChangeType{
		"/new": container.ChangeAdd, "/new/file": container.ChangeAdd, "/etc/passwd": container.ChangeModify,
		"/var/www": container.ChangeModify, "/var/www/index.html": container.ChangeDelete,
	}
	if !maps.Equal(got, want) {
		t.Errorf("changes are %v, want %v", got, want)
	}
	r, err := e.cli.ContainerExport(t.Context(), id, client.ContainerExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := untar(t, r)
	if files["new/file"] != "x\n" || !strings.HasSuffix(files["etc/passwd"], "y\n") {
		t.Errorf("exported are %v", slices.Sorted(maps.Keys(files)))
	}
	if _, ok := files["var/www/index.html"]; ok {
		t.Error("what was removed is exported")
	}
}

// untar reads an archive's files, and directories and links as "".
func untar(t testing.TB, r io.Reader) map[string]string {
	t.Helper()
	files := map[string]string{}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(strings.TrimSuffix(h.Name, "/"), "./")] = string(data)
	}
}

func TestCopyBothWays(t *testing.T) {
	e := daemon(t)
	volume(t, e, "copy", nil)
	ask := func(s *spec) { s.Host.Binds = []string{"copy:/v"} }
	states := map[string]string{"running": e.start(t, idle(ask)), "stopped": e.create(t, idle(ask))}
	for _, state := range []string{"running", "stopped"} {
		id := states[state]
		t.Run(state, func(t *testing.T) {
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			for _, h := range []*tar.Header{
				{Typeflag: tar.TypeReg, Name: "file", Mode: 0o640, Uid: 1000, Gid: 50, Size: 5},
				{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "file", Mode: 0o777},
			} {
				if err := w.WriteHeader(h); err != nil {
					t.Fatal(err)
				}
				if h.Size > 0 {
					if _, err := io.WriteString(w, "text\n"); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			for _, to := range []string{"/tmp", "/v"} {
				o := client.CopyToContainerOptions{DestinationPath: to, Content: bytes.NewReader(archive.Bytes()), CopyUIDGID: true}
				if _, err := e.cli.CopyToContainer(t.Context(), id, o); err != nil {
					t.Fatalf("copy to %s: %v", to, err)
				}
				r, err := e.cli.CopyFromContainer(t.Context(), id, client.CopyFromContainerOptions{SourcePath: to + "/file"})
				if err != nil {
					t.Fatalf("copy from %s: %v", to, err)
				}
				h, err := tar.NewReader(r.Content).Next()
				r.Content.Close()
				if err != nil || h.Name != "file" || h.Uid != 1000 || h.Gid != 50 || h.Mode&0o777 != 0o640 || r.Stat.Size != 5 {
					t.Errorf("came back: %+v, %+v, %v", h, r.Stat, err)
				}
				stat, err := e.cli.ContainerStatPath(t.Context(), id, client.ContainerStatPathOptions{Path: to + "/link"})
				if err != nil || stat.Stat.LinkTarget != to+"/file" || stat.Stat.Mode&fs.ModeSymlink == 0 {
					t.Errorf("the link is %+v, %v", stat.Stat, err)
				}
			}
			if _, err := e.cli.CopyFromContainer(t.Context(), id, client.CopyFromContainerOptions{SourcePath: "/not/there"}); statusOf(err) != 404 {
				t.Errorf("copy of what is not there: %v", err)
			}
		})
	}
	if got := e.in(t, states["running"], "cat /v/file; stat -c %u:%g /tmp/file"); got != "text\n1000:50" {
		t.Errorf("in the container: %q", got)
	}
}

func TestEvents(t *testing.T) {
	e := daemon(t)
	begin := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	live := e.cli.Events(ctx, client.EventsListOptions{Filters: client.Filters{}.Add("container", "events")})
	volume(t, e, "events", nil)
	id := e.start(t, sh("exit 5", func(s *spec) {
		s.Name, s.Labels = "events", map[string]string{"k": "v"}
		s.Host.Binds = []string{"events:/v"}
	}))
	e.wait(t, id)
	if _, err := e.cli.ContainerRename(t.Context(), id, client.ContainerRenameOptions{NewName: "events-2"}); err != nil {
		t.Fatal(err)
	}
	e.remove(t, id)
	// Docker's own filter finds a container by the name that it has in the event.
	for _, want := range []string{"create", "start", "die"} {
		select {
		case m := <-live.Messages:
			if string(m.Action) != want || m.Actor.ID != id || m.Actor.Attributes["name"] != "events" || m.Actor.Attributes["k"] != "v" || m.Actor.Attributes["image"] != image {
				t.Errorf("an event %s of %+v, want %s", m.Action, m.Actor, want)
			}
			if want == "die" && m.Actor.Attributes["exitCode"] != "5" {
				t.Errorf("it died with %v", m.Actor.Attributes)
			}
		case err := <-live.Err:
			t.Fatal(err)
		case <-time.After(patience):
			t.Fatalf("no event %s", want)
		}
	}
	var got []string
	for _, m := range e.past(t, nil) {
		if time.Unix(0, m.TimeNano).After(begin) {
			got = append(got, string(m.Type)+" "+string(m.Action))
		}
	}
	for _, want := range []string{
		"volume create", "container create", "volume mount", "network connect", "container start", "container die",
		"network disconnect", "volume unmount", "container rename", "container destroy",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no event %q in %v", want, got)
		}
	}
	for _, f := range []struct {
		term, value string
		only        func(events.Message) bool
	}{
		{"type", "volume", func(m events.Message) bool { return m.Type == "volume" }},
		{"event", "die", func(m events.Message) bool { return m.Action == "die" }},
		{"label", "k=v", func(m events.Message) bool { return m.Actor.Attributes["k"] == "v" }},
		{"image", image, func(m events.Message) bool { return m.Actor.Attributes["image"] == image || m.Type == "image" }},
		{"volume", "events", func(m events.Message) bool { return m.Type == "volume" }},
		{"network", "bridge", func(m events.Message) bool { return m.Type == "network" }},
	} {
		all := e.past(t, client.Filters{}.Add(f.term, f.value))
		if len(all) == 0 || slices.ContainsFunc(all, func(m events.Message) bool { return !f.only(m) }) {
			t.Errorf("%s=%s: %v", f.term, f.value, all)
		}
	}
}

func TestPruneContainers(t *testing.T) {
	e := daemon(t)
	id := e.create(t, idle(func(s *spec) { s.Labels = map[string]string{"prune": "yes"} }))
	kept := e.start(t, idle(func(s *spec) { s.Labels = map[string]string{"prune": "yes"} }))
	other := e.create(t, idle())
	r, err := e.cli.ContainerPrune(t.Context(), client.ContainerPruneOptions{Filters: client.Filters{}.Add("label", "prune")})
	if err != nil || !slices.Equal(r.Report.ContainersDeleted, []string{id}) {
		t.Errorf("pruned are %v, want %s and neither %s nor %s: %v", r.Report.ContainersDeleted, id, kept, other, err)
	}
}

func TestDiskUsage(t *testing.T) {
	e := daemon(t)
	usage := func() client.DiskUsageResult {
		t.Helper()
		du, err := e.cli.DiskUsage(t.Context(), client.DiskUsageOptions{Containers: true, Images: true, BuildCache: true, Volumes: true, Verbose: true})
		if err != nil {
			t.Fatal(err)
		}
		return du
	}
	before := usage()
	e.start(t, idle())
	e.create(t, idle())
	after := usage()
	if b, c := before.Containers, after.Containers; c.TotalCount != b.TotalCount+2 || c.ActiveCount != b.ActiveCount+1 || len(c.Items) != int(c.TotalCount) {
		t.Errorf("containers: %+v, before: %+v", c, b)
	}
	if i := after.Images; i.TotalCount < 1 || i.ActiveCount != before.Images.ActiveCount+1 || i.TotalSize < 1<<20 {
		t.Errorf("images: %+v, before: %+v", i, before.Images)
	}
}

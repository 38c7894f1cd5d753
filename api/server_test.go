// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/wire"
	"github.com/davit-engine/davit/engine"
	"github.com/google/go-cmp/cmp"
)

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestVersions(t *testing.T) {
	d := openDoor(t)
	for _, c := range []struct {
		path    string
		status  int
		message string
	}{
		{"/_ping", 200, ""},
		{"/v1.40/_ping", 200, ""},
		{"/v" + davit.APIVersion + "/_ping", 200, ""},
		{"/v1.99/_ping", 400, "client version 1.99 is too new. Maximum supported API version is 1.56"},
		{"/v2.0/_ping", 400, "client version 2.0 is too new. Maximum supported API version is 1.56"},
		{"/v1.39/_ping", 400, "client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version"},
		{"/v0.9/_ping", 400, "client version 0.9 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version"},
		{"/v1/_ping", 400, "client version 1 is malformed: want one from 1.40 to 1.56"},
		{"/v1.4.4/_ping", 400, "client version 1.4.4 is malformed: want one from 1.40 to 1.56"},
		{"/v1.050/_ping", 400, "client version 1.050 is malformed: want one from 1.40 to 1.56"},
		{"/vX/_ping", 404, "page not found"},
		{"/v/_ping", 404, "page not found"},
		{"/", 404, "page not found"},
		{"/v1.50", 404, "page not found"},
		{"/containers", 404, "page not found"},
		{"/containers/x/nosuch", 404, "page not found"},
	} {
		got := d.do("GET", c.path, "")
		if got.status != c.status || (c.message != "" && got.message() != c.message) {
			t.Errorf("GET %s: %d %s, want %d %q", c.path, got.status, got.body, c.status, c.message)
		}
		for k, v := range map[string]string{"Api-Version": "1.56", "Docker-Experimental": "false", "Ostype": "linux", "Server": "Davit/" + davit.Release + " (linux)"} {
			if got.header.Get(k) != v {
				t.Errorf("GET %s: header %s is %q, want %q", c.path, k, got.header.Get(k), v)
			}
		}
	}
	if got := d.do("POST", "/_ping", ""); got.status != 404 {
		t.Errorf("POST /_ping: %d, want 404: there is no 405 in the API", got.status)
	}
}

func TestPing(t *testing.T) {
	d := openDoor(t)
	for _, method := range []string{"GET", "HEAD"} {
		got := d.do(method, "/_ping", "")
		want := map[string]string{"Builder-Version": "1", "Swarm": "inactive", "Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Content-Type": "text/plain; charset=utf-8"}
		for k, v := range want {
			if got.header.Get(k) != v {
				t.Errorf("%s /_ping: %s is %q, want %q", method, k, got.header.Get(k), v)
			}
		}
		if body := map[string]string{"GET": "OK", "HEAD": ""}[method]; got.body != body {
			t.Errorf("%s /_ping: %q, want %q", method, got.body, body)
		}
	}
}

// TestTable holds the table against the API's own description.
func TestTable(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/api").Output()
	if err != nil {
		t.Skipf("the module cache cannot be read: %v", err)
	}
	spec, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "swagger.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r := newRouter(routes())
	path, n := "", 0
	paths := spec[bytes.Index(spec, []byte("\npaths:")):]
	for line := range strings.Lines(string(paths)) {
		if m := regexp.MustCompile(`^  (/\S*):`).FindStringSubmatch(line); m != nil {
			path = m[1]
		}
		m := regexp.MustCompile(`^    (get|head|post|put|delete):`).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		n++
		method := strings.ToUpper(m[1])
		row, _ := r.find(method, splitPath(path))
		if row == nil {
			t.Errorf("%s %s is documented and not in the table", method, path)
			continue
		}
		if want := regexp.MustCompile(`\{\w+(\.\.\.)?\}`).ReplaceAllString(row.pattern, "{}"); want != regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "{}") {
			t.Errorf("%s %s leads to the row of %s", method, path, row.pattern)
		}
	}
	if n < 100 {
		t.Errorf("only %d endpoints found in swagger.yaml", n)
	}
}

func TestUnserved(t *testing.T) {
	d := openDoor(t)
	for _, c := range []struct {
		method, path string
		status       int
		message      string
	}{
		{"POST", "/containers/x/checkpoints", 501, "POST /containers/{id}/checkpoints is not implemented yet"},
		{"GET", "/v1.45/images/docker.io/library/x/attestations", 501, "GET /images/{name...}/attestations is not implemented yet"},
		{"GET", "/nodes", 503, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`},
		{"POST", "/swarm/leave", 503, "This node is not part of a swarm"},
		{"GET", "/version", 501, "version: no such type of job (list them with the commands job)"}, // nothing is registered
	} {
		got := d.do(c.method, c.path, "")
		if got.status != c.status || got.message() != c.message {
			t.Errorf("%s %s: %d %s, want %d %q", c.method, c.path, got.status, got.body, c.status, c.message)
		}
	}
}

func TestNames(t *testing.T) {
	d := openDoor(t)
	handle(d, engine.Query, func(_ context.Context, _ *engine.Job, q davit.ImageInspect) (davit.Image, error) {
		return davit.Image{Comment: q.Image}, nil
	})
	handle(d, engine.Query, func(_ context.Context, _ *engine.Job, q davit.ContainerInspect) (davit.ContainerInfo, error) {
		return davit.ContainerInfo{Container: davit.Container{Name: q.Container}}, nil
	})
	for path, want := range map[string]string{
		"/images/busybox/json":                     `"Comment":"busybox"`,
		"/images/docker.io/library/busybox:1/json": `"Comment":"docker.io/library/busybox:1"`,
		"/v1.44/images/a%2Fb%2Fc/json":             `"Comment":"a/b/c"`,
		"/images/json/json":                        `"Comment":"json"`,
		"/images/history/history/json":             `"Comment":"history/history"`,
		"/images/x@sha256:00/json":                 `"Comment":"x@sha256:00"`,
		"/containers/web/json":                     `"Name":"/web"`,
		"/containers//web/json":                    `"Name":"/web"`,
		"/v1.50/containers/json/json":              `"Name":"/json"`,
		"/containers/a/b/json":                     `"Name":"/a/b"`, // there is none of such a name, and the job says so
		"/v1.50/containers/a%2Fb%2Fc/json":         `"Name":"/a/b/c"`,
	} {
		if got := d.do("GET", path, ""); got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("GET %s: %d %s, want %s", path, got.status, got.body, want)
		}
	}
}

func TestStatuses(t *testing.T) {
	d := openDoor(t)
	var fail error
	handle(d, engine.Change, func(context.Context, *engine.Job, davit.Start) (davit.Nothing, error) { return davit.Nothing{}, fail })
	for _, c := range []struct {
		err    error
		status int
	}{
		{nil, 204},
		{davit.Errorf(davit.AlreadySo, "it runs"), 304},
		{davit.Errorf(davit.StartFailed, "no such command"), 400},
		{davit.Errorf(davit.RegistryUnauthorized, "who are you"), 401},
		{davit.Errorf(davit.AccessDenied, "no"), 403},
		{fmt.Errorf("cannot start: %w", davit.Errorf(davit.NoSuchContainer, "no such container: x")), 404},
		{davit.Errorf(davit.ContainerPaused, "paused"), 409},
		{davit.Errorf(davit.ShuttingDown, "bye"), 503},
		{davit.Errorf(davit.NotSupported, "not here"), 501},
		{davit.Errorf(davit.RegistryUnreachable, "gone"), 500},
		{engine.ErrCanceled, 500},
		{context.DeadlineExceeded, 504},
		{errBoom, 500},
	} {
		fail = c.err
		got := d.do("POST", "/containers/x/start", "")
		if got.status != c.status {
			t.Errorf("%v: %d, want %d", c.err, got.status, c.status)
		}
		if c.err != nil && c.status != 304 && got.message() != c.err.Error() {
			t.Errorf("%v: message %q", c.err, got.message())
		}
		if c.status == 304 && got.body != "" {
			t.Errorf("304 with a body: %q", got.body)
		}
		if got.header.Get("Davit-Job") == "" {
			t.Errorf("%v: reply has no Davit-Job", c.err)
		}
	}
	if log := d.log.String(); !strings.Contains(log, "boom") || strings.Contains(log, "no such command") {
		t.Errorf("the log must tell of internal errors only: %s", log)
	}
}

func TestBadRequests(t *testing.T) {
	d := openDoor(t)
	cancelling(d)
	answer(d, engine.Change, davit.Create{}, davit.Created{ID: "x"})
	answer(d, engine.Change, davit.ExecCreate{}, "e")
	answer(d, engine.Change, davit.Start{}, davit.Nothing{})
	answer(d, engine.Query, davit.Containers{}, []davit.ContainerInfo{})
	js := http.Header{"Content-Type": {"application/json"}}
	for _, c := range []struct {
		method, path string
		header       http.Header
		body         string
		status       int
		message      string
	}{
		{"POST", "/containers/create", js, "", 400, "invalid JSON: got EOF while reading request body"},
		{"POST", "/containers/create", js, "{", 400, "invalid JSON: unexpected EOF"},
		{"POST", "/containers/create", js, "{}{}", 400, "unexpected content after JSON"},
		{"POST", "/containers/create", js, "{}}", 400, "unexpected content after JSON"},
		{"POST", "/containers/create", js, "{}", 400, "config cannot be empty in order to create a container"},
		{"POST", "/containers/create", js, `{"Image":1}`, 400, "invalid JSON: json: cannot unmarshal number into Go struct field CreateRequest.Config.Image of type string"},
		{"POST", "/containers/create", js, `{"Image":"x","Foo":"bar"}`, 400, "unknown field Foo in the request body"},
		{"POST", "/containers/create", js, `{"Image":"x","HostConfig":{"Foo":["bar"]}}`, 400, "unknown field HostConfig.Foo in the request body"},
		{"POST", "/containers/create", js, `{"Image":"x","HostConfig":{"Mounts":[{"Foo":true}]}}`, 400, "unknown field HostConfig.Mounts[0].Foo in the request body"},
		{"POST", "/containers/create", js, `{"Image":"x","MacAddress":"","HostConfig":{"KernelMemory":0}}`, 201, ""},
		{
			"POST", "/containers/create", js, `{"Image":"x","HostConfig":{"KernelMemory":100000000}}`, 501,
			"HostConfig.KernelMemory is not supported: kernel memory has no limit of its own since API 1.42 and Linux 5.16; use Memory",
		},
		{"POST", "/containers/create?platform=//", js, `{"Image":"x"}`, 400, `invalid platform "//": want os/arch or os/arch/variant`},
		{
			"POST", "/containers/create", js, `{"Image":"x","HostConfig":{"RestartPolicy":{"Name":"often"}}}`, 400,
			"invalid restart policy: unknown policy 'often'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
		},
		{"POST", "/containers/create", http.Header{"Content-Type": {"text/plain"}}, "{}", 400, "unsupported Content-Type header (text/plain): must be 'application/json'"},
		{"POST", "/containers/create", http.Header{}, "{}", 400, "malformed Content-Type header (): mime: no media type"},
		{"POST", "/containers/create", js, strings.Repeat(" ", bodyLimit+1), 413, "request body is larger than 4 MiB"},
		{"POST", "/containers/x/exec", js, `{"Detach":true,"Cmd":["x"]}`, 201, ""},
		{"POST", "/containers/x/exec", js, `{}`, 400, "no exec command specified"},
		{"GET", "/containers/json?filters=x", nil, "", 400, "invalid filters: invalid character 'x' looking for beginning of value"},
		{"GET", `/containers/json?filters={"nosuch":{"x":true}}`, nil, "", 400, "invalid filter 'nosuch'"},
		{"GET", "/containers/json?limit=many", nil, "", 400, `invalid value "many" for limit: not a number`},
		{"GET", "/containers/json?a=%zz", nil, "", 400, `cannot parse the query: invalid URL escape "%zz"`},
		{
			"POST", "/containers/x/start", js, `{"Binds":["/:/host"]}`, 400,
			"starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
		},
		{"POST", "/containers/x/start", js, "{}", 204, ""},
		{"POST", "/containers/x/stop?t=soon", nil, "", 400, `invalid value "soon" for t: not a number`},
		{"POST", "/containers/x/resize?h=1", nil, "", 400, `invalid resize w "": want a number of rows and of columns`},
		{"POST", "/containers/x/rename", nil, "", 400, "cannot rename x: the new name is empty"},
		{"POST", "/containers/x/wait?condition=dead", nil, "", 400, `invalid condition: "dead"`},
		{"GET", "/containers/x/logs", nil, "", 400, "bad parameters: you must choose at least one stream"},
		{"GET", "/containers/x/logs?stdout=1&since=now", nil, "", 400, `invalid value "now" for since: want seconds[.nanoseconds] since the epoch`},
		{"GET", "/events?since=2&until=1", nil, "", 400, "until cannot be before since"},
		{"GET", "/containers/x/archive", nil, "", 400, "bad parameter: path cannot be empty"},
		{"POST", "/images/create", nil, "", 400, "neither fromImage nor fromSrc is given"},
		{"POST", "/images/create?fromImage=UP", nil, "", 400, `invalid reference "UP": invalid reference format: repository name (library/UP) must be lowercase`},
		{"POST", "/images/create?fromImage=x", http.Header{"X-Registry-Auth": {"!"}}, "", 400, "invalid X-Registry-Auth header: illegal base64 data at input byte 0"},
		{"DELETE", "/davit/jobs/x", nil, "", 400, `invalid job id "x": not a number`},
		{"DELETE", "/davit/jobs/77", nil, "", 404, "no such job: 77"},
	} {
		if c.header == nil {
			c.header = http.Header{}
		}
		got := d.send(d.path, c.method, strings.ReplaceAll(c.path, `"`, "%22"), c.header, strings.NewReader(c.body))
		if got.status != c.status || got.message() != c.message {
			t.Errorf("%s %s %.40s:\n got %d %q\nwant %d %q", c.method, c.path, c.body, got.status, got.message(), c.status, c.message)
		}
	}
}

func TestReadOnlySocket(t *testing.T) {
	d := openDoor(t)
	answer(d, engine.Query, davit.Containers{}, []davit.ContainerInfo{})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/containers/json", 200},
		{"HEAD", "/_ping", 200},
		{"POST", "/containers/create", 403},
		{"POST", "/containers/x/wait", 403},
		{"DELETE", "/containers/x", 403},
		{"PUT", "/containers/x/archive", 403},
		{"GET", "/containers/x/archive?path=/etc/shadow", 403},
		{"GET", "/containers/x/attach/ws", 403},
		{"GET", "/images/get?names=x", 403},
		{"GET", "/images/docker.io/library/x/get", 403},
		{"GET", "/nosuch", 404},
	} {
		got := d.send(d.roPath, c.method, c.path, http.Header{}, nil)
		if got.status != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, got.status, got.body, c.status)
		}
		if c.status == 403 && !strings.HasPrefix(got.message(), "this socket is read-only: ") {
			t.Errorf("%s %s: message %q", c.method, c.path, got.message())
		}
	}
}

func TestCaller(t *testing.T) {
	d := openDoor(t)
	callers := make(chan engine.Caller, 1)
	handle(d, engine.Change, func(_ context.Context, j *engine.Job, _ davit.Kill) (davit.Nothing, error) {
		callers <- j.Caller()
		return davit.Nothing{}, nil
	})
	d.do("POST", "/containers/x/kill", "")
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	want := engine.Caller{Transport: engine.REST, UID: uint32(os.Getuid()), GIDs: []uint32{uint32(os.Getgid())}, PID: os.Getpid(), Door: davit.DoorAPI}
	for _, g := range groups {
		want.GIDs = append(want.GIDs, uint32(g))
	}
	if diff := cmp.Diff(want, within(t, "the job", callers)); diff != "" {
		t.Error(diff)
	}
}

func TestGate(t *testing.T) {
	d := newDoor(t)
	answer(d, engine.Query, davit.Containers{}, []davit.ContainerInfo{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := d.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("probe before Open: %v, want a timeout", err)
	}
	got := make(chan rawReply)
	go func() { got <- d.do("GET", "/containers/json", "") }()
	select {
	case r := <-got:
		t.Fatalf("answered before Open: %d %s", r.status, r.body)
	case <-time.After(50 * time.Millisecond):
	}
	d.Open()
	d.Open()
	if r := within(t, "the answer", got); r.status != 200 {
		t.Errorf("after Open: %d %s", r.status, r.body)
	}
	if err := d.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	d.close()
	if err := d.Probe(t.Context()); err == nil {
		t.Error("probe of a stopped server succeeded")
	}
}

func TestGateAtStop(t *testing.T) {
	d := newDoor(t)
	got := make(chan rawReply)
	go func() { got <- d.do("GET", "/containers/json", "") }()
	d.awaitCalls(1)
	d.stop()
	if r := within(t, "the answer", got); r.status != 503 {
		t.Errorf("request at the gate when the server stops: %d %s, want 503", r.status, r.body)
	}
}

// awaitCalls waits until n handlers run.
func (d *door) awaitCalls(n int) {
	d.t.Helper()
	deadline := time.After(patience)
	for {
		d.calls.mu.Lock()
		running := d.calls.running
		d.calls.mu.Unlock()
		if running == n {
			return
		}
		select {
		case <-deadline:
			d.t.Fatalf("%d handlers run, want %d", running, n)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestStopWaits has a change job run when the server stops: its client still
// gets the answer.
func TestStopWaits(t *testing.T) {
	d := openDoor(t)
	began, goOn := make(chan struct{}), make(chan struct{})
	handle(d, engine.Change, func(context.Context, *engine.Job, davit.Stop) (davit.Nothing, error) {
		close(began)
		<-goOn
		return davit.Nothing{}, nil
	})
	got := make(chan rawReply)
	go func() { got <- d.do("POST", "/containers/x/stop", "") }()
	<-began
	d.stop()
	select {
	case err := <-d.served:
		t.Fatalf("Serve returned %v while a handler ran", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	if r := within(t, "the answer", got); r.status != 204 {
		t.Errorf("%d %s, want 204", r.status, r.body)
	}
}

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errBoom }

func TestListenerFails(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := New(engine.New(nil), Options{Sockets: []Socket{{davit.DoorAPI, brokenListener{l}}}})
	if err := s.Serve(t.Context(), nil); !errors.Is(err, errBoom) {
		t.Errorf("Serve: %v, want the listener's error", err)
	}
	s = New(engine.New(nil), Options{Sockets: []Socket{{"web", l}}})
	if err := s.Serve(t.Context(), nil); err == nil || !strings.Contains(err.Error(), `"web"`) {
		t.Errorf("Serve of an unknown class: %v", err)
	}
}

// cancelling registers the handler of job_cancel, as the service does.
func cancelling(d *door) {
	handle(d, engine.Query, func(_ context.Context, _ *engine.Job, q davit.JobCancel) (davit.Nothing, error) {
		return davit.Nothing{}, d.eng.Cancel(q.ID) //nolint:contextcheck // the job has a context of its own
	})
}

func TestJobs(t *testing.T) {
	d := openDoor(t)
	cancelling(d)
	began := make(chan struct{})
	handle(d, engine.Change, func(ctx context.Context, j *engine.Job, _ davit.Pull) (davit.Image, error) {
		j.Report(engine.Progress{Phase: "Downloading", Item: "abc", Current: 1, Total: 2})
		close(began)
		<-ctx.Done()
		return davit.Image{}, ctx.Err()
	})
	got := make(chan rawReply)
	go func() { got <- d.do("POST", "/images/create?fromImage=x", "") }()
	<-began
	list := d.do("GET", "/davit/jobs", "").body
	for _, want := range []string{`"ID":1`, `"Type":"pull"`, `"State":"running"`, `"Transport":"rest"`, `"Cancellable":true`, `"Item":"abc"`} {
		if !strings.Contains(list, want) {
			t.Errorf("list lacks %s: %s", want, list)
		}
	}
	if r := d.do("DELETE", "/davit/jobs/1", ""); r.status != 204 || r.header.Get("Davit-Job") != "1" {
		t.Errorf("cancel: %d %s", r.status, r.body)
	}
	if r := within(t, "the pull's end", got); !strings.Contains(r.body, `"error":"the job was cancelled"`) {
		t.Errorf("pull that was cancelled: %d %s", r.status, r.body)
	}
	if r := d.do("GET", "/davit/jobs/1", ""); !strings.Contains(r.body, `"Result":"canceled"`) || !strings.Contains(r.body, `"Code":"JobCanceled"`) {
		t.Errorf("after: %s", r.body)
	}
	if r := d.do("GET", "/davit/job-types", ""); !strings.Contains(r.body, `"Reference":"string"`) {
		t.Errorf("types: %s", r.body)
	}
}

// denying allows the named actions alone.
type denying []string

func (d denying) Authorize(_ context.Context, _ engine.Caller, a engine.Access) error {
	if slices.Contains(d, a.Action) {
		return nil
	}
	return davit.Errorf(davit.AccessDenied, "you may not %s", a.Action)
}

// TestJobsAreGuarded asks for jobs without the right to look, and without
// that to cancel.
func TestJobsAreGuarded(t *testing.T) {
	d := openDoor(t)
	if err := engine.Register(d.eng, engine.Type[davit.JobCancel]{Class: engine.Query, Action: davit.ActionManageJobs},
		func(_ context.Context, _ *engine.Job, q davit.JobCancel) (davit.Nothing, error) {
			return davit.Nothing{}, d.eng.Cancel(q.ID) //nolint:contextcheck // the job has a context of its own
		}); err != nil {
		t.Fatal(err)
	}
	d.eng.SetAuthorizer(denying{})
	for _, path := range []string{"/davit/jobs", "/davit/jobs/1", "/davit/jobs/77", "/davit/job-types"} {
		if r := d.do("GET", path, ""); r.status != 403 || r.message() != "you may not inspect" {
			t.Errorf("%s: %d %s, want it refused", path, r.status, r.body)
		}
	}
	if r := d.do("DELETE", "/davit/jobs/77", ""); r.status != 403 || r.message() != "you may not manage-jobs" {
		t.Errorf("cancel: %d %s, want it refused", r.status, r.body)
	}
	d.eng.SetAuthorizer(denying{davit.ActionInspect})
	if r := d.do("GET", "/davit/jobs", ""); r.status != 200 {
		t.Errorf("who may look: %d %s", r.status, r.body)
	}
	if r := d.do("GET", "/davit/jobs/77", ""); r.status != 404 {
		t.Errorf("a job that is not there, to who may look: %d %s", r.status, r.body)
	}
}

// TestSlowBody has a client that says a body comes and does not send it.
func TestSlowBody(t *testing.T) {
	d := openDoor(t)
	d.opts.RequestTimeout = 50 * time.Millisecond
	_, r := d.dial("POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
	line, _ := head(t, r)
	if line != "HTTP/1.1 400 Bad Request" {
		t.Errorf("reply %q, want 400", line)
	}
	_, _ = io.Copy(io.Discard, r)
}

// TestShownImage: docker ps shows what the user wrote while it means the
// container's image, and the image's id else.
func TestShownImage(t *testing.T) {
	id := testImage.ID.String()
	for _, c := range []struct {
		ref   string
		image *davit.Image
		want  string
	}{
		{"busybox", &testImage, "busybox"},
		{"docker.io/library/busybox:latest", &testImage, "docker.io/library/busybox:latest"},
		{"busybox:2", &testImage, id},
		{"busybox", nil, id},
		{id, &testImage, id},
		{"111111111111", &testImage, "111111111111"},
		{testImage.Digests[0], &testImage, testImage.Digests[0]},
	} {
		info := davit.ContainerInfo{Container: davit.Container{ImageRef: c.ref, ImageID: testImage.ID}, Image: c.image}
		if got := wire.ShownImage(&info); got != c.want {
			t.Errorf("%s: shown %s, want %s", c.ref, got, c.want)
		}
	}
}

func TestStatusText(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for want, s := range map[string]davit.State{
		"Up Less than a second":        {Status: davit.StatusRunning, StartedAt: now},
		"Up 3 minutes":                 {Status: davit.StatusRunning, StartedAt: ago(3 * time.Minute)},
		"Up About an hour (Paused)":    {Status: davit.StatusPaused, StartedAt: ago(time.Hour)},
		"Restarting (1) 5 seconds ago": {Status: davit.StatusRestarting, ExitCode: 1, FinishedAt: ago(5 * time.Second)},
		"Exited (137) 2 weeks ago":     {Status: davit.StatusExited, ExitCode: 137, FinishedAt: ago(14 * 24 * time.Hour)},
		"Created":                      {Status: davit.StatusCreated},
		"Removal In Progress":          {Status: davit.StatusRemoving},
		"Dead":                         {Status: davit.StatusDead},
		"":                             {Status: davit.StatusExited},
	} {
		if got := wire.Status(s, now); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
}

// TestImageOfOlderVersions: what the reply said until API 1.44, and
// docker-compose 1.29 cannot do without, is said to them and to nobody else.
func TestImageOfOlderVersions(t *testing.T) {
	d := openDoor(t)
	answer(d, engine.Query, davit.ImageInspect{}, davit.Image{
		ID: testImage.ID, Config: davit.ContainerConfig{Volumes: map[string]struct{}{"/data": {}}},
	})
	for path, want := range map[string]bool{"/v1.44/images/x/json": true, "/v1.45/images/x/json": false} {
		var reply struct {
			Container       *string
			ContainerConfig *struct{ Volumes map[string]struct{} }
		}
		if err := json.Unmarshal([]byte(d.do("GET", path, "").body), &reply); err != nil {
			t.Fatal(err)
		}
		if (reply.Container != nil) != want || (reply.ContainerConfig != nil) != want {
			t.Errorf("%s: Container %v, ContainerConfig %v", path, reply.Container, reply.ContainerConfig)
		}
		if want {
			if _, ok := reply.ContainerConfig.Volumes["/data"]; !ok {
				t.Errorf("%s: the volumes are %v", path, reply.ContainerConfig.Volumes)
			}
		}
	}
}

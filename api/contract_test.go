// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// recorder is a door behind which every job says what it was asked, and
// succeeds, or fails with err.
type recorder struct {
	*door
	mu   sync.Mutex
	jobs []string // type and request, in JSON
	err  error
	last davit.Create
}

// asks registers a handler that records, calls use, which may be nil, and
// answers r.
func asks[Q engine.Typed[R], R any](rec *recorder, class engine.Class, r R, use func(Q) error) {
	rec.t.Helper()
	handle(rec.door, class, func(_ context.Context, _ *engine.Job, q Q) (R, error) {
		b, err := json.Marshal(q)
		if err != nil {
			return r, err
		}
		rec.mu.Lock()
		rec.jobs = append(rec.jobs, q.JobType()+" "+string(b))
		err = rec.err
		rec.mu.Unlock()
		if err == nil && use != nil {
			err = use(q)
		}
		return r, err
	})
}

func newRecorder(t *testing.T) *recorder {
	rec := &recorder{door: openDoor(t)}
	rec.lives()
	rec.streams()
	rec.looks()
	return rec
}

// lives registers the jobs that change something.
func (rec *recorder) lives() {
	none := davit.Nothing{}
	asks(rec, engine.Change, davit.Created{ID: testID}, func(q davit.Create) error {
		rec.last = q
		return nil
	})
	asks[davit.Start](rec, engine.Change, none, nil)
	asks[davit.Stop](rec, engine.Change, none, nil)
	asks[davit.Restart](rec, engine.Change, none, nil)
	asks[davit.Kill](rec, engine.Change, none, nil)
	asks[davit.Pause](rec, engine.Change, none, nil)
	asks[davit.Unpause](rec, engine.Change, none, nil)
	asks[davit.Rename](rec, engine.Change, none, nil)
	asks[davit.Resize](rec, engine.Change, none, nil)
	asks[davit.Delete](rec, engine.Change, none, nil)
	asks[davit.ContainerUpdate](rec, engine.Change, nil, nil)
	asks[davit.Prune](rec, engine.Change, davit.Pruned{}, nil)
	asks[davit.ExecCreate](rec, engine.Change, "e1", nil)
	asks[davit.ExecResize](rec, engine.Change, none, nil)
	asks[davit.VolumeCreate](rec, engine.Change, davit.Volume{}, nil)
	asks[davit.VolumeDelete](rec, engine.Change, none, nil)
	asks[davit.ContainerExtract](rec, engine.Change, none, nil)
}

// streams registers the jobs that use the connection.
func (rec *recorder) streams() {
	none := davit.Nothing{}
	open := func(f func(bool) (davit.Streams, error)) error {
		if f == nil {
			return nil
		}
		_, err := f(false)
		return err
	}
	asks(rec, engine.Follow, none, func(q davit.Attach) error { return open(q.Open) })
	asks(rec, engine.Follow, none, func(q davit.Logs) error { return open(q.Open) })
	asks(rec, engine.Follow, none, func(q davit.ExecStart) error { return open(q.Open) })
	asks(rec, engine.Follow, davit.Exit{Code: 3}, func(q davit.Wait) error { q.Ready(); return nil })
	asks(rec, engine.Follow, none, func(q davit.Events) error { q.Ready(); return nil })
	asks(rec, engine.Follow, none, func(q davit.Stats) error {
		for n := uint64(1); n < 3; n++ {
			if err := q.Emit(measured(n, false)); err != nil || q.Once {
				return err
			}
		}
		return nil
	})
	asks(rec, engine.Change, none, func(q davit.Export) error {
		_, err := q.Open()
		return err
	})
	asks(rec, engine.Change, none, func(q davit.ContainerCopy) error {
		_, err := q.Open(davit.FileStat{Name: q.Path})
		return err
	})
}

// looks registers the queries.
func (rec *recorder) looks() {
	asks[davit.Containers](rec, engine.Query, []davit.ContainerInfo{testContainer()}, nil)
	asks[davit.Top](rec, engine.Query, davit.ProcessTable{}, nil)
	asks[davit.ContainerChanges](rec, engine.Query, nil, nil)
	asks(rec, engine.Query, davit.FileStat{Name: "x"}, func(davit.ContainerStatPath) error { return nil })
	asks[davit.ExecInspect](rec, engine.Query, davit.Exec{ID: "e1"}, nil)
	asks[davit.Volumes](rec, engine.Query, nil, nil)
	asks[davit.VolumeInspect](rec, engine.Query, davit.Volume{}, nil)
	asks[davit.Version](rec, engine.Query, davit.VersionInfo{}, nil)
	asks[davit.Info](rec, engine.Query, davit.EngineInfo{}, nil)
	asks[davit.DiskUsage](rec, engine.Query, davit.DiskUsageInfo{Volumes: []davit.VolumeUsage{{}}}, nil)
	handle(rec.door, engine.Query, func(_ context.Context, _ *engine.Job, q davit.ContainerInspect) (davit.ContainerInfo, error) {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		rec.jobs = append(rec.jobs, fmt.Sprint("inspect ", q.Container, q.Size))
		info := testContainer()
		info.Config, info.HostConfig = rec.last.Config, rec.last.HostConfig
		info.State = davit.State{}
		info.Endpoints, info.MAC = nil, rec.last.MAC
		return info, rec.err
	})
}

// ask sends a request and returns the jobs that it made, and the reply.
func (rec *recorder) ask(method, path string, query url.Values, body any) (string, rawReply) {
	rec.t.Helper()
	rec.mu.Lock()
	rec.jobs = nil
	rec.mu.Unlock()
	text := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			rec.t.Fatal(err)
		}
		text = string(b)
	}
	r := rec.do(method, strings.NewReplacer("{id}", "x", "{name}", "x").Replace(path)+"?"+query.Encode(), text)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return strings.Join(rec.jobs, "\n"), r
}

// same tells whether two replies say the same.
func same(a, b rawReply) bool {
	strip := func(r rawReply) rawReply {
		h := r.header.Clone()
		for _, k := range []string{"Date", "Davit-Job"} {
			h.Del(k)
		}
		return rawReply{r.status, h, r.body}
	}
	return reflect.DeepEqual(strip(a), strip(b))
}

// state of a parameter or a field, as it was found.
type state string

const (
	honoured state = "honoured"
	refused  state = "refused"
	ignored  state = "no effect"
)

// stateOf compares a request with one that lacks the thing named.
func stateOf(name, jobs, base string, reply, without rawReply) state {
	switch {
	case reply.status >= 400 && strings.Contains(strings.ToLower(reply.body), strings.ToLower(name)):
		return refused
	case jobs != "" && jobs != base, reply.status < 400 && !same(reply, without):
		return honoured
	}
	return ignored
}

// inScope tells whether an endpoint is one whose every parameter and field is
// decided on.
func inScope(operation string) bool {
	_, path, _ := strings.Cut(operation, " ")
	return slices.Contains([]string{"containers", "exec", "volumes", "events", "system", "info", "version", "_ping"}, splitPath(path)[0]) &&
		operation != "PUT /volumes/{name}" // of a swarm
}

// must are the parameters and bodies without which a request is refused
// anyway; more are those of one parameter.
var (
	must = map[string]string{
		"GET /containers/{id}/logs": "stdout=1", "POST /containers/{id}/resize": "h=1&w=1", "POST /exec/{id}/resize": "h=1&w=1",
		"POST /containers/{id}/rename": "name=y", "GET /containers/{id}/archive": "path=/", "HEAD /containers/{id}/archive": "path=/",
		"PUT /containers/{id}/archive": "path=/",
	}
	more = map[string]string{
		"GET /containers/{id}/logs stdout": "stderr=1", "GET /containers/{id}/stats one-shot": "stream=0",
		"GET /containers/{id}/attach/ws stderr": "stdout=1", "GET /containers/{id}/attach/ws stdin": "stdout=1",
		"GET /containers/{id}/attach/ws stdout": "stdin=1",
	}
	mustBody = map[string]any{
		"POST /containers/create": object{"Image": "x"}, "POST /containers/{id}/exec": object{"Cmd": list{"x"}},
		"POST /exec/{id}/start": object{}, "POST /containers/{id}/update": object{}, "POST /volumes/create": object{},
	}
	// values are what parameters are set to; others to 1, and filters to the
	// first that the row has.
	values = map[string]string{
		"stream": "0", "type": "volume", "condition": "removed", "signal": "HUP", "t": "9", "h": "9", "w": "9", "name": "other", "path": "/other",
		"ps_args": "aux", "platform": "linux/s390x", "detachKeys": "ctrl-a", "since": "9", "until": "9", "tail": "9", "limit": "9",
	}
	streamValues = map[string]string{"POST /containers/{id}/attach stream": "1", "GET /containers/{id}/attach/ws stream": "1"}
)

func parse(t *testing.T, query string) url.Values {
	t.Helper()
	v, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// queryState finds out what becomes of a parameter.
func (rec *recorder) queryState(op, name string, row *route) state {
	rec.t.Helper()
	method, path, _ := strings.Cut(op, " ")
	q := parse(rec.t, must[op])
	if own, ok := more[op+" "+name]; ok {
		q = parse(rec.t, own)
	}
	base, without := rec.ask(method, path, q, mustBody[op])
	value := values[name]
	switch {
	case name == "filters":
		value = fmt.Sprintf(`{%q:["true"]}`, strings.Fields(row.filters)[0])
	case streamValues[op+" "+name] != "":
		value = streamValues[op+" "+name]
	case value == "":
		value = "1"
	}
	q.Set(name, value)
	jobs, reply := rec.ask(method, path, q, mustBody[op])
	return stateOf(name, jobs, base, reply, without)
}

// TestQueries sends each parameter that is documented, and each that the table
// has. None that is documented may be missing in the table.
func TestQueries(t *testing.T) {
	spec, rec, table := readSwagger(t), newRecorder(t), newRouter(routes())
	for _, op := range spec.operations() {
		if !inScope(op) {
			continue
		}
		method, path, _ := strings.Cut(op, " ")
		row, _ := table.find(method, splitPath(path))
		if row == nil {
			t.Errorf("%s is not in the table", op)
			continue
		}
		documented, known := spec.operation(op).names("query"), strings.Fields(row.query)
		for _, name := range documented {
			if !slices.Contains(known, name) && row.refuses[name] == "" {
				t.Errorf("%s: parameter %s is documented, and not in the table", op, name)
			}
		}
		for name := range row.refuses {
			if got := rec.queryState(op, name, row); got != refused {
				t.Errorf("%s: parameter %s has %s", op, name, got)
			}
		}
		for _, name := range known {
			if got := rec.queryState(op, name, row); (got == honoured) != (row.remarks[name] == "") {
				t.Errorf("%s: parameter %s: found to be %s; the remark on it is %q", op, name, got, row.remarks[name])
			}
		}
		if want := spec.operation(op).filters(); !subset(want, strings.Fields(row.filters)) {
			t.Errorf("%s: the filters are %s, documented %s", op, row.filters, want)
		}
	}
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// TestUnknownParameters sends what is no parameter, as clients do.
func TestUnknownParameters(t *testing.T) {
	rec := newRecorder(t)
	base, without := rec.ask("GET", "/containers/json", nil, nil)
	jobs, reply := rec.ask("GET", "/containers/json", parse(t, "fromSrc=&junk=1"), nil)
	if jobs != base || !same(reply, without) {
		t.Errorf("%s %v, want %s %v", jobs, reply, base, without)
	}
}

// codes are errors by the status that they get.
var codes = map[string]davit.Code{
	"304": davit.AlreadySo, "400": davit.InvalidConfiguration, "403": davit.AccessDenied, "404": davit.NoSuchContainer,
	"409": davit.ContainerRunning, "500": davit.Failed, "503": davit.ShuttingDown,
}

// TestDocumentedStatuses has each endpoint succeed, and fail in each way that
// is documented for it.
func TestDocumentedStatuses(t *testing.T) {
	spec, rec := readSwagger(t), newRecorder(t)
	for _, op := range spec.operations() {
		method, path, _ := strings.Cut(op, " ")
		if !inScope(op) || path == "/_ping" {
			continue // the one answers without a job
		}
		var good []string
		for _, status := range slices.Sorted(maps.Keys(spec.operation(op).Responses)) {
			if status < "300" {
				good = append(good, status)
				continue
			}
			rec.err = davit.Errorf(codes[status], "it went wrong")
			_, r := rec.ask(method, path, parse(t, must[op]), mustBody[op])
			var body map[string]string
			_ = json.Unmarshal([]byte(r.body), &body)
			quiet := method == "HEAD" || status == "304"
			if fmt.Sprint(r.status) != status || (!quiet && (len(body) != 1 || body["message"] != "it went wrong")) || (quiet && r.body != "") {
				t.Errorf("%s, when it fails with %s: %d %q", op, codes[status], r.status, r.body)
			}
		}
		rec.err = nil
		_, r := rec.ask(method, path, parse(t, must[op]), mustBody[op])
		if !slices.Contains(good, fmt.Sprint(r.status)) && path != "/containers/{id}/attach/ws" { // that needs a WebSocket
			t.Errorf("%s: %d %s, documented %s", op, r.status, r.body, good)
		}
	}
}

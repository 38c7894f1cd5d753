// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
)

// measured is the nth sample of a container that uses half of one of two
// processors.
func measured(n uint64, unified bool) davit.ContainerStats {
	return davit.ContainerStats{
		ID: testID, Name: "web", Read: time.Unix(int64(1000+n), 0).UTC(), Processors: 2, SystemCPU: n * 2e9, Unified: unified,
		CPU:     davit.CPUStats{Usage: n * 5e8, User: n * 3e8, System: n * 2e8, Periods: 7, ThrottledPeriods: 2, ThrottledTime: 9},
		Memory:  davit.MemoryStats{Usage: 48 << 20, MaxUsage: 50 << 20, Limit: 1 << 30, Failures: 3, Raw: map[string]uint64{"total_inactive_file": 16 << 20, "inactive_file": 16 << 20}},
		Pids:    davit.PidsStats{Current: 4, Limit: math.MaxInt32},
		BlockIO: []davit.BlockIO{{Major: 8, ReadBytes: 4_000_000, WriteBytes: 2_000_000, Reads: 10, Writes: 5}},
		Networks: map[string]davit.LinkStats{"eth0": {
			RxBytes: 1000, RxPackets: 1, RxErrors: 2, RxDropped: 3, TxBytes: 2000, TxPackets: 4, TxErrors: 5, TxDropped: 6,
		}},
	}
}

// measuring registers a handler that sends samples without waiting, and a last
// one of a container that has ended.
func measuring(d *door, samples uint64, unified bool) {
	handle(d, engine.Follow, func(ctx context.Context, _ *engine.Job, q davit.Stats) (davit.Nothing, error) {
		if q.Container == "nobody" {
			return davit.Nothing{}, davit.Errorf(davit.NoSuchContainer, "No such container: nobody")
		}
		for n := uint64(1); n <= samples && q.Container != "ended"; n++ {
			if err := q.Emit(measured(n, unified)); err != nil || q.Once {
				return davit.Nothing{}, err
			}
			if ctx.Err() != nil {
				return davit.Nothing{}, ctx.Err()
			}
		}
		return davit.Nothing{}, q.Emit(davit.ContainerStats{ID: testID, Name: "web"})
	})
}

// TestStatsOfOneConnection has a client ask again and again: that it had what it
// wanted, and the job was ended, is nothing to the next request on its connection.
func TestStatsOfOneConnection(t *testing.T) {
	d := openDoor(t)
	handle(d, engine.Follow, func(ctx context.Context, _ *engine.Job, q davit.Stats) (davit.Nothing, error) {
		for n := uint64(1); ; n++ {
			if err := q.Emit(measured(n, false)); err != nil {
				return davit.Nothing{}, err
			}
			if n > 1 {
				<-ctx.Done()                   // as between two measurements
				<-time.After(time.Millisecond) // an end takes a moment
				return davit.Nothing{}, ctx.Err()
			}
		}
	})
	conn, br := d.dial("")
	for n := range 200 {
		if _, err := io.WriteString(conn, "GET /containers/web/stats?stream=0 HTTP/1.1\r\nHost: d\r\n\r\n"); err != nil {
			t.Fatal(n, err)
		}
		r, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(n, err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != 200 || r.Close || strings.Count(string(body), "\n") != 1 {
			t.Fatalf("request %d: %d %s, %v", n, r.StatusCode, body, err)
		}
	}
}

func TestStats(t *testing.T) {
	d := openDoor(t)
	measuring(d, 3, false)
	read := func(path string) (out []container.StatsResponse) {
		t.Helper()
		r := d.do("GET", path, "")
		if r.status != 200 {
			t.Fatalf("%s: %d %s", path, r.status, r.body)
		}
		for dec := json.NewDecoder(strings.NewReader(r.body)); ; {
			var s container.StatsResponse
			if err := dec.Decode(&s); errors.Is(err, io.EOF) {
				return out
			} else if err != nil {
				t.Fatal(path, err)
			}
			out = append(out, s)
		}
	}
	if all := read("/containers/web/stats"); len(all) != 4 || all[0].PreCPUStats.SystemUsage != 0 || !all[0].PreRead.IsZero() ||
		all[2].PreCPUStats.SystemUsage != 4e9 || !all[3].Read.IsZero() || all[3].PreCPUStats.SystemUsage != 6e9 {
		t.Errorf("the stream: %+v", all)
	}
	one := read("/containers/web/stats?stream=0")
	if len(one) != 1 {
		t.Fatalf("without a stream: %d records", len(one))
	}
	cpu := func(n uint64) container.CPUStats {
		return container.CPUStats{
			CPUUsage: container.CPUUsage{TotalUsage: n * 5e8, UsageInUsermode: n * 3e8, UsageInKernelmode: n * 2e8}, SystemUsage: n * 2e9, OnlineCPUs: 2,
			ThrottlingData: container.ThrottlingData{Periods: 7, ThrottledPeriods: 2, ThrottledTime: 9},
		}
	}
	entry := func(op string, value uint64) container.BlkioStatEntry {
		return container.BlkioStatEntry{Major: 8, Op: op, Value: value}
	}
	want := container.StatsResponse{
		ID: testID, Name: "/web", OSType: "linux", Read: time.Unix(1002, 0).UTC(), PreRead: time.Unix(1001, 0).UTC(), CPUStats: cpu(2), PreCPUStats: cpu(1),
		MemoryStats: container.MemoryStats{Usage: 48 << 20, MaxUsage: 50 << 20, Limit: 1 << 30, Failcnt: 3, Stats: map[string]uint64{"total_inactive_file": 16 << 20, "inactive_file": 16 << 20}},
		PidsStats:   container.PidsStats{Current: 4, Limit: math.MaxInt32},
		BlkioStats: container.BlkioStats{
			IoServiceBytesRecursive: []container.BlkioStatEntry{entry("Read", 4_000_000), entry("Write", 2_000_000)},
			IoServicedRecursive:     []container.BlkioStatEntry{entry("Read", 10), entry("Write", 5)},
		},
		Networks: map[string]container.NetworkStats{"eth0": {
			RxBytes: 1000, RxPackets: 1, RxErrors: 2, RxDropped: 3, TxBytes: 2000, TxPackets: 4, TxErrors: 5, TxDropped: 6,
		}},
	}
	if diff := cmp.Diff(want, one[0]); diff != "" {
		t.Errorf("without a stream (-want +got):\n%s", diff)
	}
	if one := read("/containers/web/stats?stream=0&one-shot=1"); len(one) != 1 || one[0].CPUStats.SystemUsage != 2e9 || one[0].PreCPUStats.SystemUsage != 0 {
		t.Errorf("one shot: %+v", one)
	}
	if one := read("/containers/ended/stats?stream=0"); len(one) != 1 || !one[0].Read.IsZero() || one[0].Name != "/web" {
		t.Errorf("of a container that has ended: %+v", one)
	}
	for path, status := range map[string]int{"/containers/nobody/stats": 404, "/containers/web/stats?stream=1&one-shot=1": 400} {
		if r := d.do("GET", path, ""); r.status != status {
			t.Errorf("%s: %d %s, want %d", path, r.status, r.body, status)
		}
	}
}

// TestStatsEndWithTheirReader has a client leave a stream that would go on for
// ever.
func TestStatsEndWithTheirReader(t *testing.T) {
	d := openDoor(t)
	ended := make(chan error, 1)
	handle(d, engine.Follow, func(ctx context.Context, _ *engine.Job, q davit.Stats) (davit.Nothing, error) {
		err := q.Emit(measured(1, false))
		<-ctx.Done()
		ended <- ctx.Err()
		return davit.Nothing{}, errors.Join(err, ctx.Err())
	})
	conn, br := d.dial("GET /containers/web/stats HTTP/1.1\r\nHost: d\r\n\r\n")
	if line, _ := head(t, br); line != "HTTP/1.1 200 OK" {
		t.Fatal(line)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "the job's end", ended)
}

func TestStatsOfVersion2(t *testing.T) {
	s := measured(1, true)
	w := statsWire(&s, nil)
	if w.MemoryStats.MaxUsage != 0 || w.MemoryStats.Failcnt != 0 || w.BlkioStats.IoServicedRecursive != nil ||
		len(w.BlkioStats.IoServiceBytesRecursive) != 2 || w.BlkioStats.IoServiceBytesRecursive[1].Op != "write" {
		t.Errorf("%+v %+v", w.MemoryStats, w.BlkioStats)
	}
}

func TestCLIStats(t *testing.T) {
	d := openDoor(t)
	populate(d)
	measuring(d, 3, false)
	out, errs, code := docker(t, d, "", "stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.MemPerc}} {{.NetIO}} {{.BlockIO}} {{.PIDs}}", "web")
	if want := "web 50.00% 32MiB / 1GiB 3.12% 1kB / 2kB 4MB / 2MB 4\n"; out != want || code != 0 {
		t.Errorf("docker stats: %q, want %q, exit %d %s", out, want, code, errs)
	}
}

func TestCLIDiff(t *testing.T) {
	d := openDoor(t)
	handle(d, engine.Query, func(_ context.Context, _ *engine.Job, q davit.ContainerChanges) ([]davit.FileChange, error) {
		if q.Container != "web" {
			return nil, davit.Errorf(davit.NoSuchContainer, "No such container: %s", q.Container)
		}
		return []davit.FileChange{{Path: "/etc", Kind: davit.FileModified}, {Path: "/etc/new", Kind: davit.FileAdded}, {Path: "/gone", Kind: davit.FileDeleted}}, nil
	})
	out, errs, code := docker(t, d, "", "diff", "web")
	if want := "C /etc\nA /etc/new\nD /gone\n"; out != want || code != 0 {
		t.Errorf("docker diff: %q exit %d %s", out, code, errs)
	}
	if r := d.do("GET", "/containers/none/changes", ""); r.status != 404 {
		t.Errorf("of none: %d %s", r.status, r.body)
	}
}

func TestExport(t *testing.T) {
	d := openDoor(t)
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.Export) (davit.Nothing, error) {
		if q.Container == "nobody" {
			return davit.Nothing{}, davit.Errorf(davit.NoSuchContainer, "No such container: nobody")
		}
		w, err := q.Open()
		if err == nil {
			_, err = io.WriteString(w, "a tar")
		}
		if q.Container == "torn" {
			err = errors.New("a file cannot be read")
		}
		return davit.Nothing{}, err
	})
	out := filepath.Join(t.TempDir(), "a.tar")
	if _, errs, code := docker(t, d, "", "export", "-o", out, "web"); code != 0 {
		t.Fatalf("docker export: exit %d %s", code, errs)
	}
	if data, err := os.ReadFile(out); err != nil || string(data) != "a tar" {
		t.Errorf("docker export wrote %q, %v", data, err)
	}
	if r := d.do("GET", "/containers/web/export", ""); r.header.Get("Content-Type") != "application/octet-stream" || r.header.Get("Davit-Job") == "" {
		t.Errorf("its header: %v", r.header)
	}
	if r := d.do("GET", "/containers/nobody/export", ""); r.status != 404 {
		t.Errorf("of nobody: %d %s", r.status, r.body)
	}
	if r := d.send(d.roPath, "GET", "/containers/web/export", nil, nil); r.status != 403 {
		t.Errorf("on the read-only socket: %d %s", r.status, r.body)
	}
	_, br := d.dial("GET /containers/torn/export HTTP/1.1\r\nHost: d\r\n\r\n")
	if b, err := io.ReadAll(bufio.NewReader(br)); err == nil && strings.HasSuffix(string(b), "0\r\n\r\n") {
		t.Errorf("a torn archive ends like a whole one: %q", b)
	}
}

func TestPause(t *testing.T) {
	d := openDoor(t)
	paused := false
	handle(d, engine.Change, func(context.Context, *engine.Job, davit.Pause) (davit.Nothing, error) {
		if paused {
			return davit.Nothing{}, davit.Errorf(davit.ContainerPaused, "container web is already paused")
		}
		paused = true
		return davit.Nothing{}, nil
	})
	handle(d, engine.Change, func(context.Context, *engine.Job, davit.Unpause) (davit.Nothing, error) {
		paused = false
		return davit.Nothing{}, nil
	})
	if r := d.do("POST", "/containers/web/pause", ""); r.status != 204 || !paused {
		t.Errorf("pause: %d %s", r.status, r.body)
	}
	if r := d.do("POST", "/containers/web/pause", ""); r.status != 409 || r.message() != "container web is already paused" {
		t.Errorf("pause again: %d %s", r.status, r.body)
	}
	if r := d.do("POST", "/containers/web/unpause", ""); r.status != 204 || paused {
		t.Errorf("unpause: %d %s", r.status, r.body)
	}
}

func TestPrunes(t *testing.T) {
	d := openDoor(t)
	asked := make(chan davit.Prune, 1)
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.Prune) (davit.Pruned, error) {
		asked <- q
		return davit.Pruned{Containers: []string{testID}, Volumes: []string{"v"}, Reclaimed: 3000}, nil
	})
	for _, c := range []struct {
		args []string
		out  string
		want davit.Prune
	}{
		{[]string{"container", "prune", "-f", "--filter", "until=24h", "--filter", "label=a=b"}, "Deleted Containers:\n" + testID + "\n\nTotal reclaimed space: 3kB\n", davit.Prune{Class: "container", Filters: map[string][]string{"until": {"24h"}, "label": {"a=b"}}}},
		{[]string{"volume", "prune", "-f", "--filter", "label!=keep"}, "Deleted Volumes:\nv\n\nTotal reclaimed space: 3kB\n", davit.Prune{Class: "volume", Filters: map[string][]string{"label!": {"keep"}}}},
		{[]string{"volume", "prune", "-af"}, "Deleted Volumes:\nv\n\nTotal reclaimed space: 3kB\n", davit.Prune{Class: "volume", Filters: map[string][]string{"all": {"true"}}}},
		{[]string{"network", "prune", "-f"}, "", davit.Prune{Class: "network"}},
	} {
		out, errs, code := docker(t, d, "", c.args...)
		if out != c.out || code != 0 {
			t.Errorf("docker %v: exit %d %s %q", c.args, code, errs, out)
		}
		if diff := cmp.Diff(c.want, <-asked); diff != "" {
			t.Errorf("docker %v asked for (-want +got):\n%s", c.args, diff)
		}
	}
	if r := d.do("POST", "/v1.41/volumes/prune", ""); r.status != 200 {
		t.Errorf("prune of an old client: %d %s", r.status, r.body)
	}
	if diff := cmp.Diff(davit.Prune{Class: "volume", Filters: map[string][]string{"all": {"true"}}}, <-asked); diff != "" {
		t.Errorf("an old client asked for (-want +got):\n%s", diff)
	}
	go func() {
		for range asked { // what comes of all the prunes
		}
	}()
	defer close(asked)
	out, errs, code := docker(t, d, "", "system", "prune", "-f", "--volumes")
	if code != 0 || !strings.Contains(out, "Deleted Containers:") || !strings.Contains(out, "Deleted Volumes:") || !strings.Contains(out, "Total reclaimed space:") {
		t.Errorf("docker system prune: exit %d %s\n%s", code, errs, out)
	}
	d.eng.SetAuthorizer(denying{davit.ActionInspect})
	if r := d.do("POST", "/build/prune", ""); r.status != 403 {
		t.Errorf("a prune of the build cache without the right: %d %s", r.status, r.body)
	}
	d.eng.SetAuthorizer(denying{""}) // test handlers have no action
	for _, path := range []string{"/containers/prune", "/volumes/prune", "/networks/prune"} {
		if r := d.do("POST", path+`?filters={"nonsense":["x"]}`, ""); r.status != 400 {
			t.Errorf("%s with an unknown filter: %d %s", path, r.status, r.body)
		}
	}
}

// using registers a handler of a host with two images that share a layer, a
// container that runs and one that does not, and two volumes.
func using(d *door) {
	running, ended := testContainer(), testContainer()
	ended.ID, ended.Name, ended.SizeRw = strings.Repeat("e", 64), "ended", 2000
	ended.State = davit.State{Status: davit.StatusExited}
	running.SizeRw = 1000
	other := davit.ImageSummary{ID: "sha256:44", Created: testImage.Created, Size: 3_000_000, SharedSize: 1_000_000}
	answer(d, engine.Query, davit.DiskUsage{}, davit.DiskUsageInfo{
		LayersSize: 6_000_000,
		Images:     []davit.ImageSummary{{ID: testImage.ID, Tags: testImage.Tags, Created: testImage.Created, Size: 4_000_000, SharedSize: 1_000_000, Containers: 2}, other},
		Containers: []davit.ContainerInfo{running, ended},
		Volumes: []davit.VolumeUsage{
			{Volume: davit.Volume{Name: "used", Driver: "local"}, Size: 500, RefCount: 1}, {Volume: davit.Volume{Name: "free", Driver: "local"}, Size: 700},
		},
	})
}

func TestDiskUsage(t *testing.T) {
	d := openDoor(t)
	using(d)
	out, errs, code := docker(t, d, "", "system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}")
	want := "Images 2 1 6MB 3MB (50%)\nContainers 2 1 3kB 2kB (66%)\nLocal Volumes 2 1 1.2kB 700B (58%)\nBuild Cache 0 0 0B 0B\n"
	if out != want || code != 0 {
		t.Errorf("docker system df: exit %d %s\n%swant\n%s", code, errs, out, want)
	}
	out, errs, code = docker(t, d, "", "system", "df", "-v")
	if code != 0 || !strings.Contains(out, "1MB") || !strings.Contains(out, "used") || !strings.Contains(out, "ended") {
		t.Errorf("docker system df -v: exit %d %s\n%s", code, errs, out)
	}
	fields := func(path string) map[string]json.RawMessage {
		t.Helper()
		r := d.do("GET", path, "")
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(r.body), &m); err != nil || r.status != 200 {
			t.Fatalf("%s: %d %s", path, r.status, r.body)
		}
		return m
	}
	for path, want := range map[string]string{
		"/v1.51/system/df":                         "BuildCache Containers Images LayersSize Volumes",
		"/v1.52/system/df":                         "BuildCache BuildCacheUsage ContainerUsage Containers ImageUsage Images LayersSize VolumeUsage Volumes",
		"/v1.52/system/df?verbose=1":               "BuildCacheUsage ContainerUsage ImageUsage VolumeUsage",
		"/v1.53/system/df":                         "BuildCacheUsage ContainerUsage ImageUsage VolumeUsage",
		"/system/df?type=volume&type=container":    "ContainerUsage VolumeUsage",
		"/v1.51/system/df?type=image&type=volume":  "Images LayersSize Volumes",
		"/v1.51/system/df?type=build-cache":        "BuildCache",
		"/v1.53/system/df?type=volume&verbose=yes": "VolumeUsage",
	} {
		m := fields(path)
		if got := strings.Join(slices.Sorted(maps.Keys(m)), " "); got != want {
			t.Errorf("%s has %s, want %s", path, got, want)
		}
		if v, verbose := string(m["VolumeUsage"]), strings.Contains(path, "verbose"); v != "" &&
			(!strings.Contains(v, `"ActiveCount":1`) || !strings.Contains(v, `"Reclaimable":700`) || strings.Contains(v, `"Items"`) != verbose) {
			t.Errorf("%s: the volumes are %s", path, v)
		}
	}
	if r := d.do("GET", "/system/df?type=junk", ""); r.status != 400 {
		t.Errorf("an unknown type: %d %s", r.status, r.body)
	}
}

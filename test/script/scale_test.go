// SPDX-License-Identifier: Apache-2.0

package script

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
)

var (
	scaleCreated = flag.Int("scale-created", 500, "containers of TestScale")
	scaleRunning = flag.Int("scale-running", 100, "how many of them run")
)

// listLimit is how long `docker ps -a` may take.
const listLimit = 50 * time.Millisecond

// api is a client of the host's daemon.
type api struct{ client *http.Client }

func (h *host) api() api {
	return api{&http.Client{
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 16,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", h.socket())
			},
		},
		Timeout: dockerLimit,
	}}
}

func (a api) call(method, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, "http://engine/v1.45"+path, bytes.NewReader(data)) //nolint:noctx // the client has a limit
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(data, answer)
}

// each calls f for 0 to n-1, eight at a time.
func each(n int, f func(int) error) error {
	errs := make([]error, n)
	var group sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			errs[i] = f(i)
			<-slots
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// usage is what an engine and its host have open.
type usage struct{ Goroutines, FDs, Mounts, Links, Layers int }

func (h *host) usage(t *testing.T, a api) usage {
	t.Helper()
	a.client.CloseIdleConnections()
	var info struct{ NGoroutines int }
	if err := a.call("GET", "/info", nil, &info); err != nil {
		t.Fatal(err)
	}
	count := func(pattern string) int {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", h.daemon.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return usage{
		Goroutines: info.NGoroutines,
		FDs:        count(fmt.Sprintf("/proc/%d/fd/*", h.daemon.Process.Pid)),
		Mounts:     bytes.Count(mounts, []byte(h.dir)),
		Links:      strings.Count(command(t, "ip", "-n", h.inside, "-o", "link"), "\n"),
		Layers:     count(h.dir+"/lib/containers/*") + count(h.dir+"/lib/overlay/*"),
	}
}

// within tells whether u is what was, but for what may come and go with a
// request.
func (u usage) within(was usage) bool {
	return u.Goroutines <= was.Goroutines+4 && u.FDs <= was.FDs+4 && u.Mounts <= was.Mounts && u.Links <= was.Links && u.Layers <= was.Layers
}

// memory reads a field of a process's smaps_rollup in kB.
func memory(t *testing.T, pid int, field string) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); fields[0] == field+":" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("process %d has no %s", pid, field)
	return 0
}

// lasted is the median of eleven calls.
func lasted(t *testing.T, f func() error) time.Duration {
	t.Helper()
	var times []time.Duration
	for range 11 {
		begin := time.Now()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// TestScale has an engine with many containers, of which many run: lists are
// quick, a new daemon finds all of them, and nothing is left when they go.
func TestScale(t *testing.T) {
	h := newHost(t)
	a := h.api()
	before := h.usage(t, a)
	ids := h.populate(t, a)
	h.printMemory(t, ids[:*scaleRunning])

	list := func() error {
		var all []json.RawMessage
		if err := a.call("GET", "/containers/json?all=1", nil, &all); err != nil || len(all) != len(ids) {
			return fmt.Errorf("%d containers are listed, not %d: %w", len(all), len(ids), err)
		}
		return nil
	}
	// The best of some medians: what else the machine does is not of the engine.
	var quick time.Duration
	testutil.Eventually(t, time.Minute, "the list to be quick", func() bool {
		quick = lasted(t, list)
		return quick <= listLimit
	})
	ps := lasted(t, func() error { _, err := h.docker("ps", "-a"); return err })
	t.Logf("list of %d containers: API %v, docker ps -a %v", len(ids), quick, ps)

	h.restart(t, a, ids)
	begin := time.Now()
	if err := each(len(ids), func(i int) error { return a.call("DELETE", "/containers/"+ids[i]+"?force=1&v=1", nil, nil) }); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d removed, %d of them running, in %v", len(ids), *scaleRunning, time.Since(begin).Round(time.Millisecond))
	var after usage
	defer func() { t.Logf("before %+v, after %+v", before, after) }()
	testutil.Eventually(t, patience, "all of the containers to be gone", func() bool {
		after = h.usage(t, a)
		return after.within(before)
	})
}

// populate makes the containers and starts the first of them.
func (h *host) populate(t *testing.T, a api) []string {
	t.Helper()
	ids := make([]string, *scaleCreated)
	begin := time.Now()
	err := each(len(ids), func(i int) error {
		var made struct{ ID string }
		err := a.call("POST", "/containers/create", map[string]any{
			"Image": "busybox", "Cmd": []string{"sleep", "3600"}, "StopSignal": "SIGKILL", "Labels": map[string]string{"n": strconv.Itoa(i)},
		}, &made)
		ids[i] = made.ID
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	created := time.Since(begin)
	begin = time.Now()
	if err := each(*scaleRunning, func(i int) error { return a.call("POST", "/containers/"+ids[i]+"/start", nil, nil) }); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d created in %v, %d started in %v", len(ids), created.Round(time.Millisecond), *scaleRunning, time.Since(begin).Round(time.Millisecond))
	return ids
}

// printMemory tells what the engine and its monitors have resident.
func (h *host) printMemory(t *testing.T, running []string) {
	t.Helper()
	var rss, pss int
	for _, id := range running {
		var state struct{ Holder int }
		data, err := os.ReadFile(filepath.Join(h.dir, "run/containers", id, "state.json"))
		if err == nil {
			err = json.Unmarshal(data, &state)
		}
		if err != nil {
			t.Fatal(err)
		}
		rss += memory(t, state.Holder, "Rss")
		pss += memory(t, state.Holder, "Pss")
	}
	t.Logf("resident: davitd %d kB; %d monitors %d kB, shared pages counted once %d kB", memory(t, h.daemon.Process.Pid, "Rss"), len(running), rss, pss)
}

// restart kills the daemon and starts another, which has to find all of them.
func (h *host) restart(t *testing.T, a api, ids []string) {
	t.Helper()
	_ = h.end(t, syscall.SIGKILL)
	a.client.CloseIdleConnections()
	begin := time.Now()
	h.start(t)
	t.Logf("a new daemon answers after %v", time.Since(begin).Round(time.Millisecond))
	var all []struct{ State string }
	if err := a.call("GET", "/containers/json?all=1", nil, &all); err != nil {
		t.Fatal(err)
	}
	states := map[string]int{}
	for _, c := range all {
		states[c.State]++
	}
	if states["running"] != *scaleRunning || states["created"] != len(ids)-*scaleRunning {
		t.Errorf("the new daemon has %v", states)
	}
}

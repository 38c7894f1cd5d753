// SPDX-License-Identifier: Apache-2.0

package script

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
)

const (
	killRounds = 200
	// killWithin is longer than a container's life in this test takes.
	killWithin = 250 * time.Millisecond
	// envKillSeed repeats the moments of a run that failed.
	envKillSeed = "DAVIT_KILL_SEED"
)

// victim is a container, and what the daemon has acknowledged of it.
type victim struct {
	id    string
	acked string // create, start, stop, delete
	asked string // a request without an answer: it may have been done, or not
}

// killer drives containers through their lives on a daemon that is killed.
type killer struct {
	h      *host
	client *http.Client
	all    []*victim
	gone   []string // ids of those of earlier rounds
}

// do makes a request; not ok when the daemon died over it.
func (k *killer) do(t *testing.T, method, path, body string) (status int, answer []byte, ok bool) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://davit/v1.50"+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, nil, false
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := k.client.Do(req)
	if err != nil {
		return 0, nil, false
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, answer, err == nil
}

// live takes containers through create, start, stop and delete until the daemon
// dies.
func (k *killer) live(t *testing.T) {
	for {
		status, answer, ok := k.do(t, "POST", "/containers/create",
			`{"Image":"busybox","Cmd":["sleep","1000"],"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"0"}]}}}`)
		var made struct{ ID string }
		if !ok || json.Unmarshal(answer, &made) != nil || made.ID == "" {
			if ok && status < http.StatusInternalServerError {
				t.Errorf("create: status %d, %s", status, answer)
			}
			return
		}
		v := &victim{id: made.ID, acked: "create"}
		k.all = append(k.all, v)
		for _, step := range []struct{ name, method, path string }{
			{"start", "POST", "/containers/" + v.id + "/start"},
			{"stop", "POST", "/containers/" + v.id + "/stop?t=0"},
			{"delete", "DELETE", "/containers/" + v.id + "?v=1"},
		} {
			v.asked = step.name
			status, answer, ok := k.do(t, step.method, step.path, "")
			if !ok {
				return
			}
			if status != http.StatusNoContent {
				t.Errorf("%s: status %d, %s", step.name, status, answer)
				return
			}
			v.acked, v.asked = step.name, ""
		}
	}
}

// check holds what there is against what was acknowledged, and takes away what
// the death of the daemon left half-way.
func (k *killer) check(t *testing.T) {
	t.Helper()
	for _, v := range k.all {
		status, answer, _ := k.do(t, "GET", "/containers/"+v.id+"/json", "")
		var got struct{ State struct{ Running bool } }
		_ = json.Unmarshal(answer, &got)
		exists := status == http.StatusOK
		if want := v.acked != "delete"; exists != want && v.asked != "delete" {
			t.Errorf("%s was acknowledged and %q asked of container %s: status %d", v.acked, v.asked, v.id, status)
		}
		if want := v.acked == "start"; exists && got.State.Running != want && v.asked != "start" && v.asked != "stop" {
			t.Errorf("%s was acknowledged and %q asked of container %s: running is %v", v.acked, v.asked, v.id, got.State.Running)
		}
		if exists {
			if status, answer, _ := k.do(t, "DELETE", "/containers/"+v.id+"?v=1&force=1", ""); status != http.StatusNoContent {
				t.Errorf("removing container %s: status %d, %s", v.id, status, answer)
			}
		}
		k.gone = append(k.gone, v.id)
	}
	k.all = nil
}

// unknown removes what a create left that was not acknowledged.
func (k *killer) unknown(t *testing.T, keep string) {
	t.Helper()
	for _, id := range strings.Fields(k.h.mustDocker(t, "ps", "-aq", "--no-trunc")) {
		if id != keep {
			k.h.mustDocker(t, "rm", "-f", "-v", id)
		}
	}
}

func killSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(envKillSeed); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d", envKillSeed, seed)
	return seed
}

// TestKilledAtRandom kills the daemon again and again while containers live
// through it: what it acknowledged is so, nothing is left over, and a container
// that runs all the while keeps its process and its connection.
func TestKilledAtRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(killSeed(t), 0))
	h := newHost(t)
	stays := h.mustDocker(t, "run", "-d", "--name", "stays", "-p", "7000:7000", "busybox", "nc", "-ll", "-p", "7000", "-e", "cat")
	pid := h.mustDocker(t, "inspect", "--format", "{{.State.Pid}}", stays)
	say := h.connect(t, "7000")
	rules := h.rules(t)
	k := &killer{h: h, client: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", h.socket())
		},
	}}}
	rounds := killRounds
	if testing.Short() {
		rounds /= 10
	}
	for round := range rounds {
		lived := make(chan struct{})
		go func() { defer close(lived); k.live(t) }()
		<-time.After(time.Duration(random.Int64N(int64(killWithin))))
		h.end(t, syscall.SIGKILL)
		<-lived
		if round%8 == 7 { // and once more while it finds out what there is
			h.launch(t, h.command("-H", "unix://"+h.socket()))
			<-time.After(time.Duration(random.Int64N(int64(killWithin))))
			h.end(t, syscall.SIGKILL)
		}
		h.start(t)
		k.check(t)
		if round%20 == 19 {
			k.unknown(t, stays)
			say("round " + strconv.Itoa(round) + "\n")
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	k.unknown(t, stays)
	say("after all\n")
	if got := h.mustDocker(t, "inspect", "--format", "{{.State.Pid}} {{.State.Status}}", "stays"); got != pid+" running" {
		t.Errorf("the container that ran is now %q, was %s", got, pid)
	}
	if after := h.rules(t); after != rules {
		t.Errorf("the firewall was\n%s\nand is\n%s", rules, after)
	}
	links := strings.Count(command(t, "ip", "-n", h.inside, "-o", "link", "show", "type", "veth"), "dvt")
	if links != 1 {
		t.Errorf("%d containers have links, want 1", links)
	}
	for _, id := range k.gone {
		for _, pattern := range []string{"lib/*/" + id + "*", "lib/*/*/" + id + "*", "run/*/" + id + "*"} {
			if left, _ := filepath.Glob(filepath.Join(h.dir, pattern)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}
	}
}

// connect returns a function that has an echo server outside say what it is told.
func (h *host) connect(t *testing.T, port string) func(string) {
	t.Helper()
	c := exec.Command("nsenter", "--net=/run/netns/"+h.outside, "busybox", "nc", insideAddress, port)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, patience, "the server to listen", func() bool {
		out, err := h.docker("exec", "stays", "netstat", "-ltn")
		return err == nil && strings.Contains(out, ":"+port)
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return func(text string) {
		t.Helper()
		if _, err := io.WriteString(in, text); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(text))
		if _, err := io.ReadFull(out, buf); err != nil || !bytes.Equal(buf, []byte(text)) {
			t.Fatalf("the echo is %q: %v", buf, err)
		}
	}
}

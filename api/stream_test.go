// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/google/go-cmp/cmp"
)

// attachReq is the head of an attach request that asks for an upgrade.
func attachReq(version, query string) string {
	return "POST " + version + "/containers/x/attach?" + query + " HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
}

// onAttach registers a handler of attach that opens its streams and calls f.
func onAttach(d *door, tty bool, f func(ctx context.Context, s davit.Streams) error) {
	handle(d, engine.Follow, func(ctx context.Context, _ *engine.Job, q davit.Attach) (davit.Nothing, error) {
		s, err := q.Open(tty)
		if err != nil {
			return davit.Nothing{}, err
		}
		return davit.Nothing{}, f(ctx, s)
	})
}

func TestAttachHeads(t *testing.T) {
	for _, c := range []struct {
		version string
		tty     bool
		upgrade bool
		line    string
		media   string
	}{
		{"", false, true, "HTTP/1.1 101 UPGRADED", "application/vnd.docker.multiplexed-stream"},
		{"/v1.42", false, true, "HTTP/1.1 101 UPGRADED", "application/vnd.docker.multiplexed-stream"},
		{"/v1.41", false, true, "HTTP/1.1 101 UPGRADED", "application/vnd.docker.raw-stream"},
		{"/v1.50", true, true, "HTTP/1.1 101 UPGRADED", "application/vnd.docker.raw-stream"},
		{"/v1.50", true, false, "HTTP/1.1 200 OK", "application/vnd.docker.raw-stream"},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			d := openDoor(t)
			onAttach(d, c.tty, func(_ context.Context, s davit.Streams) error {
				if (s.Stderr == nil) != c.tty {
					return errors.New("stderr given with a terminal, or not without")
				}
				_, err := io.WriteString(s.Stdout, "hello\n")
				return err
			})
			req := attachReq(c.version, "stream=1&stdout=1&stderr=1")
			if !c.upgrade {
				req = strings.Replace(req, "Connection: Upgrade\r\nUpgrade: tcp\r\n", "", 1)
			}
			_, r := d.dial(req)
			line, h := head(t, r)
			if line != c.line || h.Get("Content-Type") != c.media {
				t.Errorf("head %q, %q; want %q, %q", line, h.Get("Content-Type"), c.line, c.media)
			}
			if h.Get("Davit-Job") != "1" || h.Get("Api-Version") != davit.APIVersion {
				t.Errorf("header %v", h)
			}
			if c.upgrade != (h.Get("Upgrade") == "tcp" && h.Get("Connection") == "Upgrade") {
				t.Errorf("header %v", h)
			}
			body, err := io.ReadAll(r)
			want := frame(1, "hello\n")
			if c.tty {
				want = "hello\n"
			}
			if err != nil || string(body) != want {
				t.Errorf("stream %q, %v; want %q", body, err, want)
			}
		})
	}
}

// TestAttachDuplex sends input together with the request, then more, then
// closes its side, and gets everything back, on two streams.
func TestAttachDuplex(t *testing.T) {
	d := openDoor(t)
	onAttach(d, false, func(_ context.Context, s davit.Streams) error {
		b := bufio.NewReader(s.Stdin)
		for {
			l, err := b.ReadString('\n')
			if errors.Is(err, io.EOF) {
				_, err = io.WriteString(s.Stdout, "bye\n")
				return err
			}
			if err != nil {
				return err
			}
			_, _ = io.WriteString(s.Stderr, "err "+l)
			_, _ = io.WriteString(s.Stdout, "out "+l)
		}
	})
	c, r := d.dial(attachReq("", "stream=1&stdin=1&stdout=1&stderr=1") + "early\n")
	head(t, r)
	read := func(want string) {
		t.Helper()
		buf := make([]byte, len(want))
		if _, err := io.ReadFull(r, buf); err != nil || string(buf) != want {
			t.Fatalf("got %q, %v; want %q", buf, err, want)
		}
	}
	read(frame(2, "err early\n") + frame(1, "out early\n"))
	if _, err := io.WriteString(c, "late\n"); err != nil {
		t.Fatal(err)
	}
	read(frame(2, "err late\n") + frame(1, "out late\n"))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	read(frame(1, "bye\n"))
	if b, err := io.ReadAll(r); err != nil || len(b) != 0 {
		t.Errorf("after the end: %q, %v", b, err)
	}
}

// TestAttachUnread has a container end that did not read its input: the
// client gets all of the output and a clean end.
func TestAttachUnread(t *testing.T) {
	d := openDoor(t)
	sent := make(chan struct{})
	onAttach(d, true, func(_ context.Context, s davit.Streams) error {
		<-sent
		_, err := io.WriteString(s.Stdout, "output\n")
		return err
	})
	c, r := d.dial(attachReq("", "stream=1&stdin=1&stdout=1"))
	head(t, r)
	if _, err := io.WriteString(c, strings.Repeat("x", 100_000)); err != nil {
		t.Fatal(err)
	}
	close(sent)
	if b, err := io.ReadAll(r); err != nil || string(b) != "output\n" {
		t.Errorf("got %q, %v", b, err)
	}
	_ = c.Close()
	d.awaitCalls(0)
}

// TestAttachHangup has clients go away in every way while the container is
// silent: the job must end.
func TestAttachHangup(t *testing.T) {
	for name, leave := range map[string]func(c *net.UnixConn) error{
		"close":                 func(c *net.UnixConn) error { return c.Close() },
		"half close, then full": func(c *net.UnixConn) error { return errors.Join(c.CloseWrite(), c.Close()) },
		"unread output":         func(c *net.UnixConn) error { return c.Close() },
		"unread input": func(c *net.UnixConn) error {
			_, err := io.WriteString(c, strings.Repeat("x", 100_000))
			return errors.Join(err, c.Close())
		},
	} {
		for _, stdin := range []string{"0", "1"} {
			t.Run(name+" stdin="+stdin, func(t *testing.T) {
				d := openDoor(t)
				ended, opened := make(chan error, 1), make(chan struct{})
				onAttach(d, false, func(ctx context.Context, s davit.Streams) error {
					if name == "unread output" {
						_, _ = io.WriteString(s.Stdout, "x")
					}
					close(opened)
					<-ctx.Done()
					ended <- ctx.Err()
					return ctx.Err()
				})
				c, r := d.dial(attachReq("", "stream=1&stdout=1&stdin="+stdin))
				head(t, r)
				<-opened
				if err := leave(c); err != nil {
					t.Fatal(err)
				}
				within(t, "the end of the job", ended)
				d.awaitCalls(0)
			})
		}
	}
}

// TestAttachHalfClosed has a client that only listens, as docker run without
// -i: closing its side is not leaving.
func TestAttachHalfClosed(t *testing.T) {
	d := openDoor(t)
	opened, say := make(chan struct{}), make(chan struct{})
	onAttach(d, true, func(ctx context.Context, s davit.Streams) error {
		close(opened)
		select {
		case <-say:
		case <-ctx.Done():
			return ctx.Err()
		}
		_, err := io.WriteString(s.Stdout, "still here\n")
		return err
	})
	c, r := d.dial(attachReq("", "stream=1&stdout=1"))
	head(t, r)
	<-opened
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(say) })
	if b, err := io.ReadAll(r); err != nil || string(b) != "still here\n" {
		t.Errorf("got %q, %v", b, err)
	}
}

// TestAttachStop stops the server under an attached client that neither reads
// nor writes.
func TestAttachStop(t *testing.T) {
	d := openDoor(t)
	full := make(chan struct{})
	onAttach(d, true, func(_ context.Context, s davit.Streams) error {
		time.AfterFunc(50*time.Millisecond, func() { close(full) })
		for {
			if _, err := s.Stdout.Write(make([]byte, 64<<10)); err != nil {
				return err
			}
		}
	})
	_, r := d.dial(attachReq("", "stream=1&stdin=1&stdout=1"))
	head(t, r)
	<-full
	d.stop()
	if err := within(t, "Serve's return", d.served); err != nil {
		t.Error(err)
	} else {
		d.served <- nil
	}
}

// TestAttachErrors: before the connection is taken over an error is HTTP's,
// after it a line of the stream.
func TestAttachErrors(t *testing.T) {
	d := openDoor(t)
	handle(d, engine.Follow, func(_ context.Context, _ *engine.Job, q davit.Attach) (davit.Nothing, error) {
		if q.Logs {
			if _, err := q.Open(false); err != nil {
				return davit.Nothing{}, err
			}
		}
		return davit.Nothing{}, davit.Errorf(davit.NoSuchContainer, "no such container: %s", q.Container)
	})
	_, r := d.dial(attachReq("", "stream=1&stdout=1"))
	if line, _ := head(t, r); line != "HTTP/1.1 404 Not Found" {
		t.Errorf("head %q", line)
	}
	_, r = d.dial(attachReq("", "stream=1&logs=1&stdout=1"))
	head(t, r)
	if b, err := io.ReadAll(r); err != nil || string(b) != frame(2, "no such container: x\r\n") {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestExecStart(t *testing.T) {
	d := openDoor(t)
	answer(d, engine.Query, davit.ExecInspect{}, davit.Exec{ID: "e", AttachStdin: true, AttachStdout: true})
	handle(d, engine.Follow, func(_ context.Context, _ *engine.Job, q davit.ExecStart) (davit.Nothing, error) {
		if q.Detach {
			return davit.Nothing{}, nil
		}
		s, err := q.Open(q.Tty)
		if err != nil {
			return davit.Nothing{}, err
		}
		if s.Stderr != nil {
			return davit.Nothing{}, errors.New("stderr was not asked for")
		}
		b, err := io.ReadAll(s.Stdin)
		_, _ = fmt.Fprintf(s.Stdout, "%s %v", b, q.ConsoleSize)
		return davit.Nothing{}, err
	})
	body := `{"Tty":true,"ConsoleSize":[24,80]}`
	c, r := d.dial("POST /exec/e/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: " +
		fmt.Sprint(len(body)) + "\r\n\r\n" + body + "input")
	if line, h := head(t, r); line != "HTTP/1.1 101 UPGRADED" || h.Get("Davit-Job") == "" {
		t.Errorf("head %q %v", line, h)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "input [24 80]" {
		t.Errorf("got %q, %v", b, err)
	}
	if r := d.do("POST", "/exec/e/start", `{"Detach":true}`); r.status != 200 || r.body != "" || r.header.Get("Davit-Job") == "" {
		t.Errorf("detached: %d %q %v", r.status, r.body, r.header)
	}
}

func TestLogs(t *testing.T) {
	d := openDoor(t)
	requests, ended := make(chan davit.Logs, 1), make(chan struct{}, 1)
	handle(d, engine.Follow, func(ctx context.Context, _ *engine.Job, q davit.Logs) (davit.Nothing, error) {
		s, err := q.Open(false)
		if err != nil {
			return davit.Nothing{}, err
		}
		q.Open = nil
		requests <- q
		_, _ = io.WriteString(s.Stderr, "one\n")
		_ = s.Stderr.(interface{ Flush() error }).Flush()
		if q.Follow {
			<-ctx.Done()
			ended <- struct{}{}
			return davit.Nothing{}, ctx.Err()
		}
		return davit.Nothing{}, nil
	})
	r := d.do("GET", "/containers/x/logs?stdout=1&stderr=1&timestamps=1&tail=3&since=10.5&until=0", "")
	if r.body != frame(2, "one\n") || r.header.Get("Content-Type") != "application/vnd.docker.multiplexed-stream" {
		t.Errorf("%q %v", r.body, r.header)
	}
	want := davit.Logs{Container: "x", Stdout: true, Stderr: true, Timestamps: true, Tail: 3, Since: time.Unix(10, 500_000_000)}
	if diff := cmp.Diff(want, within(t, "the request", requests)); diff != "" {
		t.Error(diff)
	}
	c, br := d.dial("GET /v1.41/containers/x/logs?follow=1&stderr=1&tail=all HTTP/1.1\r\nHost: d\r\n\r\n")
	if _, h := head(t, br); h.Get("Content-Type") != "application/vnd.docker.raw-stream" || h.Get("Transfer-Encoding") != "chunked" {
		t.Errorf("header %v", h)
	}
	if l, err := br.ReadString('\n'); err != nil || l != "c\r\n" { // the chunk comes while the log is followed
		t.Errorf("chunk %q, %v", l, err)
	}
	if q := within(t, "the request", requests); q.Tail != -1 || !q.Follow {
		t.Errorf("request %+v", q)
	}
	_ = c.Close()
	within(t, "the end of the job", ended)
}

// TestWait holds that the header comes when the wait has begun.
func TestWait(t *testing.T) {
	d := openDoor(t)
	exit := make(chan davit.Exit)
	handle(d, engine.Follow, func(ctx context.Context, _ *engine.Job, q davit.Wait) (davit.Exit, error) {
		if q.Container != "x" {
			return davit.Exit{}, davit.Errorf(davit.NoSuchContainer, "no such container: %s", q.Container)
		}
		q.Ready()
		select {
		case x := <-exit:
			return x, nil
		case <-ctx.Done():
			return davit.Exit{}, ctx.Err()
		}
	})
	_, r := d.dial("POST /containers/x/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\n\r\n")
	if line, _ := head(t, r); line != "HTTP/1.1 200 OK" {
		t.Errorf("head %q", line)
	}
	exit <- davit.Exit{Code: 137, Error: "oops"}
	if l, err := r.ReadString('}'); err != nil || !strings.HasSuffix(l, `{"Error":{"Message":"oops"}`) {
		t.Errorf("body %q, %v", l, err)
	}
	if l, _ := r.ReadString('\n'); !strings.Contains(l, `"StatusCode":137}`) {
		t.Errorf("body %q", l)
	}
	if r := d.do("POST", "/containers/y/wait", ""); r.status != 404 {
		t.Errorf("%d %s, want 404", r.status, r.body)
	}
	c, r := d.dial("POST /containers/x/wait HTTP/1.1\r\nHost: d\r\n\r\n")
	head(t, r)
	_ = c.Close()
	d.awaitCalls(0)
	got := make(chan rawReply)
	go func() { got <- d.do("POST", "/containers/x/wait", "") }()
	d.awaitCalls(1)
	d.stop()
	if r := within(t, "the answer", got); strings.Contains(r.body, "StatusCode") || !strings.HasPrefix(r.body, "cannot wait for container x: ") {
		t.Errorf("wait when the server stops: %d %s", r.status, r.body)
	}
}

func TestEvents(t *testing.T) {
	d := openDoor(t)
	at := time.Unix(1700000000, 5)
	handle(d, engine.Follow, func(ctx context.Context, _ *engine.Job, q davit.Events) (davit.Nothing, error) {
		q.Ready()
		e := davit.Event{Type: "container", Action: "start", ActorID: "abc", Attributes: map[string]string{"image": "busybox", "filters": fmt.Sprint(q.Filters)}, Time: at}
		if err := q.Emit(e); err != nil {
			return davit.Nothing{}, err
		}
		if q.Until.IsZero() {
			<-ctx.Done()
		}
		return davit.Nothing{}, ctx.Err()
	})
	const current = `{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"filters":"map[type:[container]]","image":"busybox"}},"scope":"local","time":1700000000,"timeNano":1700000000000000005}`
	for _, c := range []struct{ version, accept, media, want string }{
		{"1.56", "application/jsonl,application/x-ndjson;q=0.9", "application/jsonl", current + "\n"},
		{"1.52", "application/jsonl,application/x-ndjson;q=0.9", "application/x-ndjson", current + "\n"},
		{"1.56", "application/json-seq", "application/json-seq", "\x1e" + current + "\n"},
		{"1.56", "", "application/json", current + "\n"},
		{"1.51", "application/jsonl", "application/json", strings.Replace(current, "{", `{"status":"start","id":"abc","from":"busybox",`, 1) + "\n"},
	} {
		r := d.send(d.path, "GET", "/v"+c.version+"/events?until=1&filters=%7B%22type%22%3A%7B%22container%22%3Atrue%7D%7D", http.Header{"Accept": {c.accept}}, nil)
		if r.body != c.want || r.header.Get("Content-Type") != c.media {
			t.Errorf("%s %s: %s\n got %q\nwant %q", c.version, c.accept, r.header.Get("Content-Type"), r.body, c.want)
		}
	}
	c, r := d.dial("GET /events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D HTTP/1.1\r\nHost: d\r\n\r\n")
	head(t, r)
	if _, err := r.ReadString('}'); err != nil {
		t.Errorf("no event while others are awaited: %v", err)
	}
	_ = c.Close()
	d.awaitCalls(0)
}

func TestPull(t *testing.T) {
	d := openDoor(t)
	known := davit.Image{ID: "sha256:" + "00"}
	handle(d, engine.Query, func(_ context.Context, _ *engine.Job, q davit.ImageInspect) (davit.Image, error) {
		if q.Image == "known:1" {
			return known, nil
		}
		return davit.Image{}, davit.Errorf(davit.NoSuchImage, "no such image: %s", q.Image)
	})
	requests := make(chan davit.Pull, 1)
	handle(d, engine.Change, func(_ context.Context, j *engine.Job, q davit.Pull) (davit.Image, error) {
		requests <- q
		switch q.Reference {
		case "early":
			return davit.Image{}, davit.Errorf(davit.NoSuchImage, "no such manifest")
		case "late":
			j.Report(engine.Progress{Phase: "Downloading", Item: "abc", Current: 1, Total: 2})
			return davit.Image{}, davit.Errorf(davit.DigestMismatch, "layer abc is not what it should be")
		case "known:1":
			return known, nil
		}
		j.Report(engine.Progress{Phase: "Pulling fs layer", Item: "abc"})
		j.Report(engine.Progress{Phase: "Downloading", Item: "abc", Current: 2, Total: 2})
		j.Report(engine.Progress{Phase: "Pull complete", Item: "abc"})
		return davit.Image{ID: "sha256:11", Digests: []string{"localhost:5000/a/b@sha256:22"}}, nil
	})
	for _, c := range []struct {
		query  string
		status int
		want   string
	}{
		{"fromImage=localhost:5000/a/b&tag=2&platform=linux/arm64/v8", 200, `{"status":"Pulling from a/b","id":"2"}
{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}
{"status":"Downloading","progressDetail":{"current":2,"total":2},"id":"abc"}
{"status":"Pull complete","progressDetail":{},"id":"abc"}
{"status":"Digest: sha256:22"}
{"status":"Status: Downloaded newer image for localhost:5000/a/b:2"}
`},
		{"fromImage=known&tag=1", 200, `{"status":"Pulling from library/known","id":"1"}
{"status":"Status: Image is up to date for known:1"}
`},
		{"fromImage=early", 404, `{"message":"no such manifest"}` + "\n"},
		{"fromImage=late", 200, `{"status":"Pulling from library/late","id":"latest"}
{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"abc"}
{"errorDetail":{"code":500,"message":"layer abc is not what it should be"},"error":"layer abc is not what it should be"}
`},
	} {
		h := http.Header{"X-Registry-Auth": {"eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIifQ=="}}
		r := d.send(d.path, "POST", "/images/create?"+c.query, h, nil)
		if got := strings.ReplaceAll(r.body, "\r\n", "\n"); r.status != c.status || got != c.want {
			t.Errorf("%s: %d\n%s", c.query, r.status, cmp.Diff(c.want, got))
		}
		if r.header.Get("Davit-Job") == "" {
			t.Errorf("%s: no Davit-Job", c.query)
		}
		q := <-requests
		if diff := cmp.Diff(&davit.RegistryAuth{Username: "a", Password: "b"}, q.Auth); diff != "" {
			t.Error(diff)
		}
		if strings.Contains(c.query, "arm64") && q.Platform != (davit.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}) {
			t.Errorf("platform %+v", q.Platform)
		}
	}
}

// TestPullLeft has the only client of a pull go away.
func TestPullLeft(t *testing.T) {
	d := openDoor(t)
	ended := make(chan error, 1)
	handle(d, engine.Change, func(ctx context.Context, j *engine.Job, _ davit.Pull) (davit.Image, error) {
		j.Report(engine.Progress{Phase: "Waiting", Item: "abc"})
		<-ctx.Done()
		ended <- ctx.Err()
		return davit.Image{}, ctx.Err()
	})
	c, r := d.dial("POST /images/create?fromImage=x HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
	head(t, r)
	_ = c.Close()
	within(t, "the end of the pull", ended)
}

// slowly is a body that is sent in two parts.
type slowly struct {
	io.Reader
	second <-chan struct{}
	rest   io.Reader
}

func (s *slowly) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if errors.Is(err, io.EOF) && s.rest != nil {
		<-s.second
		s.Reader, s.rest = s.rest, nil
		return s.Read(p)
	}
	return n, err
}

// TestLoadCut has a client go away in the middle of its body.
func TestLoadCut(t *testing.T) {
	d := openDoor(t)
	ended := make(chan error, 1)
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.Load) ([]davit.Image, error) {
		_, err := io.Copy(io.Discard, q.Source)
		ended <- err
		return nil, err
	})
	c, _ := d.dial("POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 1000\r\n\r\nhalf")
	d.awaitCalls(1)
	_ = c.Close()
	if err := within(t, "the end of the load", ended); err == nil {
		t.Error("a body that was cut looks whole")
	}
}

// TestLoadCancelled cancels a job whose client has stopped to send: the handler
// waits in a read of the connection, which knows nothing of the job.
func TestLoadCancelled(t *testing.T) {
	d := openDoor(t)
	jobs, ended := make(chan *engine.Job, 1), make(chan error, 1)
	handle(d, engine.Change, func(ctx context.Context, j *engine.Job, q davit.Load) ([]davit.Image, error) {
		jobs <- j
		_, err := io.Copy(io.Discard, q.Source)
		ended <- err
		return nil, errors.Join(ctx.Err(), err)
	})
	c, _ := d.dial("POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 1000\r\n\r\nhalf")
	defer c.Close()
	if err := within(t, "the load", jobs).Cancel(); err != nil {
		t.Fatal(err)
	}
	if err := within(t, "the end of the load", ended); err == nil {
		t.Error("a body that was cut looks whole")
	}
}

// TestArchiveCancelled does the same to a copy in either direction: of a client
// that has stopped to send, and of one that has stopped to read.
func TestArchiveCancelled(t *testing.T) {
	d := openDoor(t)
	jobs, ended := make(chan *engine.Job, 1), make(chan error, 1)
	handle(d, engine.Change, func(ctx context.Context, j *engine.Job, q davit.ContainerExtract) (davit.Nothing, error) {
		jobs <- j
		_, err := io.Copy(io.Discard, q.Source)
		ended <- err
		return davit.Nothing{}, errors.Join(ctx.Err(), err)
	})
	handle(d, engine.Change, func(ctx context.Context, j *engine.Job, q davit.ContainerCopy) (davit.Nothing, error) {
		w, err := q.Open(davit.FileStat{Name: "x"})
		if err != nil {
			return davit.Nothing{}, err
		}
		jobs <- j
		for err == nil {
			_, err = w.Write(make([]byte, 1<<20))
		}
		ended <- err
		return davit.Nothing{}, errors.Join(ctx.Err(), err)
	})
	for _, request := range []string{
		"PUT /containers/c/archive?path=/ HTTP/1.1\r\nHost: d\r\nContent-Length: 1000\r\n\r\nhalf",
		"GET /containers/c/archive?path=/ HTTP/1.1\r\nHost: d\r\n\r\n",
	} {
		c, _ := d.dial(request)
		if err := within(t, "the job", jobs).Cancel(); err != nil {
			t.Fatal(err)
		}
		if err := within(t, "the end of "+request[:4], ended); err == nil {
			t.Error("a stream that was cut looks whole")
		}
		c.Close()
	}
}

func TestImport(t *testing.T) {
	d := openDoor(t)
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.Import) (davit.Image, error) {
		b, err := io.ReadAll(q.Source)
		q.Source = nil
		want := davit.Import{Reference: "a/b:1", Message: "m", Platform: davit.Platform{OS: "linux", Architecture: "arm64"}, Changes: []string{"CMD x", "ENV a=b"}}
		if diff := cmp.Diff(want, q); diff != "" || string(b) != "tar" {
			return davit.Image{}, errors.New(diff)
		}
		return davit.Image{ID: "sha256:11"}, err
	})
	r := d.send(d.path, "POST", "/images/create?fromSrc=-&repo=a/b&tag=1&message=m&platform=aarch64&changes=CMD+x&changes=ENV+a=b", http.Header{}, strings.NewReader("tar"))
	if r.body != `{"status":"sha256:11"}`+"\r\n" {
		t.Errorf("%d %q", r.status, r.body)
	}
}

func TestArchive(t *testing.T) {
	d := openDoor(t)
	st := davit.FileStat{Name: "f", Size: 3, Mode: 0o644, Mtime: time.Unix(5, 0).UTC(), LinkTarget: "l"}
	handle(d, engine.Query, func(_ context.Context, _ *engine.Job, q davit.ContainerStatPath) (davit.FileStat, error) {
		return st, nil
	})
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.ContainerCopy) (davit.Nothing, error) {
		if q.Path == "/none" {
			return davit.Nothing{}, davit.Errorf(davit.NoSuchFile, "no such file: /none")
		}
		w, err := q.Open(st)
		if err != nil {
			return davit.Nothing{}, err
		}
		_, _ = io.WriteString(w, "tar")
		if q.Path == "/torn" {
			return davit.Nothing{}, errBoom
		}
		return davit.Nothing{}, nil
	})
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.ContainerExtract) (davit.Nothing, error) {
		b, err := io.ReadAll(q.Source)
		if string(b) != "tar" || !q.NoOverwriteDirNonDir || q.CopyUIDGID || q.Path != "/d" {
			return davit.Nothing{}, fmt.Errorf("%+v %q", q, b)
		}
		return davit.Nothing{}, err
	})
	const stat = "eyJuYW1lIjoiZiIsInNpemUiOjMsIm1vZGUiOjQyMCwibXRpbWUiOiIxOTcwLTAxLTAxVDAwOjAwOjA1WiIsImxpbmtUYXJnZXQiOiJsIn0="
	if r := d.do("HEAD", "/containers/x/archive?path=/f", ""); r.status != 200 || r.header.Get("X-Docker-Container-Path-Stat") != stat {
		t.Errorf("HEAD: %d %v", r.status, r.header)
	}
	if r := d.do("GET", "/containers/x/archive?path=/f", ""); r.body != "tar" || r.header.Get("X-Docker-Container-Path-Stat") != stat || r.header.Get("Content-Type") != "application/x-tar" {
		t.Errorf("GET: %d %q %v", r.status, r.body, r.header)
	}
	if r := d.do("GET", "/containers/x/archive?path=/none", ""); r.status != 404 {
		t.Errorf("GET of nothing: %d", r.status)
	}
	if r := d.send(d.path, "PUT", "/containers/x/archive?path=/d&noOverwriteDirNonDir=true", http.Header{}, strings.NewReader("tar")); r.status != 200 {
		t.Errorf("PUT: %d %s", r.status, r.body)
	}
	_, br := d.dial("GET /containers/x/archive?path=/torn HTTP/1.1\r\nHost: d\r\n\r\n")
	b, _ := io.ReadAll(br)
	if strings.HasSuffix(string(b), "0\r\n\r\n") {
		t.Errorf("a torn archive ends like a whole one: %q", b)
	}
}

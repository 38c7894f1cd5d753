// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// sessions are a fake's logs and shells.
type sessions struct {
	mu    sync.Mutex
	logs  davit.Logs
	exec  davit.Exec
	sizes []string
	size  chan struct{} // a token for each
}

func (s *sessions) register(eng *engine.Engine) error {
	s.size = make(chan struct{}, 16)
	for _, err := range []error{
		engine.Register(eng, engine.Type[davit.Logs]{Class: engine.Follow}, s.log),
		query(eng, func(q davit.ExecCreate) (string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.exec = q.Exec
			s.exec.ID = "session"
			return s.exec.ID, nil
		}),
		query(eng, func(davit.ExecInspect) (davit.Exec, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.exec, nil
		}),
		handle(eng, engine.Type[davit.ExecResize]{Class: engine.Query}, func(q davit.ExecResize) (davit.Nothing, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if text := fmt.Sprintf("%dx%d", q.Columns, q.Rows); len(s.sizes) == 0 || s.sizes[len(s.sizes)-1] != text {
				s.sizes = append(s.sizes, text)
				s.size <- struct{}{}
			}
			return davit.Nothing{}, nil
		}),
		handle(eng, engine.Type[davit.ExecKill]{}, func(davit.ExecKill) (davit.Nothing, error) { return davit.Nothing{}, nil }),
		engine.Register(eng, engine.Type[davit.ExecStart]{Class: engine.Follow}, s.shell),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// asked returns what was asked for last.
func (s *sessions) asked() (davit.Logs, davit.Exec, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs, s.exec, s.sizes
}

// log writes two lines.
func (s *sessions) log(_ context.Context, _ *engine.Job, q davit.Logs) (davit.Nothing, error) {
	streams, err := q.Open(false)
	if err != nil {
		return davit.Nothing{}, err
	}
	q.Open = nil
	s.mu.Lock()
	s.logs = q
	s.mu.Unlock()
	_, err = io.WriteString(streams.Stdout, "one\n\x1b[31mtwo\n")
	return davit.Nothing{}, err
}

// shell says what is typed until it is told to exit.
func (s *sessions) shell(_ context.Context, _ *engine.Job, q davit.ExecStart) (davit.Nothing, error) {
	streams, err := q.Open(q.Tty)
	if err != nil {
		return davit.Nothing{}, err
	}
	exit := func(code int) (davit.Nothing, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.exec.Exit = &davit.Exit{Code: code}
		return davit.Nothing{}, nil
	}
	if !q.Tty {
		text, err := io.ReadAll(streams.Stdin)
		_, oerr := fmt.Fprintf(streams.Stdout, "read %q", text)
		_, eerr := io.WriteString(streams.Stderr, "an error")
		if err := errors.Join(err, oerr, eerr); err != nil {
			return davit.Nothing{}, err
		}
		return exit(4)
	}
	if _, err := io.WriteString(streams.Stdout, "$ "); err != nil {
		return davit.Nothing{}, err
	}
	var typed []byte
	for buf := make([]byte, 64); ; {
		n, err := streams.Stdin.Read(buf)
		if err != nil {
			return exit(129)
		}
		for _, b := range buf[:n] {
			typed = append(typed, b)
			if _, err := streams.Stdout.Write([]byte{b}); err != nil {
				return davit.Nothing{}, err
			}
			if strings.HasSuffix(string(typed), "exit 3\r") {
				return exit(3)
			}
		}
	}
}

func TestLogs(t *testing.T) {
	startBus(t)
	f := serve(t)
	r := try(t.Context(), "logs", "-f", "-t", "-n", "5", "--since", "5min ago", "--until", "2026-11-23 11:59", "web")
	if r.code != 0 || r.out != "one\n\x1b[31mtwo\n" {
		t.Errorf("%+v", r)
	}
	want := davit.Logs{
		Container: fakeID(1), Stdout: true, Stderr: true, Follow: true, Timestamps: true, Tail: 5,
		Since: fakeNow.Add(-5 * time.Minute), Until: fakeNow.Add(-time.Minute),
	}
	logs, _, _ := f.asked()
	if diff := cmp.Diff(want, logs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	r = try(t.Context(), "logs", "web")
	if logs, _, _ := f.asked(); r.code != 0 || logs.Tail != -1 || logs.Follow || !logs.Since.IsZero() {
		t.Errorf("%+v %+v", r, logs)
	}
	for _, args := range []string{"logs -n x web", "logs -n 5x web", "logs -n -1 web", "logs --since soon web"} {
		if r := try(t.Context(), strings.Fields(args)...); r.code != exitUsage {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := try(t.Context(), "logs", "nosuch"); r.code != exitFailed || !strings.Contains(r.err, "no such container") {
		t.Errorf("%+v", r)
	}
	if r := try(t.Context(), "status", "-n", "1", "web"); r.code != 0 || !strings.HasSuffix(r.out, "\n\n?[31mtwo\n") {
		t.Errorf("%+v", r)
	}
	if r := try(t.Context(), "status", "-n", "0", "web"); r.code != 0 || strings.Contains(r.out, "two") {
		t.Errorf("%+v", r)
	}
}

// TestShellOnATerminal types in a shell on a real terminal, and changes its
// size.
func TestShellOnATerminal(t *testing.T) {
	startBus(t)
	f := serve(t)
	t.Setenv("TERM", "vt100")
	master, tty := openPTY(t)
	setSize(t, tty, 80, 24)
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 16)
	go func() {
		buf := make([]byte, 1024)
		for {
			n, err := master.Read(buf)
			if err != nil {
				close(seen)
				return
			}
			seen <- string(buf[:n])
		}
	}()
	code := make(chan int)
	go func() {
		code <- run(t.Context(), []string{"shell", "--uid=1", "-e", "A=b", "web", "/bin/ash", "-l"}, stdio{tty, tty, os.Stderr, time.Now})
	}()
	var text string
	expect := func(want string) {
		t.Helper()
		deadline := time.After(10 * time.Second)
		for !strings.Contains(text, want) {
			select {
			case more := <-seen:
				text += more
			case <-deadline:
				t.Fatalf("waited 10 s for %q, have %q", want, text)
			}
		}
	}
	wait := func(c <-chan struct{}, what string) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(10 * time.Second):
			t.Fatal("waited 10 s for ", what)
		}
	}
	expect("$ ")
	raw, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if raw.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) != 0 {
		t.Error("the terminal is not in raw mode")
	}
	wait(f.size, "the first size")
	setSize(t, tty, 100, 30)
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	wait(f.size, "the second size")
	for _, key := range []string{"x", "\x03", "exit 3\r"} {
		if _, err := io.WriteString(master, key); err != nil {
			t.Fatal(err)
		}
	}
	expect("x\x03")
	if got := <-code; got != 3 {
		t.Errorf("exit status %d, not the shell's 3", got)
	}
	after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before {
		t.Errorf("the terminal was not restored: %+v, was %+v", after, before)
	}
	_, x, sizes := f.asked()
	if diff := cmp.Diff([]string{"80x24", "100x30"}, sizes); diff != "" {
		t.Error("sizes:", diff)
	}
	if x.User != "1" || strings.Join(x.Cmd, " ") != "/bin/ash -l" || strings.Join(x.Env, " ") != "TERM=vt100 A=b" || !x.Tty {
		t.Errorf("asked for %+v", x)
	}
}

func TestShellWithoutATerminal(t *testing.T) {
	startBus(t)
	f := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out, stderr bytes.Buffer
	code := run(ctx, []string{"shell", "--uid=1", "-e", "A=b", "web"}, stdio{strings.NewReader("echo\n"), &out, &stderr, time.Now})
	if code != 4 || out.String() != `read "echo\n"` || stderr.String() != "an error" {
		t.Errorf("%d %q %q", code, out.String(), stderr.String())
	}
	if _, x, _ := f.asked(); x.User != "1" || strings.Join(x.Cmd, " ") != "/bin/sh" || strings.Join(x.Env, " ") != "A=b" || x.Tty {
		t.Errorf("asked for %+v", x)
	}
}

// TestShellIsEnded ends the command, as SIGTERM does, while the shell goes on:
// the terminal is as it was.
func TestShellIsEnded(t *testing.T) {
	startBus(t)
	f := serve(t)
	master, tty := openPTY(t)
	setSize(t, tty, 80, 24)
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, master) }() // ends with the terminal
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-f.size // the shell runs, and the terminal is in raw mode
		cancel()
	}()
	if code := run(ctx, []string{"shell", "web"}, stdio{tty, tty, os.Stderr, time.Now}); code != exitInterrupted {
		t.Errorf("exit status %d", code)
	}
	after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before {
		t.Errorf("the terminal was not restored: %+v, was %+v", after, before)
	}
}

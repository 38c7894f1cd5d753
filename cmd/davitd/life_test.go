// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/davit-engine/davit/activation"
	"github.com/google/go-cmp/cmp"
)

// told is a life whose datagrams a test reads.
func told(t *testing.T) (l *life, heard func() []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	systemd, err := activation.New()
	if err != nil {
		t.Fatal(err)
	}
	messages := make(chan string, 1000) // the kernel queues ten, and then whoever tells waits
	go func() {
		defer close(messages)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return // closed
			}
			text, _, _ := strings.Cut(strings.ReplaceAll(string(buf[:n]), "\nMONOTONIC_USEC=", "\nMONOTONIC_USEC\n"), "USEC\n")
			messages <- text
		}
	}()
	return newLife(systemd, slog.New(slog.DiscardHandler)), func() (out []string) {
		t.Helper()
		if err := systemd.Notify("END=1"); err != nil {
			t.Fatal(err)
		}
		for text := range messages {
			if text == "END=1" {
				return out
			}
			out = append(out, text)
		}
		t.Fatal("the socket was closed")
		return nil
	}
}

func TestLifeSaysEachThingOnce(t *testing.T) {
	l, heard := told(t)
	text := func() string { return "up" }
	l.status("too early: the phases are told")
	l.reloading(text)(nil) // systemd waits for READY=1 and must not get it from a reload
	l.phase("one")
	l.phase("one")
	l.ready("up")
	l.ready("again")
	l.phase("late")
	l.status("busy")
	l.status("busy")
	end := l.reloading(text)
	l.status("not now")
	end(nil)
	l.reloading(text)(errors.New("a\nb"))
	l.status("busy")
	l.reloading(text)(nil)
	l.status("busy")
	end = l.reloading(text)
	l.stopping("going")
	end(nil) // READY=1 would take back STOPPING=1
	l.stopping("again")
	l.reloading(text)(nil)
	l.ready("no")
	l.status("going on")
	want := []string{
		"STATUS=one",
		"READY=1\nSTATUS=up",
		"STATUS=busy",
		"RELOADING=1\nMONOTONIC_", "READY=1\nSTATUS=up",
		"RELOADING=1\nMONOTONIC_", "READY=1\nSTATUS=Reload failed: a b",
		"STATUS=busy; the last reload failed: a b",
		"RELOADING=1\nMONOTONIC_", "READY=1\nSTATUS=up",
		"STATUS=busy",
		"RELOADING=1\nMONOTONIC_", "STOPPING=1\nSTATUS=going",
		"STATUS=going on",
	}
	if diff := cmp.Diff(want, heard()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFailureStaysTheStatus(t *testing.T) {
	l, heard := told(t)
	l.fatal(errors.New("cannot bind"), "org.example.Failed")
	l.stopping("Shutting down")
	l.status("Waiting for 1 job")
	want := []string{"STATUS=cannot bind\nERRNO=5\nBUSERROR=org.example.Failed", "STOPPING=1\nSTATUS=cannot bind"}
	if diff := cmp.Diff(want, heard()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestManyCountsAreFewMessages(t *testing.T) {
	l, heard := told(t)
	synctest.Test(t, func(t *testing.T) {
		for i := range 1000 {
			l.phase(fmt.Sprintf("Restoring containers (%d/1000)", i+1))
			<-time.After(time.Millisecond)
		}
		l.phase("Setting up the network")
	})
	got := heard()
	if len(got) < 10 || len(got) > 12 || got[0] != "STATUS=Restoring containers (1/1000)" || got[len(got)-1] != "STATUS=Setting up the network" {
		t.Errorf("%d messages: %q", len(got), got)
	}
}

func TestExtend(t *testing.T) {
	l, heard := told(t)
	const extend = "EXTEND_TIMEOUT_USEC=30000000"
	synctest.Test(t, func(t *testing.T) {
		l.phase("one") // by the clock of the test
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { l.extend(ctx); close(ended) }()
		is := func(when string, seconds, want int) {
			t.Helper()
			<-time.After(time.Duration(seconds)*time.Second + time.Millisecond)
			synctest.Wait()
			n := 0
			for _, m := range heard() {
				if m == extend {
					n++
				}
			}
			if n != want {
				t.Errorf("%s: %d in %d s, want %d", when, n, seconds, want)
			}
		}
		is("a start", 30, 3)
		l.phase("two")
		is("that got on", 60, 6)
		is("and got stuck", 60, 0)
		l.ready("up")
		is("ready", 30, 0)
		end := l.reloading(func() string { return "up" })
		is("reloading", 20, 2)
		end(nil)
		is("reloaded", 20, 0)
		l.stopping("going")
		is("stopping", 30, 3)
		cancel()
		<-ended
	})
}

func TestIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newActivity()
		var limit atomic.Int64
		var busy atomic.Bool
		limit.Store(int64(10 * time.Second))
		began := time.Now()
		idle := make(chan time.Duration)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(idle)
			for a.await(ctx, func() time.Duration { return time.Duration(limit.Load()) }, busy.Load) == nil {
				idle <- time.Since(began)
				a.touch()
			}
		}()
		next := func(what string, want time.Duration) {
			t.Helper()
			if got := <-idle; got != want {
				t.Errorf("%s: idle after %v, want %v", what, got, want)
			}
		}
		next("nothing", 10*time.Second)
		end := a.begin()
		<-time.After(25 * time.Second)
		end()
		end() // once counts
		next("after a call", 45*time.Second)
		// A check of its own, in the middle of the time and at its end.
		for range 2 {
			<-time.After(5 * time.Second)
			if err := a.overlook(func() error { a.begin()(); return nil }); err != nil {
				t.Error(err)
			}
		}
		next("in spite of self-checks", 55*time.Second)
		var late, long func()
		<-time.After(5 * time.Second)
		if err := a.overlook(func() error { late = a.begin(); return nil }); err != nil {
			t.Error(err)
		}
		<-time.After(straggle)
		late()
		next("a check whose end is seen late", 65*time.Second)
		if err := a.overlook(func() error { long = a.begin(); return nil }); err != nil {
			t.Error(err)
		}
		<-time.After(5 * time.Second)
		long()
		next("a call that began in the middle of a check", 80*time.Second)
		busy.Store(true)
		<-time.After(12 * time.Second) // looked at after 10
		busy.Store(false)
		next("after a job that no call waits for", 100*time.Second)
		limit.Store(0)
		a.wake()
		<-time.After(time.Hour)
		limit.Store(int64(time.Minute))
		a.wake()
		next("switched off and on", 100*time.Second+time.Hour)
		cancel()
		<-idle
	})
}

func TestIdleDecision(t *testing.T) {
	a := newActivity()
	end := a.begin()
	if a.close() {
		t.Error("closed in the middle of a call")
	}
	end()
	if err := a.overlook(func() error {
		if a.close() {
			t.Error("closed in the middle of a check, whose connection would start the daemon again")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if !a.close() {
		t.Error("not closed when nothing goes on")
	}
	if err := a.overlook(func() error { return errors.New("a check began") }); err != nil {
		t.Error(err)
	}
	a.reopen()
	if err := a.overlook(func() error { return errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
		t.Error("no check after it was reopened")
	}
}

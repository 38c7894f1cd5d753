// SPDX-License-Identifier: Apache-2.0

package dbus_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

const archive = "the archive"

// registerFacts registers what is asked and answered at once.
func (f *fixture) registerFacts(t *testing.T) {
	t.Helper()
	query(t, f.eng, func(davit.DiskUsage) (davit.DiskUsageInfo, error) { return davit.DiskUsageInfo{LayersSize: 42}, nil })
	query(t, f.eng, func(q davit.ContainerByPID) (davit.ContainerInfo, error) {
		if q.PID != os.Getpid() {
			return davit.ContainerInfo{}, davit.Errorf(davit.NoSuchContainer, "no such container: process %d is in none", q.PID)
		}
		return theContainer(), nil
	})
	query(t, f.eng, func(q davit.OSRelease) (map[string]string, error) {
		return map[string]string{"ID": "alpine", "OF": q.Container + q.Image}, nil
	})
	query(t, f.eng, func(davit.ContainerChanges) ([]davit.FileChange, error) {
		return []davit.FileChange{{Path: "/etc/x", Kind: davit.FileDeleted}}, nil
	})
	query(t, f.eng, func(q davit.ContainerStatPath) (davit.FileStat, error) { return davit.FileStat{Name: q.Path}, nil })
	query(t, f.eng, func(davit.RootDirectory) (*os.File, error) { return os.Open(t.TempDir()) })
	query(t, f.eng, func(davit.VolumeDirectory) (*os.File, error) { return os.Open(t.TempDir()) })
	query(t, f.eng, func(q davit.Search) ([]davit.SearchResult, error) {
		return []davit.SearchResult{{Name: q.Term, Stars: q.Limit, Official: true}}, nil
	})
	query(t, f.eng, func(q davit.Auth) (davit.AuthResult, error) {
		if q.Auth.Password != "s3cret" {
			return davit.AuthResult{}, davit.Errorf(davit.RegistryUnauthorized, "%s: wrong password for %s", q.Auth.ServerAddress, q.Auth.Username)
		}
		return davit.AuthResult{Status: "Login Succeeded"}, nil
	})
	query(t, f.eng, func(q davit.ExecInspect) (davit.Exec, error) {
		if q.ID != execID {
			return davit.Exec{}, davit.Errorf(davit.NoSuchExec, "no such exec: %s", q.ID)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		return davit.Exec{ID: execID, ContainerID: containerID, Cmd: []string{"true"}, Tty: f.execTTY, Exit: &davit.Exit{Code: 7}}, nil
	})
	query(t, f.eng, func(davit.Resize) (davit.Nothing, error) { return davit.Nothing{}, nil })
	query(t, f.eng, func(q davit.ExecResize) (davit.Nothing, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.sizes = append(f.sizes, [2]uint{q.Rows, q.Columns})
		return davit.Nothing{}, nil
	})
}

// files registers a type of job that reads a caller's file, or writes one.
func files[Q engine.Typed[R], R any](t *testing.T, f *fixture, name func(Q) string, end func(Q) (io.Reader, func() (io.Writer, error))) {
	t.Helper()
	ty := engine.Type[Q]{Subject: func(q Q) (string, string) { return "", name(q) }}
	register(t, f.eng, ty, func(ctx context.Context, _ *engine.Job, q Q) (r R, err error) {
		f.mu.Lock()
		f.last = q
		f.mu.Unlock()
		source, open := end(q)
		if source != nil {
			data, err := io.ReadAll(source)
			f.mu.Lock()
			f.written = data
			f.mu.Unlock()
			return r, err
		}
		if name(q) == "missing" {
			return r, davit.Errorf(davit.NoSuchImage, "no such image: missing")
		}
		w, err := open()
		if err != nil {
			return r, err
		}
		if name(q) == "endless" {
			for err == nil {
				_, err = io.WriteString(w, strings.Repeat("x", 4096))
			}
			return r, fmt.Errorf("cannot write: %w", err)
		}
		_, err = io.WriteString(w, archive)
		if err == nil && name(q) == "broken" {
			err = errors.New("the disk is broken")
		}
		return r, err
	})
}

func (f *fixture) registerFiles(t *testing.T) {
	t.Helper()
	files(t, f, func(q davit.Load) string { return "" }, func(q davit.Load) (io.Reader, func() (io.Writer, error)) { return q.Source, nil })
	files(t, f, func(q davit.Import) string { return q.Reference }, func(q davit.Import) (io.Reader, func() (io.Writer, error)) { return q.Source, nil })
	files(t, f, func(q davit.ContainerExtract) string { return q.Container }, func(q davit.ContainerExtract) (io.Reader, func() (io.Writer, error)) { return q.Source, nil })
	files(t, f, func(q davit.Save) string { return strings.Join(q.Images, " ") }, func(q davit.Save) (io.Reader, func() (io.Writer, error)) { return nil, q.Open })
	files(t, f, func(q davit.Export) string { return q.Container }, func(q davit.Export) (io.Reader, func() (io.Writer, error)) { return nil, q.Open })
	files(t, f, func(q davit.ContainerCopy) string { return q.Container }, func(q davit.ContainerCopy) (io.Reader, func() (io.Writer, error)) {
		return nil, func() (io.Writer, error) { return q.Open(davit.FileStat{}) }
	})
}

// echo serves a caller's streams: lines of its input come back in capitals,
// and at its end what is written to errs.
func echo(ctx context.Context, s davit.Streams) error {
	if s.Stdin == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	b := make([]byte, 4096)
	for {
		n, err := s.Stdin.Read(b)
		if n > 0 && s.Stdout != nil {
			if _, err := io.WriteString(s.Stdout, strings.ToUpper(string(b[:n]))); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			if s.Stderr != nil {
				_, err = io.WriteString(s.Stderr, "bye")
				return err
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *fixture) registerStreams(t *testing.T) {
	t.Helper()
	follow := func(action string) engine.Type[davit.Logs] {
		return engine.Type[davit.Logs]{Class: engine.Follow, Action: action}
	}
	register(t, f.eng, follow(davit.ActionReadLogs), func(ctx context.Context, _ *engine.Job, q davit.Logs) (davit.Nothing, error) {
		if q.Tail == 13 {
			return davit.Nothing{}, davit.Errorf(davit.NotSupported, "there is no log")
		}
		s, err := q.Open(false)
		if err != nil {
			return davit.Nothing{}, err
		}
		if q.Stdout {
			_, err = io.WriteString(s.Stdout, "out\n")
		}
		if q.Stderr && err == nil {
			_, err = io.WriteString(s.Stderr, "err\n")
		}
		if q.Follow && q.Timestamps { // a container that talks without end
			for err == nil {
				_, err = io.WriteString(s.Stdout, strings.Repeat("x", 4096))
			}
		}
		if q.Follow && err == nil {
			<-ctx.Done()
			err = ctx.Err()
		}
		return davit.Nothing{}, err
	})
	register(t, f.eng, engine.Type[davit.Stats]{Class: engine.Follow}, func(ctx context.Context, _ *engine.Job, q davit.Stats) (davit.Nothing, error) {
		s := davit.ContainerStats{
			Read: created, CPU: davit.CPUStats{Usage: 1000}, Pids: davit.PidsStats{Current: 3},
			Networks: map[string]davit.LinkStats{"eth0": {RxBytes: 5}}, BlockIO: []davit.BlockIO{{Major: 8, ReadBytes: 9}},
		}
		if err := q.Emit(s); err != nil || q.Once {
			return davit.Nothing{}, err
		}
		s.Read, s.CPU.Usage = created.Add(time.Second), 3000
		if err := q.Emit(s); err != nil {
			return davit.Nothing{}, err
		}
		<-ctx.Done()
		return davit.Nothing{}, ctx.Err()
	})
	register(t, f.eng, engine.Type[davit.Attach]{Class: engine.Follow}, func(ctx context.Context, _ *engine.Job, q davit.Attach) (davit.Nothing, error) {
		s, err := q.Open(false)
		if err != nil {
			return davit.Nothing{}, err
		}
		return davit.Nothing{}, echo(ctx, s)
	})
	register(t, f.eng, engine.Type[davit.ExecStart]{Class: engine.Follow}, func(ctx context.Context, _ *engine.Job, q davit.ExecStart) (davit.Nothing, error) {
		f.mu.Lock()
		f.last = q
		f.mu.Unlock()
		if q.Detach {
			return davit.Nothing{}, nil
		}
		s, err := q.Open(q.Tty)
		if err != nil {
			return davit.Nothing{}, err
		}
		return davit.Nothing{}, echo(ctx, s)
	})
}

// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// TestFault01_GateThatOpensBeforeItIsServed answers all the same: in 1.2 each
// request then hung for ever.
func TestFault01_GateThatOpensBeforeItIsServed(t *testing.T) {
	l, err := net.Listen("unix", "@"+t.Name()+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	eng := engine.New(slog.New(slog.DiscardHandler))
	s := New(eng, Options{Log: slog.New(slog.DiscardHandler), Sockets: []Socket{{davit.DoorAPI, l}}})
	s.Open()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, nil) }()
	probe, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Probe(probe); err != nil {
		t.Error(err)
	}
	stop()
	if err := within(t, "the server to end", served); err != nil {
		t.Error(err)
	}
}

// TestFault09_StatusIsNotReadFromTheText has an error say all that 1.2 looked
// for in the text of errors.
func TestFault09_StatusIsNotReadFromTheText(t *testing.T) {
	d := openDoor(t)
	var fail error
	handle(d, engine.Change, func(context.Context, *engine.Job, davit.Start) (davit.Nothing, error) { return davit.Nothing{}, fail })
	const text = "No such image or no such container: bad parameter; Conflict, impossible: already in use, already started; wrong login/password; not found"
	for status, err := range map[int]error{
		http.StatusInternalServerError: errors.New(text),
		http.StatusConflict:            davit.Errorf(davit.ContainerPaused, "%s", text),
		http.StatusForbidden:           davit.Errorf(davit.AccessDenied, "%s", text),
		http.StatusNotImplemented:      davit.Errorf(davit.NotSupported, "%s", text),
	} {
		fail = err
		if got := d.do("POST", "/containers/x/start", ""); got.status != status || got.message() != text {
			t.Errorf("%s: %d %s, want %d", davit.CodeOf(err), got.status, got.message(), status)
		}
	}
}

// TestFault12_InfoThatFailsIsNot200: 1.2 had sent the status before the job ran.
func TestFault12_InfoThatFailsIsNot200(t *testing.T) {
	d := openDoor(t)
	handle(d, engine.Query, func(context.Context, *engine.Job, davit.Info) (davit.EngineInfo, error) {
		return davit.EngineInfo{}, errBoom
	})
	if got := d.do("GET", "/info", ""); got.status != 500 || got.message() != errBoom.Error() {
		t.Errorf("%d %s, want 500 and %v", got.status, got.body, errBoom)
	}
}

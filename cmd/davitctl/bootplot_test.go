// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
)

// wellFormed fails the test when the text is not XML.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	for dec := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := dec.Token(); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			return
		}
	}
}

func TestBootPlot(t *testing.T) {
	at := func(ms float64) time.Time { return fakeNow.Add(time.Duration(ms * float64(time.Millisecond))) }
	s := startAccount{Began: at(0), Ready: at(140), Jobs: []startJob{
		{ID: 1, Type: "serveapi", Follow: true, State: "running", Enqueued: at(12), Started: at(12.1)},
		{ID: 2, Type: "restore", State: "finished", Result: "done", Enqueued: at(14), Started: at(14), Ended: at(60), Steps: []startStep{
			{"read records", at(15), at(20)}, {"adopt monitors", at(20), at(59)},
		}},
		{ID: 3, Type: "init_networkdriver", State: "finished", Result: "done", Enqueued: at(60), Started: at(60), Ended: at(120)},
		{ID: 4, Type: "servebus", Follow: true, State: "finished", Result: "skipped", Enqueued: at(121), Started: at(121), Ended: at(122)},
		{ID: 5, Type: "start", Subject: "<web> & \x1b[31mco", State: "finished", Result: "failed", Enqueued: at(141), Started: at(150), Ended: at(260)},
		{ID: 6, Type: "allocate_interface", Parent: 5, State: "finished", Result: "done", Enqueued: at(151), Started: at(151), Ended: at(151.4)},
		{ID: 9, Type: "exited", Parent: 7, State: "waiting", Enqueued: at(155)},
	}}
	svg := newPlot("Davit 1, Linux 6.1 amd64", s).svg() + "\n"
	wellFormed(t, svg)
	testutil.Golden(t, "start.svg", svg)

	// A start that is not over, and one without jobs.
	wellFormed(t, newPlot("", startAccount{Began: at(0), Jobs: s.Jobs[:1]}).svg())
	if svg := newPlot("", startAccount{Began: at(0)}).svg(); !strings.Contains(svg, "not ready yet") {
		t.Error(svg)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/journal"
	"golang.org/x/sys/unix"
)

// newLogger logs to where stderr leads: structured entries when that is the
// journal, short lines on a terminal, and else the text that collectors of
// logs expect.
func newLogger(stderr *os.File, level *slog.LevelVar) *slog.Logger {
	o := journal.Options{Level: level, Identifier: "davitd", Prefix: "DAVIT_", Attr: logged, Fallback: journal.Stream{File: stderr}}
	if journal.Connected(stderr) {
		if socket, err := journal.Open(journal.SocketPath); err == nil { // it is open as long as the process
			return slog.New(journal.NewHandler(socket, o))
		}
	}
	if _, err := unix.IoctlGetTermios(int(stderr.Fd()), unix.TCGETS); err == nil {
		return slog.New(journal.NewTerminal(stderr, o))
	}
	return slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
}

// complain says on stderr why there is no daemon to log anything. Where stderr
// is the journal, the line begins with its priority (sd-daemon(3)).
func complain(text string) {
	priority := ""
	if journal.Connected(os.Stderr) {
		priority = "<3>"
	}
	fmt.Fprintln(os.Stderr, priority+"davitd: "+text)
}

// logged names the journal's fields for what the daemon logs. Those of
// containers are the ones that Docker's journald driver and conmon use, so
// that one match finds what a container and its engine said.
func logged(key, value string) (journal.Attr, bool) {
	switch key {
	case "job":
		return journal.Attr{Fields: []journal.Field{{Name: "JOB_ID", Value: value}}, Text: value}, true
	case "type":
		return journal.Attr{Fields: []journal.Field{{Name: "JOB_TYPE", Value: value}}, Text: value}, true
	case "container":
		return journal.Attr{Fields: []journal.Field{{Name: "CONTAINER_NAME", Value: value}}, Text: value}, true
	case "container_id":
		short := davit.ShortID(value)
		return journal.Attr{Fields: []journal.Field{
			{Name: "CONTAINER_ID", Value: short}, {Name: "CONTAINER_ID_FULL", Value: value},
		}, Text: short}, true
	case "transport", "uid", "parent": // for those who search, not for those who read
		return journal.Attr{Fields: []journal.Field{{Name: journal.FieldName("DAVIT_" + key), Value: value}}}, true
	}
	return journal.Attr{}, false
}

// logTarget is where the log goes, in the words of
// org.freedesktop.LogControl1(5).
func logTarget(stderr *os.File) string {
	if journal.Connected(stderr) {
		return "journal"
	}
	return "console"
}

func setLevel(v *slog.LevelVar, name string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(name)); err != nil {
		return fmt.Errorf("invalid log-level %q: use debug, info, warn or error", name)
	}
	v.Set(l)
	return nil
}

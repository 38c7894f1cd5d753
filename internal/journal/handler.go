// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say how records are written.
type Options struct {
	// Level is the least one that is written; it may change at any time.
	Level slog.Leveler
	// Identifier is the program's name: SYSLOG_IDENTIFIER.
	Identifier string
	// Prefix begins the names of the fields that Attr does not name.
	Prefix string
	// Attr says how an attribute is written; nil, and what it does not know,
	// is written as a field of its own and in the text.
	Attr func(key, value string) (a Attr, known bool)
	// Fallback gets a record as a line of text, its priority in front
	// (sd-daemon(3)), when the journal does not take it.
	Fallback io.Writer
}

// Attr is how an attribute is written.
type Attr struct {
	Fields []Field // in the journal
	Text   string  // its value in the text; "" leaves it out
}

// Sender takes an entry: [Socket.Send].
type Sender interface{ Send([]Field) error }

// Handler is a [slog.Handler]. Its MESSAGE can be read without the fields: the
// text of the record, then its attributes as key=value.
type Handler struct {
	opts  *Options
	write func(*entry) error
	group string // with a dot behind it
	attrs []attr
}

// attr is an attribute with its group's name before its key.
type attr struct{ key, value string }

// entry is a record on its way.
type entry struct {
	at      time.Time
	level   slog.Level
	message string
	fields  []Field // beside MESSAGE, and of the attributes alone
	pc      uintptr
}

// NewHandler returns a handler that writes to the journal.
func NewHandler(to Sender, o Options) *Handler {
	return &Handler{opts: &o, write: func(e *entry) error {
		err := to.Send(e.all(o.Identifier))
		if err == nil || o.Fallback == nil {
			return err
		}
		_, err = fmt.Fprintf(o.Fallback, "<%d>%s\n", priority(e.level), strings.ReplaceAll(e.message, "\n", " "))
		return err
	}}
}

// NewTerminal returns a handler that writes for somebody who reads along: the
// time of day, the level when it is worth a word, the text.
func NewTerminal(w io.Writer, o Options) *Handler {
	var mu sync.Mutex
	return &Handler{opts: &o, write: func(e *entry) error {
		level := ""
		if e.level != slog.LevelInfo {
			level = e.level.String() + ": "
		}
		mu.Lock()
		defer mu.Unlock()
		_, err := fmt.Fprintf(w, "%s %s%s\n", e.at.Format(time.TimeOnly), level, e.message)
		return err
	}}
}

// Enabled tells whether records of the level are written.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool {
	return h.opts.Level == nil || l >= h.opts.Level.Level()
}

// WithAttrs returns a handler whose records have the attributes too.
func (h *Handler) WithAttrs(as []slog.Attr) slog.Handler {
	n := *h
	n.attrs = append([]attr(nil), h.attrs...)
	for _, a := range as {
		n.attrs = flatten(n.attrs, h.group, a)
	}
	return &n
}

// WithGroup returns a handler that puts the name before the keys that follow.
func (h *Handler) WithGroup(name string) slog.Handler {
	n := *h
	if name != "" {
		n.group += name + "."
	}
	return &n
}

// Handle writes a record.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	attrs := append([]attr(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		attrs = flatten(attrs, h.group, a)
		return true
	})
	e := &entry{at: r.Time, level: r.Level, pc: r.PC}
	var text, behind strings.Builder
	text.WriteString(r.Message)
	for _, a := range attrs {
		as := h.opts.attr(a)
		e.fields = append(e.fields, as.Fields...)
		switch {
		case as.Text == "":
		case strings.Contains(as.Text, "\n"): // a stack, say: it stays as it is
			fmt.Fprintf(&behind, "\n%s:\n%s", a.key, strings.TrimSuffix(as.Text, "\n"))
		default:
			fmt.Fprintf(&text, " %s=%s", quoted(a.key), quoted(as.Text))
		}
	}
	e.message = text.String() + behind.String()
	return h.write(e)
}

func (o *Options) attr(a attr) Attr {
	if o.Attr != nil {
		if as, known := o.Attr(a.key, a.value); known {
			return as
		}
	}
	as := Attr{Text: a.value}
	if name := FieldName(o.Prefix + a.key); name != "" {
		as.Fields = []Field{{name, a.value}}
	}
	return as
}

// flatten appends an attribute, and each of a group's.
func flatten(to []attr, group string, a slog.Attr) []attr {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, in := range v.Group() {
			to = flatten(to, group, in)
		}
		return to
	}
	if a.Equal(slog.Attr{}) {
		return to
	}
	return append(to, attr{group + a.Key, text(v)})
}

func text(v slog.Value) string {
	if v.Kind() == slog.KindTime {
		return v.Time().Format(time.RFC3339Nano)
	}
	return v.String()
}

// quoted makes one word of a value.
func quoted(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// all returns the fields of an entry as the journal names them
// (systemd.journal-fields(7)).
func (e *entry) all(identifier string) []Field {
	out := []Field{{"MESSAGE", e.message}, {"PRIORITY", strconv.Itoa(priority(e.level))}}
	if identifier != "" {
		out = append(out, Field{"SYSLOG_IDENTIFIER", identifier})
	}
	if e.pc != 0 {
		f, _ := runtime.CallersFrames([]uintptr{e.pc}).Next()
		out = append(out, Field{"CODE_FILE", f.File}, Field{"CODE_LINE", strconv.Itoa(f.Line)}, Field{"CODE_FUNC", f.Function})
	}
	return append(out, e.fields...)
}

// priority is a level in syslog's numbers (syslog(3)).
func priority(l slog.Level) int {
	switch {
	case l >= slog.LevelError+4:
		return 2 // critical
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l > slog.LevelInfo:
		return 5 // notice
	case l == slog.LevelInfo:
		return 6
	}
	return 7
}

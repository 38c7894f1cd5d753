// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"encoding/binary"
	"path"
	"strings"
)

// Descriptors of davit-enter when the holder runs it, after the three of the
// program's stdio. With a terminal these are the stream socket that receives
// its master. The other end of it all is cmd/davit-enter/record.c.
const (
	EnterReport  = 3 // a pipe, see [ParseEnterReports]
	EnterRecord  = 4 // [EnterFile]
	EnterSession = 5 // an encoded [ExecSpec]
	EnterPidfd   = 6 // of the container's first process
)

// enterFormat is the first text of what davit-enter reads; it refuses another.
const enterFormat = "davit-enter 1"

// EnterSpec is what davit-enter has to know of a container. The monitor
// records it, encoded, when it makes one.
type EnterSpec struct {
	Namespaces    int // CLONE_NEW* of those that are not the host's
	NoNewPrivs    bool
	Umask         *uint32
	OomScore      *int
	Caps, AllCaps uint64 // by their numbers; of an ordinary session and of a privileged one
	Keyring       string
	// Label and AllLabel are AppArmor profiles, of an ordinary session and of a
	// privileged one; "" is the holder's own.
	Label, AllLabel string
	User, Cwd       string
	Groups          []string
	Env, TtyEnv     []string
	Limits          [][3]uint64 // resource, soft, hard
	Unified         bool        // cgroup v2
	Tolerant        bool        // a cgroup that cannot be joined is left out
	Cgroups         []string    // directories
	FilterFlags     uint64      // of seccomp(2)
	Filter          []byte      // its program, empty for none
}

// Encode returns the record in the form that davit-enter reads.
func (s *EnterSpec) Encode() ([]byte, error) {
	w := newFlat()
	w.number(uint64(s.Namespaces))
	w.flag(s.NoNewPrivs)
	w.flag(s.Umask != nil)
	if s.Umask == nil {
		s.Umask = new(uint32)
	}
	w.number(uint64(*s.Umask))
	w.flag(s.OomScore != nil)
	if s.OomScore == nil {
		s.OomScore = new(int)
	}
	w.number(uint64(*s.OomScore))
	w.number(s.Caps)
	w.number(s.AllCaps)
	for _, text := range []string{s.Keyring, s.Label, s.AllLabel, s.User, s.Cwd} {
		w.text(text)
	}
	w.texts(s.Groups)
	w.texts(s.Env)
	w.texts(s.TtyEnv)
	w.number(uint64(len(s.Limits)))
	for _, limit := range s.Limits {
		for _, n := range limit {
			w.number(n)
		}
	}
	w.flag(s.Unified)
	w.flag(s.Tolerant)
	w.texts(s.Cgroups)
	w.number(s.FilterFlags)
	w.bytes(string(s.Filter))
	return w.done()
}

// Encode returns the session in the form that davit-enter reads. Its errors are
// the caller's own: [*Error].
func (x *ExecSpec) Encode() ([]byte, error) {
	cwd := x.Cwd
	if cwd != "" {
		if !path.IsAbs(cwd) {
			return nil, &Error{Kind: KindDenied, Message: "working directory must be an absolute path"}
		}
		cwd = path.Clean(cwd)
	}
	if len(x.Args) == 0 {
		return nil, &Error{Kind: KindInvalid, Message: "no command specified"}
	}
	w := newFlat()
	w.text(x.User)
	w.text(cwd)
	w.flag(x.Tty)
	w.flag(x.Privileged)
	w.number(uint64(x.Rows))
	w.number(uint64(x.Cols))
	w.texts(x.Args)
	w.texts(x.Env)
	return w.done()
}

// flat is a sequence of numbers, of eight bytes, and texts, each of which is its
// length, its bytes and a NUL.
type flat struct {
	b   []byte
	bad string // a text with a NUL in it
}

func newFlat() *flat {
	w := &flat{}
	w.text(enterFormat)
	return w
}

func (w *flat) number(n uint64) { w.b = binary.LittleEndian.AppendUint64(w.b, n) }

func (w *flat) flag(on bool) {
	if on {
		w.number(1)
	} else {
		w.number(0)
	}
}

func (w *flat) bytes(s string) {
	w.number(uint64(len(s)))
	w.b = append(w.b, s...)
	w.b = append(w.b, 0)
}

func (w *flat) text(s string) {
	if at := strings.IndexByte(s, 0); at >= 0 && w.bad == "" {
		w.bad = s[:at]
	}
	w.bytes(s)
}

func (w *flat) texts(all []string) {
	w.number(uint64(len(all)))
	for _, s := range all {
		w.text(s)
	}
}

func (w *flat) done() ([]byte, error) {
	if w.bad != "" {
		return nil, &Error{Kind: KindInvalid, Message: "cannot run a program: the text that begins with " + w.bad + " contains a NUL"}
	}
	return w.b, nil
}

// EnterResult is what davit-enter had to say: without an error, the pid of a
// program that has begun.
type EnterResult struct {
	Pid   int
	Error *Error
}

// ParseEnterReports decodes all that came by the pipe of davit-enter: pieces of a
// kind, a length of four bytes and as much text. What is torn is left out: whoever
// was killed had nothing to say.
func ParseEnterReports(p []byte) (r EnterResult) {
	for len(p) > 4 {
		kind, size := p[0], int64(binary.LittleEndian.Uint32(p[1:]))
		if p = p[5:]; size > int64(len(p)) {
			break
		}
		text := string(p[:size])
		p = p[size:]
		switch kind {
		case 'P':
			for _, digit := range []byte(text) {
				r.Pid = 10*r.Pid + int(digit-'0')
			}
		case 'S':
			r.Error = &Error{Kind: KindStart, Message: text}
		case 'D':
			r.Error = &Error{Kind: KindDenied, Message: text}
		case 'N':
			r.Error = &Error{Kind: KindNotRunning, Message: text}
		default:
			r.Error = &Error{Message: text}
		}
	}
	return r
}

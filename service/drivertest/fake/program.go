// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/davit-engine/davit"
)

// What the suite has a shell run. The fake understands these, "exit N", and
// any other program, which it takes for one that waits for a signal.
const (
	ShellEcho = "echo out; echo err >&2"
	ShellCat  = "cat"
	ShellDeaf = "while :; do sleep 1; done" // a first process has no default action: signal(7), pid_namespaces(7)
	ShellTrap = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"
	// ShellHungry has a process of its own want more memory than a container of 16 MB has.
	ShellHungry   = "dd if=/dev/zero of=/dev/null bs=256M count=1 2>/dev/null; while :; do sleep 1; done"
	NoSuchProgram = "/no/such/program"
	NotExecutable = "/etc"
)

const (
	sigKill = 9
	sigTerm = 15
)

// denied is what a runtime says of a program that may not be executed.
type denied struct{ path string }

func (d denied) Error() string        { return "exec: \"" + d.path + "\": permission denied" }
func (d denied) Is(target error) bool { return target == os.ErrPermission }

func checkProgram(path string) error {
	switch path {
	case NoSuchProgram:
		return davit.Errorf(davit.StartFailed, "exec: %q: no such file or directory", path)
	case NotExecutable:
		return davit.Errorf(davit.StartFailed, "%w", denied{path})
	}
	return nil
}

// program is a running program of a fake container. What it does, it does in
// the goroutine of whoever caused it.
type program struct {
	argv  []string
	tty   bool
	stdin bool
	ended func(code int) // called once, without the lock

	mu     sync.Mutex
	sinks  []*davit.Streams
	early  *davit.Streams // unless nil, takes what comes before the first sink
	gone   bool
	done   chan struct{} // closed when the output has ended
	inputs bytes.Buffer
}

func newProgram(argv []string, tty, stdin bool, ended func(int)) *program {
	return &program{argv: argv, tty: tty, stdin: stdin, ended: ended, done: make(chan struct{})}
}

// script is what the program does, "" when it is no shell.
func (p *program) script() string {
	if len(p.argv) == 3 && p.argv[0] == "/bin/sh" && p.argv[1] == "-c" {
		return p.argv[2]
	}
	return ""
}

// begin executes the program as far as it comes on its own.
func (p *program) begin() {
	script := p.script()
	code, exits := strings.CutPrefix(script, "exit ")
	switch {
	case exits:
		n, _ := strconv.Atoi(code) // 0, as for a shell's empty word
		p.exit(n)
	case script == ShellEcho:
		p.write("out\n", "")
		p.write("", "err\n")
		p.exit(0)
	case script == ShellTrap:
		p.write("ready\n", "")
	case script == ShellCat && !p.stdin:
		p.exit(0)
	}
}

// signal delivers a signal.
func (p *program) signal(n int) {
	switch {
	case n == sigKill:
		p.exit(128 + sigKill)
	case n == sigTerm && p.script() == ShellTrap:
		p.exit(7)
	case n == sigTerm && p.script() != ShellDeaf:
		p.exit(128 + sigTerm)
	}
}

func (p *program) exit(code int) {
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return
	}
	p.gone = true
	close(p.done)
	p.mu.Unlock()
	p.ended(code)
}

// write is what the program prints.
func (p *program) write(out, errs string) {
	if p.tty {
		out, errs = strings.ReplaceAll(out+errs, "\n", "\r\n"), ""
	}
	p.mu.Lock()
	sinks := slices.Clone(p.sinks)
	if len(sinks) == 0 && p.early != nil {
		sinks = append(sinks, p.early)
	}
	p.mu.Unlock()
	for _, s := range sinks {
		feed(s.Stdout, out)
		feed(s.Stderr, errs)
	}
}

// feed ignores a reader that has gone, as a monitor does.
func feed(w io.Writer, text string) {
	if w != nil && text != "" {
		_, _ = io.WriteString(w, text)
	}
}

func (p *program) input(data []byte) {
	if p.script() == ShellCat {
		p.write(string(data), "")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inputs.Write(data)
}

// attach is [davit.Process.Attach].
func (p *program) attach(ctx context.Context, s davit.Streams, detach []byte) error {
	p.mu.Lock()
	p.sinks = append(p.sinks, &s)
	early := p.early
	p.early = nil
	p.mu.Unlock()
	defer p.drop(&s)
	if early != nil {
		feed(s.Stdout, early.Stdout.(*Buffer).String())
		feed(s.Stderr, early.Stderr.(*Buffer).String())
	}
	if s.Attached != nil {
		s.Attached()
	}
	if s.Log != nil { // it keeps no log
		if err := s.Log(""); err != nil {
			return err
		}
	}
	left := make(chan struct{})
	if s.Stdin != nil && p.stdin {
		// As with a real one, nobody can wait for a reader that blocks.
		go p.read(s.Stdin, detach, left)
	}
	select {
	case <-p.done:
		return nil
	case <-left:
		s.TellDetached()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *program) drop(s *davit.Streams) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sinks = slices.DeleteFunc(p.sinks, func(o *davit.Streams) bool { return o == s })
}

// read passes on what a caller types. It closes left at the detach sequence.
func (p *program) read(r io.Reader, detach []byte, left chan struct{}) {
	var seen []byte
	buf := make([]byte, 256)
	for {
		n, err := r.Read(buf)
		if seen = append(seen, buf[:n]...); len(detach) > 0 && bytes.HasSuffix(seen, detach) {
			close(left)
			return
		}
		if n > 0 && len(detach) == 0 {
			p.input(buf[:n])
		} else if n > 0 {
			p.input(bytes.TrimRight(buf[:n], string(detach)))
		}
		if err != nil {
			if errors.Is(err, io.EOF) && p.script() == ShellCat {
				p.exit(0)
			}
			return
		}
	}
}

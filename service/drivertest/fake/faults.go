// SPDX-License-Identifier: Apache-2.0

// Package fake holds a fake for each driver interface of the service, which
// sits the same suite of package drivertest as the real driver does. Only
// tests import it.
//
// A fake is deterministic and never sleeps. Its methods fail, or hang, when a
// test says so through the embedded [Faults].
package fake

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Faults are the failpoints of a fake, and the record of its calls. The zero
// value has none.
type Faults struct {
	mu    sync.Mutex
	fails map[string]error
	hangs map[string]chan struct{}
	hooks map[string]func()
	freed chan struct{}
	calls []string
}

// Fail makes every further call of the method fail with err before it does
// anything; nil ends that.
func (f *Faults) Fail(method string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails == nil {
		f.fails = map[string]error{}
	}
	f.fails[method] = err
}

// Hang makes the next call of the method, which must take a context, do
// nothing until that ends, or [Faults.Free]. The channel is closed when the
// call has come.
func (f *Faults) Hang(method string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hangs == nil {
		f.hangs = map[string]chan struct{}{}
	}
	if f.freed == nil {
		f.freed = make(chan struct{})
	}
	f.hangs[method] = make(chan struct{})
	return f.hangs[method]
}

// Free ends all calls that hang, with [ErrInjected].
func (f *Faults) Free() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.freed)
	f.freed = nil
}

// Then calls do during the next call of the method, before that does anything.
func (f *Faults) Then(method string, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hooks == nil {
		f.hooks = map[string]func(){}
	}
	f.hooks[method] = do
}

// Calls returns the calls so far, each as "Method argument", of the named
// methods, or all.
func (f *Faults) Calls(methods ...string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, c := range f.calls {
		name, _, _ := strings.Cut(c, " ")
		if len(methods) == 0 || slices.Contains(methods, name) {
			out = append(out, c)
		}
	}
	return out
}

func (f *Faults) enter(method, arg string) error {
	f.mu.Lock()
	hook := f.hooks[method]
	delete(f.hooks, method)
	f.mu.Unlock()
	if hook != nil {
		hook()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, strings.TrimSpace(method+" "+arg))
	return f.fails[method]
}

func (f *Faults) enterContext(ctx context.Context, method, arg string) error {
	if err := f.enter(method, arg); err != nil {
		return err
	}
	f.mu.Lock()
	come := f.hangs[method]
	freed := f.freed
	delete(f.hangs, method)
	f.mu.Unlock()
	if come != nil {
		close(come)
		select {
		case <-ctx.Done():
		case <-freed:
			return ErrInjected
		}
	}
	return ctx.Err()
}

// ErrInjected is an error for [Faults.Fail] that nothing else gives.
var ErrInjected = errors.New("injected failure")

// ID makes the 64 hexadecimal digits of an id of a name.
func ID(name string) string { return digest.FromString(name).Encoded() }

// Buffer is a writer that may be read while others write.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends p.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

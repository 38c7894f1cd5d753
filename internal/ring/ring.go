// SPDX-License-Identifier: Apache-2.0

// Package ring keeps the latest values of a stream for any number of readers,
// each at its own pace.
package ring

import (
	"slices"
	"sync"
)

// Log keeps the latest values that were added. Its methods may be called from
// any goroutine.
type Log[T any] struct {
	mu        sync.Mutex
	limit     int
	kept      []T
	count     uint64 // values ever
	changed   chan struct{}
	listeners int
}

// New returns a log that keeps limit values.
func New[T any](limit int) *Log[T] {
	return &Log[T]{limit: limit, changed: make(chan struct{})}
}

// Add adds a value and wakes the readers. It does not wait for them.
func (l *Log[T]) Add(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, v)
	if len(l.kept) > l.limit {
		l.kept = l.kept[1:]
	}
	l.count++
	close(l.changed)
	l.changed = make(chan struct{})
}

// After returns the values from number n on, the number of the next one and a
// channel that is closed when it comes. lost tells that some of those asked
// for are not kept any more.
func (l *Log[T]) After(n uint64) (batch []T, next uint64, lost bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.count - uint64(len(l.kept))
	lost = n < first
	n = max(n, first)
	return slices.Clone(l.kept[n-first:]), l.count, lost, l.changed
}

// Listen counts a reader in (1) or out (-1) and returns the number of the next
// value.
func (l *Log[T]) Listen(by int) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners += by
	return l.count
}

// Listeners returns how many readers are counted in.
func (l *Log[T]) Listeners() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listeners
}

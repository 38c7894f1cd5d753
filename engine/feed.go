// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"sync"
	"time"
)

// Progress is one step of a job's visible advance. Total 0 is unknown.
type Progress struct {
	Phase          string
	Item           string
	Current, Total uint64
}

// feedLimit bounds the items that a feed remembers; past it the oldest go.
const feedLimit = 1024

// noticeInterval bounds how often progress is announced to watchers of the
// engine: at most four times a second for each job.
const noticeInterval = 250 * time.Millisecond

type feedKey struct{ phase, item string }

// feed keeps the latest state of each (phase, item) of a job in the order of
// their first appearance, for any number of readers. Its memory is bounded by
// the number of items, not of updates.
type feed struct {
	mu       sync.Mutex
	base     int // sequence number of entries[0]
	entries  []Progress
	index    map[feedKey]int // -> sequence number
	latest   Progress
	noticed  time.Time
	closed   bool
	changed  chan struct{} // closed and renewed on each change
	versions []uint64      // of entries, parallel
	version  uint64
}

func newFeed() *feed {
	return &feed{index: map[feedKey]int{}, changed: make(chan struct{})}
}

// put records p and tells whether watchers of the engine should be told.
func (f *feed) put(p Progress) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.version++
	f.latest = p
	k := feedKey{p.Phase, p.Item}
	if seq, ok := f.index[k]; ok && seq >= f.base && k.item != "" {
		f.entries[seq-f.base] = p
		f.versions[seq-f.base] = f.version
	} else {
		f.index[k] = f.base + len(f.entries)
		f.entries = append(f.entries, p)
		f.versions = append(f.versions, f.version)
		f.trim()
	}
	close(f.changed)
	f.changed = make(chan struct{})
	now := time.Now()
	if now.Sub(f.noticed) < noticeInterval {
		return false
	}
	f.noticed = now
	return true
}

func (f *feed) trim() {
	if len(f.entries) <= feedLimit {
		return
	}
	old := f.entries[0]
	if k := (feedKey{old.Phase, old.Item}); f.index[k] == f.base {
		delete(f.index, k)
	}
	f.entries, f.versions = f.entries[1:], f.versions[1:]
	f.base++
}

func (f *feed) last() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.changed)
	}
}

// since returns the entries that changed after version, oldest change first
// for each item's own order, and the version they bring the reader to.
func (f *feed) since(version uint64) (out []Progress, now uint64, closed bool, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, v := range f.versions {
		if v > version {
			out = append(out, f.entries[i])
		}
	}
	return out, f.version, f.closed, f.changed
}

func (f *feed) follow(ctx context.Context, fn func(Progress) error) error {
	var version uint64
	for {
		batch, now, closed, changed := f.since(version)
		version = now
		for _, p := range batch {
			if err := fn(p); err != nil {
				return err
			}
		}
		if closed {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package containerlog

import (
	"encoding/binary"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// minRing is the least that a ring holds: some lines of the greatest length.
const minRing = 64 << 10

// ringHeader is what precedes a record's text in a ring: its length, stream,
// end, part, line, time.
const ringHeader = 4 + 1 + 1 + 4 + 8 + 8

// ring stands between a container and a log that may be slow. What does not
// fit pushes the oldest out.
type ring struct {
	to sink

	mu     sync.Mutex
	more   sync.Cond // a record, or the end
	data   []byte    // mapped; records, one behind the other, go over its end
	head   int       // where the oldest begins
	used   int
	peak   int   // the most bytes of data that were used since it was given back
	lost   bool  // records were pushed out since the last flush
	failed error // of to, since the last flush
	closed bool
	asked  []chan<- string // for the place of what follows
	ended  chan struct{}
}

// lostError tells once a flush that something was lost.
type lostError int

func (e lostError) Error() string {
	return "its buffer of " + strconv.Itoa(int(e)) + " bytes is full (max-buffer-size)"
}

// newWriter puts a ring before the sink when there is to be one.
func newWriter(to sink, buffer int) *Writer {
	if buffer <= 0 {
		return &Writer{to: to}
	}
	size := max(buffer, minRing)
	data, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return &Writer{to: to} // it waits rather than to lose everything
	}
	r := &ring{to: to, data: data, ended: make(chan struct{})}
	r.more.L = &r.mu
	go r.drain()
	return &Writer{to: r}
}

func (r *ring) record(rec *record) error {
	var h [ringHeader]byte
	binary.LittleEndian.PutUint32(h[:], uint32(len(rec.text)))
	h[4] = byte(rec.stream)
	if rec.end {
		h[5] = 1
	}
	binary.LittleEndian.PutUint32(h[6:], uint32(rec.part))
	binary.LittleEndian.PutUint64(h[10:], rec.line)
	binary.LittleEndian.PutUint64(h[18:], uint64(rec.at))
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.used+ringHeader+len(rec.text) > len(r.data) {
		r.drop()
	}
	r.put(h[:])
	r.put(rec.text)
	r.more.Signal()
	return nil
}

// put appends bytes for which there is room.
func (r *ring) put(p []byte) {
	at := r.head + r.used
	if at >= len(r.data) {
		at -= len(r.data)
	}
	n := copy(r.data[at:], p)
	copy(r.data, p[n:])
	r.peak = max(r.peak, at+n)
	r.used += len(p)
}

// get copies the oldest bytes behind skip to p.
func (r *ring) get(p []byte, skip int) {
	at := r.head + skip
	if at >= len(r.data) {
		at -= len(r.data)
	}
	n := copy(p, r.data[at:])
	copy(p[n:], r.data)
}

func (r *ring) advance(n int) {
	r.used -= n
	if r.head += n; r.head >= len(r.data) {
		r.head -= len(r.data)
	}
	if r.used == 0 {
		r.head = 0 // the same few pages, as long as the log keeps up
	}
}

// drop loses the oldest record.
func (r *ring) drop() {
	var size [4]byte
	r.get(size[:], 0)
	r.advance(ringHeader + int(binary.LittleEndian.Uint32(size[:])))
	r.lost = true
}

// flush tells what went wrong since it was last called.
func (r *ring) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.failed
	if err == nil && r.lost {
		err = lostError(len(r.data))
	}
	r.failed, r.lost = nil, false
	return err
}

// idle does nothing: drain knows better when it is.
func (r *ring) idle() {}

// placePatience is how long who wants to know the place waits for the log to have
// what is in the ring.
const placePatience = 2 * time.Second

func (r *ring) place() string {
	answer := make(chan string, 1)
	r.mu.Lock()
	r.asked = append(r.asked, answer)
	r.more.Signal()
	r.mu.Unlock()
	late := time.NewTimer(placePatience)
	defer late.Stop()
	select {
	case place := <-answer:
		return place
	case <-late.C:
		return ""
	}
}

// close waits for the log to have what is in the ring.
func (r *ring) close() error {
	r.mu.Lock()
	r.closed = true
	r.more.Signal()
	r.mu.Unlock()
	<-r.ended
	err := first(r.flush(), r.to.close())
	_ = unix.Munmap(r.data) // it was mapped like this
	return err
}

// drain hands the records on, for as long as the log is open.
func (r *ring) drain() {
	defer close(r.ended)
	text, rec := make([]byte, MaxLine), &record{}
	for r.take(rec, text) {
		if err := r.to.record(rec); err != nil {
			r.fail(err)
		}
	}
}

// take waits for the oldest record and moves it to text.
func (r *ring) take(rec *record, text []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used == 0 {
		r.settle()
	}
	for r.used == 0 {
		for _, asked := range r.asked {
			asked <- r.to.place() // has room for it
		}
		r.asked = nil
		if r.closed {
			return false
		}
		r.more.Wait()
	}
	var h [ringHeader]byte
	r.get(h[:], 0)
	*rec = record{
		text: text[:binary.LittleEndian.Uint32(h[:])], stream: Stream(h[4]), end: h[5] == 1,
		part: int32(binary.LittleEndian.Uint32(h[6:])), line: binary.LittleEndian.Uint64(h[10:]), at: int64(binary.LittleEndian.Uint64(h[18:])),
	}
	r.get(rec.text, ringHeader)
	r.advance(ringHeader + len(rec.text))
	return true
}

// settle has the log write what it has, and gives back what a flood filled;
// r.mu is held, but not while the log writes.
func (r *ring) settle() {
	r.mu.Unlock()
	err := r.to.flush()
	r.to.idle()
	r.mu.Lock()
	r.failed = first(r.failed, err)
	if r.used == 0 && r.peak > minRing {
		_ = unix.Madvise(r.data, unix.MADV_DONTNEED) // refused: it stays resident
		r.peak = 0
	}
}

func (r *ring) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = first(r.failed, err)
}

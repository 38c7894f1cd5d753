// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// pollInterval is used where the user's inotify instances are all taken
// (fs.inotify.max_user_instances, 128 by default).
const pollInterval = 50 * time.Millisecond

// watch tells when the log may have changed.
type watch struct {
	changed chan struct{} // holds one; more changes than one are one
	stop    chan struct{}
	ended   chan struct{}
	file    *os.File // inotify(7); nil: polling
}

// newWatch watches the log's directory: the file itself is replaced when it
// is rotated, and may not be there yet.
func newWatch(path string) *watch {
	w := &watch{changed: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
	if fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err == nil {
		_, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO)
		if err == nil {
			// Non-blocking: the runtime's poller waits, and Close ends the read.
			w.file = os.NewFile(uintptr(fd), "inotify")
			go w.events()
			return w
		}
		unix.Close(fd)
	}
	go w.poll()
	return w
}

// events wakes for every event, of whichever file: beside its log a container
// has next to nothing in its directory.
func (w *watch) events() {
	defer close(w.ended)
	buf := make([]byte, 4096)
	for {
		if _, err := w.file.Read(buf); err != nil {
			return
		}
		w.wake()
	}
}

func (w *watch) poll() {
	defer close(w.ended)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			w.wake()
		}
	}
}

func (w *watch) wake() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watch) close() {
	close(w.stop)
	if w.file != nil {
		w.file.Close()
	}
	<-w.ended
}

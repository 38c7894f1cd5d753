// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// placeEnter mounts davit-enter in the runtime directory, read-only, for two
// reasons. A program in a container may be executed as what executed it, and
// write to that afterwards (CVE-2019-5736): the mount is of a namespace that is
// not the container's, and stays as it is. And the file that the container was
// started with stays the one that enters it, whatever is installed meanwhile.
func (h *holder) placeEnter() error {
	if h.spec.Enter == "" {
		return nil // an older engine's spec: see enter
	}
	place := filepath.Join(h.dir, protocol.EnterPlace)
	f, err := os.OpenFile(place, os.O_CREATE|os.O_RDONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make room for davit-enter: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("cannot make room for davit-enter: %w", err)
	}
	if err := unix.Mount(h.spec.Enter, place, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot mount %s: %w", h.spec.Enter, err)
	}
	const protected = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("", place, "", protected, ""); err != nil {
		return fmt.Errorf("cannot protect %s from containers: %w", h.spec.Enter, err)
	}
	return nil
}

// errExpired says that a program had not begun when its time was over.
var errExpired = errors.New("the time is over")

// enter runs a further program in the container and returns its pid. stdio is the
// program's, as [protocol.OpExec] has it, and closed here, as is session. When expired
// delivers before the program has begun, it is ended, and the error is errExpired.
// The caller has begun with the reaper.
func (h *holder) enter(r *run, stdio []int, session *os.File, expired <-chan time.Time) (int, error) {
	defer protocol.CloseFDs(stdio)
	defer session.Close()
	if h.spec.Enter == "" {
		return 0, &protocol.Error{Kind: protocol.KindUnsupported, Message: "this container was started by an earlier version of the engine: restart it to run further programs in it"}
	}
	record, err := os.Open(filepath.Join(h.dir, protocol.EnterFile))
	if err != nil {
		return 0, fmt.Errorf("cannot read the container's record: %w", err)
	}
	defer record.Close()
	first, err := h.reaper.pidfd(r.pid)
	if errors.Is(err, os.ErrProcessDone) {
		return 0, notRunning()
	} else if err != nil {
		return 0, err
	}
	defer unix.Close(first)
	theirs, reports, err := protocol.Pipe(false)
	if err != nil {
		return 0, err
	}
	defer reports.Close()
	files := []uintptr{uintptr(stdio[0]), uintptr(stdio[0]), uintptr(stdio[0]), uintptr(theirs), record.Fd(), session.Fd(), uintptr(first)}
	for i, fd := range stdio {
		files[i] = uintptr(fd)
	}
	place := filepath.Join(h.dir, protocol.EnterPlace)
	pid, err := syscall.ForkExec(place, []string{"davit-enter", itoa(r.pid)}, &syscall.ProcAttr{Dir: "/", Env: []string{}, Files: files})
	closeFD(theirs)
	if err != nil {
		return 0, fmt.Errorf("cannot run davit-enter: %w", err)
	}
	exited := h.reaper.watch(pid)
	result, over := h.readReports(r, pid, reports, expired)
	if over {
		_ = h.reaper.kill(pid, unix.SIGKILL) // it may have ended
		<-exited
		h.abandon(reports, result)
		return 0, errExpired
	}
	switch {
	case result.Error != nil:
		return 0, result.Error
	case result.Pid == 0:
		return 0, fmt.Errorf("davit-enter ended without a report (exit status %d)", exitCode(<-exited))
	}
	return result.Pid, nil
}

// readReports returns what davit-enter, which is pid, has reported when it and the
// program are done with it; over, when expired has delivered before. It is killed
// when the container ends: the kernel ends what has come to be in there.
func (h *holder) readReports(r *run, pid int, reports *os.File, expired <-chan time.Time) (result protocol.EnterResult, over bool) {
	gone := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-r.ended:
			_ = h.reaper.kill(pid, unix.SIGKILL) // it may have ended
		case <-expired:
			over = true
			_ = reports.SetReadDeadline(time.Unix(1, 0)) // a pipe has deadlines
		case <-gone:
		}
	})
	all := readAll(reports)
	close(gone)
	watcher.Wait()
	return protocol.ParseEnterReports(all), over
}

// abandon ends the program that a killed davit-enter has made, if it has come to
// that. What it said last is still in the pipe.
func (h *holder) abandon(reports *os.File, result protocol.EnterResult) {
	_ = reports.SetReadDeadline(time.Now().Add(outputGrace)) // a pipe has deadlines
	if result.Pid == 0 {
		result = protocol.ParseEnterReports(readAll(reports))
	}
	if result.Pid == 0 {
		return
	}
	exited := h.reaper.watch(result.Pid)
	h.reaper.killGroup(result.Pid)
	<-exited
}

// readAll reads what there is, to the end or the deadline.
func readAll(f *os.File) (all []byte) {
	buf := make([]byte, 512)
	for {
		n, err := f.Read(buf)
		all = append(all, buf[:n]...)
		if n == 0 || err != nil {
			return all
		}
	}
}

// encode returns a file of what davit-enter is to run.
func encode(x *protocol.ExecSpec) (*os.File, error) {
	p, err := x.Encode()
	if err != nil {
		return nil, err
	}
	return linux.Memfile("davit-exec", p)
}

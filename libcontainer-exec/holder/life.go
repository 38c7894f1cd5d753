// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

const (
	// firstDelay doubles at each restart up to maxDelay, and is back after a
	// run of goodRun: Docker's restart manager.
	firstDelay = 100 * time.Millisecond
	maxDelay   = time.Minute
	goodRun    = 10 * time.Second

	// claimTimeout is how long a container that nobody has started waits for
	// the daemon that wanted it.
	claimTimeout = time.Minute
	// fetchTimeout is how long the news of a failed creation waits.
	fetchTimeout = 10 * time.Second
)

// startRequest lets a created container run; the answer goes to done.
type startRequest struct{ done chan<- error }

// live is the container's life. It returns the exit status of the process.
func (h *holder) live() int {
	r, err := h.create()
	if err != nil {
		h.cleanup() // before anybody is told: nothing is left then
		h.reportFailure(err)
		h.drop()
		return 1
	}
	h.setState(func(s *protocol.State) {
		s.Status, s.Pid, s.PidStart, s.Cgroups, s.AppArmor = protocol.Created, r.pid, r.pidStart, r.cgroups, r.appArmor
	})
	close(h.created)
	h.memory.drop() // the monitor will not be read again
	if !h.awaitStart(r) {
		// Nobody was told of a container: nothing of it stays.
		_ = r.signal(unix.SIGKILL)
		h.finish(r)
		h.cleanup()
		h.drop()
		return 0
	}
	exit := h.runUntilFinal(r)
	h.recordExit(exit)
	if h.isStopping() {
		return 0
	}
	return exit.Code
}

// create prepares the host and makes the container for the first time.
func (h *holder) create() (*run, error) {
	if err := h.enterCgroup(); err != nil {
		return nil, err
	}
	if err := mountRootfs(h.spec.Rootfs, filepath.Join(h.dir, "layers")); err != nil {
		return nil, err
	}
	if err := h.placeEnter(); err != nil {
		return nil, err
	}
	if err := h.openLog(); err != nil {
		return nil, err
	}
	return h.newRun()
}

// reportFailure keeps the reason for whoever asked for the container.
func (h *holder) reportFailure(err error) {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		h.createErr = e
	} else {
		h.createErr = &protocol.Error{Message: err.Error()}
	}
	close(h.created)
	h.notify.send("STATUS=Cannot create the container: " + oneLine(err.Error()))
	timer := time.NewTimer(fetchTimeout)
	defer timer.Stop()
	select {
	case <-h.fetched:
	case <-timer.C:
	}
}

// oneLine keeps a message from being read as further assignments.
func oneLine(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' {
			b[i] = ' '
		}
	}
	return string(b)
}

// awaitStart waits for the daemon to start the container. It returns false
// when that cannot come any more.
func (h *holder) awaitStart(r *run) bool {
	claim := time.NewTimer(claimTimeout)
	defer claim.Stop()
	for {
		select {
		case req := <-h.started:
			err := h.start(r)
			req.done <- err
			h.memory.drop()
			return err == nil
		case <-r.ended: // killed by hand
			return false
		case <-h.stopped:
			return false
		case <-h.idle:
			if h.connections() == 0 {
				return false
			}
		case <-claim.C:
			if h.connections() == 0 {
				return false
			}
		}
	}
}

// start executes the program of a created run.
func (h *holder) start(r *run) error {
	if err := r.start(); err != nil {
		return fmt.Errorf("cannot start the container: %w", err)
	}
	h.setState(func(s *protocol.State) {
		s.Status, s.Pid, s.PidStart, s.StartedAt, s.Exit, s.Cgroups = protocol.Running, r.pid, r.pidStart, r.startedAt, nil, r.cgroups
		s.AppArmor = r.appArmor
		if h.spec.Health != nil {
			s.Health = &protocol.Health{Status: protocol.Starting}
		}
	})
	if h.spec.Health != nil {
		r.checked = make(chan struct{})
		h.background.Go(r.watchHealth)
	}
	h.notify.send("READY=1\nSTATUS=Running")
	h.memory.settle()
	return nil
}

// runUntilFinal waits for the exits of the started run r and those that the
// restart policy makes follow, and returns the last.
func (h *holder) runUntilFinal(r *run) *protocol.Exit {
	delay := firstDelay
	for {
		<-r.ended
		if r.lasted() >= goodRun {
			delay = firstDelay
		}
		exit := r.exit()
		exit.Restarts = h.restarts()
		if !h.restartWanted(exit) {
			h.writeExit(exit) // first of all: whatever is killed now, the code is known
			h.finish(r)
			return exit
		}
		h.finish(r)
		h.setState(func(s *protocol.State) { s.Status, s.Pid, s.PidStart, s.Exit = protocol.Restarting, 0, 0, exit })
		h.notify.send("STATUS=Exited with code " + itoa(exit.Code) + ", to be restarted")
		if !h.pause(delay) {
			h.writeExit(exit)
			return exit
		}
		delay = min(2*delay, maxDelay)
		next, err := h.again()
		if err != nil && h.isStopping() {
			h.writeExit(exit) // what cut the next run short was asked for, and is no failure
			return exit
		}
		if err != nil {
			exit = &protocol.Exit{Code: failureCode, At: time.Now(), Error: err.Error(), StartedAt: exit.StartedAt, Restarts: h.restarts()}
			h.writeExit(exit)
			return exit
		}
		r = next
	}
}

// failureCode is the code of a container that could not be started, as of the
// docker CLI when it is the engine's fault.
const failureCode = 128

// pause waits for d; false when the container is to end instead.
func (h *holder) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-h.stopped:
		return false
	}
}

// again makes and starts the container's next run.
func (h *holder) again() (*run, error) {
	r, err := h.newRun()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.state.Restarts++
	h.mu.Unlock()
	if err := h.start(r); err != nil {
		_ = r.signal(unix.SIGKILL)
		<-r.ended
		h.finish(r)
		return nil, err
	}
	return r, nil
}

// isStopping says whether the container was told to end.
func (h *holder) isStopping() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stopping
}

func (h *holder) restarts() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state.Restarts
}

// restartWanted applies the restart policy.
func (h *holder) restartWanted(exit *protocol.Exit) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return false
	}
	switch h.spec.Restart {
	case "always", "unless-stopped":
		return true
	case "on-failure":
		return exit.Code != 0 && (h.spec.MaxRetries == 0 || h.state.Restarts < h.spec.MaxRetries)
	}
	return false
}

// finish ends what belonged to one run: streams, cgroups, libcontainer's state.
func (h *holder) finish(r *run) {
	<-r.ended
	if r.checked != nil {
		<-r.checked // a monitor that it runs must not find the cgroup gone
	}
	r.drain(drainTimeout)
	h.endClients()
	if h.log != nil {
		if err := h.log.Flush(); err != nil {
			h.complain("cannot write the log", err)
		}
	}
	h.mu.Lock()
	h.run = nil
	h.mu.Unlock()
	h.removeState(r.cgroups)
}

// removeState removes libcontainer's state and the cgroups, so that a
// container of the same name can be made.
func (h *holder) removeState(cgroups map[string]string) {
	h.removeCgroups(cgroups)
	if err := os.RemoveAll(filepath.Join(h.dir, protocol.RuncRoot)); err != nil {
		h.complain("cannot remove libcontainer's state", err)
	}
}

// writeExit makes the exit known to whoever comes later.
func (h *holder) writeExit(exit *protocol.Exit) {
	if err := protocol.WriteFile(filepath.Join(h.dir, protocol.ExitFile), exit); err != nil {
		h.complain("cannot record the exit", err)
	}
}

// recordExit cleans the host up and tells of the exit, which is in exit.json
// already. Whoever is told may rely on nothing being left but this process.
func (h *holder) recordExit(exit *protocol.Exit) {
	h.cleanup()
	_ = os.Remove(filepath.Join(h.dir, protocol.SocketFile)) // a new client would be too late
	h.setState(func(s *protocol.State) {
		s.Status, s.Pid, s.PidStart, s.Exit, s.Cgroups = protocol.Exited, 0, 0, exit, nil
	})
	h.notify.send("STOPPING=1\nSTATUS=Exited with code " + itoa(exit.Code))
}

// cleanup undoes what create did. It is idempotent.
func (h *holder) cleanup() {
	h.unmount(filepath.Join(h.dir, protocol.ShmDir), "another container's /dev/shm") // a monitor that was killed left it
	if h.log != nil {
		if err := h.log.Close(); err != nil {
			h.complain("cannot close the log", err)
		}
		h.log = nil
	}
	h.removeState(nil)
	h.unmount(h.spec.Rootfs.Target, "the root file system")
	h.unmount(filepath.Join(h.dir, protocol.EnterPlace), "davit-enter")
	// Others may look for a volume there as long as this process lives.
	if err := protocol.UnmountPlaces(filepath.Dir(filepath.Dir(h.dir))); err != nil {
		h.complain("cannot unmount volumes", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	protocol.CloseFDs(h.hold)
	h.hold = nil
	if h.netns != nil {
		_ = h.netns.Close()
		h.netns = nil
	}
}

// unmount unmounts what may be mounted at a path.
func (h *holder) unmount(path, what string) {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		h.complain("cannot unmount "+what, err)
	}
}

// drop removes the runtime directory of a container that never ran, but for
// what a failure had to say.
func (h *holder) drop() {
	for _, name := range []string{protocol.SocketFile, protocol.StateFile, protocol.SpecFile} {
		_ = os.Remove(filepath.Join(h.dir, name))
	}
	if info, err := os.Stat(filepath.Join(h.dir, protocol.LogFile)); err == nil && info.Size() > 0 {
		return
	}
	_ = os.RemoveAll(h.dir)
}

func itoa(n int) string {
	if n < 0 {
		return "-" + itoa(-n)
	}
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

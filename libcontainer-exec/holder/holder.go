// SPDX-License-Identifier: Apache-2.0

// Package holder is the process that stays for a container's whole life: it
// is the parent of the container's processes, owns their streams and the log,
// answers the daemon, applies the restart policy and records the exit. It
// needs no daemon to do so.
//
// It runs in a mount namespace of its own, which its launcher makes, and
// mounts the root file system there: the mount goes when the holder goes.
package holder

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/davit-engine/davit/internal/containerlog"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

type holder struct {
	dir     string
	spec    protocol.Holder
	id      string
	cgroup  string // of the container, absolute below the hierarchies' roots
	reaper  *reaper
	notify  notifier
	log     *containerlog.Writer // nil without a log
	seam    sync.Mutex           // held while output is logged and it is seen who else gets it
	stderr  *os.File
	warning string   // begins what complain writes
	held    *os.File // keeps the container locked to this process

	started  chan startRequest
	idle     chan struct{} // a connection ended, and it was the last
	stopped  chan struct{} // closed when the container is to end for good
	limiting sync.Mutex    // held while a run is made, or limited
	created  chan struct{} // closed when createErr says how it went
	fetched  chan struct{} // somebody was told that it failed
	stopOnce sync.Once

	createErr *protocol.Error // written before created is closed

	mu       sync.Mutex
	state    protocol.State
	run      *run // nil when no process exists
	clients  []*client
	conns    map[*conn]struct{}
	execs    map[string]*session
	hold     []int // sockets that reserve published ports, never read
	netns    *os.File
	stopping bool // no restart policy applies any more
	leaving  bool // no connection is served any more

	background sync.WaitGroup // goroutines that end with the container

	probes []protocol.ProbeResult // the latest; the running probe's
	memory memory
}

// Main holds the container with the given id until its final exit and returns
// the exit status of the process: the container's own, or 0 when somebody
// asked it to end.
func Main(id string) int {
	// Where stderr is the journal, lines begin with their priority
	// (sd-daemon(3)). open clears the environment.
	failure, warning := "", ""
	if os.Getenv("JOURNAL_STREAM") != "" {
		failure, warning = "<3>", "<4>"
	}
	h, err := open(id)
	if err != nil {
		fmt.Fprintln(os.Stderr, failure+"davit-holder:", err)
		return 1
	}
	h.warning = warning
	return h.serve()
}

// open reads the environment and the spec, and takes leave of both.
func open(id string) (*holder, error) {
	if !isID(id) {
		return nil, errors.New("the argument must be a container's id, 64 hexadecimal digits")
	}
	root := os.Getenv(protocol.EnvExecRoot)
	if !filepath.IsAbs(root) {
		return nil, errors.New(protocol.EnvExecRoot + " must name the engine's runtime directory")
	}
	h := &holder{
		dir: filepath.Join(root, protocol.ContainersD, id), id: id,
		notify:  notifier(os.Getenv("NOTIFY_SOCKET")),
		started: make(chan startRequest), idle: make(chan struct{}, 1),
		stopped: make(chan struct{}), created: make(chan struct{}), fetched: make(chan struct{}, 1),
		conns: map[*conn]struct{}{}, execs: map[string]*session{},
		reaper: newReaper(), stderr: os.Stderr,
	}
	listener := os.Getenv(protocol.EnvSocketFD)
	os.Clearenv() // nothing of systemd's contract with us is the container's
	held, err := protocol.Hold(h.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot become the container's monitor: %w", err)
	}
	h.held = held
	var spec protocol.HolderSpec
	if err := protocol.ReadFile(filepath.Join(h.dir, protocol.SpecFile), &spec); err != nil {
		return nil, fmt.Errorf("cannot read the spec: %w", err)
	}
	h.spec = spec.Holder
	if err := becomeSupervisor(); err != nil {
		return nil, err
	}
	fd, err := h.listen(listener)
	if err != nil {
		return nil, fmt.Errorf("cannot serve the socket: %w", err)
	}
	return h, h.accept(fd)
}

func isID(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(id) == 64
}

// becomeSupervisor makes this process the one that inherits the container's
// processes, and keeps its mounts to itself.
func becomeSupervisor() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become a child subreaper: %w", err)
	}
	unix.Umask(0o022)
	// Among the last that the kernel kills for want of memory; refused without
	// CAP_SYS_RESOURCE. Each process of the container has its score set.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-500"), 0)
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return fmt.Errorf("cannot tell the own mount namespace: %w", err)
	}
	// The launcher's namespace is visible to root as long as the launcher
	// lives; when it does not, it was not us who could have mounted into it.
	if parent, err := os.Readlink("/proc/" + strconv.Itoa(os.Getppid()) + "/ns/mnt"); err == nil && parent == own {
		return errors.New("must be started in a mount namespace of its own (davitd does so, or PrivateMounts= of its unit)")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("cannot keep mounts from propagating: %w", err)
	}
	return nil
}

// listen takes over the socket that the launcher made, or makes it.
func (h *holder) listen(inherited string) (int, error) {
	if inherited == "" {
		return protocol.Listen(filepath.Join(h.dir, protocol.SocketFile))
	}
	fd, err := strconv.Atoi(inherited)
	if err != nil {
		return -1, fmt.Errorf("%s is not a descriptor: %w", protocol.EnvSocketFD, err)
	}
	unix.CloseOnExec(fd)
	return fd, unix.SetNonblock(fd, true)
}

// serve runs the container from its creation to its final exit.
func (h *holder) serve() int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go h.watchSignals(signals)
	code := h.live()
	h.closeConns()
	return code
}

// watchSignals runs as long as the process. SIGHUP is caught to be ignored:
// an ignored one would be inherited.
func (h *holder) watchSignals(signals <-chan os.Signal) {
	for s := range signals {
		switch s {
		case unix.SIGCHLD:
			h.reaper.reap()
		case unix.SIGTERM, unix.SIGINT:
			h.notify.send("STOPPING=1\nSTATUS=Stopping the container")
			h.background.Go(h.stopGracefully)
		}
	}
}

// stopGracefully is what systemctl stop asks for: the stop signal, the stop
// timeout, SIGKILL.
func (h *holder) stopGracefully() {
	r := h.requestStop()
	if r == nil {
		return
	}
	if r.end(syscall.Signal(h.spec.StopSignal), true) != nil {
		return
	}
	timer := time.NewTimer(h.spec.StopTimeout)
	defer timer.Stop()
	select {
	case <-r.ended:
	case <-timer.C:
		_ = r.end(unix.SIGKILL, true) // it has ended, or does now
	}
}

// requestStop switches the restart policy off, ends a wait for the next run,
// and returns the current run, if there is one.
func (h *holder) requestStop() *run {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
	h.stopOnce.Do(func() { close(h.stopped) })
	return h.run
}

// setState records a change and tells the subscribers, in this order.
func (h *holder) setState(change func(*protocol.State)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.state)
	h.state.Holder = os.Getpid()
	if err := protocol.WriteFile(filepath.Join(h.dir, protocol.StateFile), &h.state); err != nil {
		h.complain("cannot record the state", err)
	}
	state := h.state
	for c := range h.conns {
		c.publish(&state)
	}
}

// complain is for what nobody waits to hear: it goes to the unit's journal, or
// to monitor.log.
func (h *holder) complain(what string, err error) {
	_, _ = h.stderr.WriteString(h.warning + "davit-holder: " + what + ": " + err.Error() + "\n")
}

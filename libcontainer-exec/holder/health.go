// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

const (
	// notRun is the exit code of a probe that did not end in time, or could not
	// be run: Docker's.
	notRun = -1
	// outputGrace is how long a process that a probe left behind may keep the
	// pipe of its output open.
	outputGrace = 100 * time.Millisecond
)

// watchHealth runs the container's healthcheck, one probe at a time, until the
// run ends. The rules are Docker's.
func (r *run) watchHealth() {
	defer close(r.checked)
	timer := time.NewTimer(r.probeInterval())
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-r.ended:
			return
		}
		if r.probe() {
			r.h.memory.probed()
		}
		timer.Reset(r.probeInterval())
	}
}

// probeInterval is the time to the next probe.
func (r *run) probeInterval() time.Duration {
	check := r.h.spec.Health
	if time.Since(r.startedAt) < check.StartPeriod && r.h.health().Status == protocol.Starting {
		return check.StartInterval
	}
	return check.Interval
}

// pauses returns how often the run was paused, and whether it is. Both at once:
// a pause that came between the two would not be seen.
func (r *run) pauses() (times int, now bool) {
	r.freezing.Lock()
	defer r.freezing.Unlock()
	return r.freezes, r.frozen
}

// probe runs the healthcheck once and draws the conclusion; false when the
// container is paused. A probe that its end or a pause came into says nothing.
func (r *run) probe() bool {
	h := r.h
	before, paused := r.pauses()
	if paused {
		return false
	}
	id, err := newProbeID()
	if err != nil {
		h.complain("cannot run the healthcheck", err)
		return true
	}
	h.announce(&protocol.Probe{ID: id})
	result := protocol.ProbeResult{Start: time.Now()}
	result.ExitCode, result.Output = r.runProbe()
	result.End = time.Now()
	select {
	case <-r.ended:
		return true
	default:
	}
	after, _ := r.pauses()
	counts := result.ExitCode == 0 || after == before
	if counts {
		h.keepResult(&result)
	}
	h.announce(&protocol.Probe{ID: id, Ended: true, ExitCode: result.ExitCode})
	if counts {
		h.judge(&result, r.startedAt)
	}
	return true
}

// runProbe returns the exit code of a probe, and the beginning of its output.
func (r *run) runProbe() (int, []byte) {
	h := r.h
	timer := time.NewTimer(h.spec.Health.Timeout)
	defer timer.Stop()
	exceeded := "Health check exceeded timeout (" + h.spec.Health.Timeout.String() + ")"
	pid, exited, output, err := r.startProbe(timer.C)
	switch {
	case errors.Is(err, errExpired):
		return notRun, []byte(exceeded)
	case err != nil:
		return notRun, []byte(err.Error())
	}
	defer output.Close()
	read := make(chan []byte, 1)
	h.background.Go(func() { read <- r.readOutput(output) })
	h.memory.drop() // what started it is not what tells of it
	code, prefix := notRun, ""
	select {
	case status := <-exited:
		code = exitCode(status)
	case <-timer.C:
		h.reaper.killGroup(pid)
		<-exited
		prefix = exceeded
	case <-r.ended:
		h.reaper.killGroup(pid)
		<-exited
	}
	_ = output.SetReadDeadline(time.Now().Add(outputGrace))
	said := <-read
	if prefix != "" && len(said) > 0 {
		prefix += ": "
	}
	if prefix == "" {
		return code, said
	}
	return code, append([]byte(prefix), said...)
}

// startProbe starts a probe, and returns the end of the pipe that brings both
// its outputs. A probe that has not begun when expired delivers is ended, with the
// error errExpired.
func (r *run) startProbe(expired <-chan time.Time) (pid int, exited <-chan syscall.WaitStatus, output *os.File, err error) {
	h := r.h
	session, err := encode(&protocol.ExecSpec{Args: h.spec.Health.Args})
	if err != nil {
		return 0, nil, nil, err
	}
	stdio, output, err := probeStdio()
	if err != nil {
		return 0, nil, nil, errors.Join(err, session.Close())
	}
	h.reaper.begin()
	defer h.reaper.end()
	pid, err = h.enter(r, stdio, session, expired)
	if err != nil {
		_ = output.Close()
		return 0, nil, nil, err
	}
	return pid, h.reaper.watch(pid), output, nil
}

// probeStdio makes the three descriptors of a probe, and the reading end of its
// outputs.
func probeStdio() ([]int, *os.File, error) {
	in, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	out, output, err := protocol.Pipe(false)
	if err != nil {
		_ = unix.Close(in)
		return nil, nil, err
	}
	again, err := unix.FcntlInt(uintptr(out), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		protocol.CloseFDs([]int{in, out})
		return nil, nil, errors.Join(err, output.Close())
	}
	return []int{in, out, again}, output, nil
}

// readOutput returns what there is to keep of an output, and reads the rest so
// that nobody waits for it to be read. It is called by one probe at a time.
func (r *run) readOutput(f *os.File) []byte {
	if r.probeOutput == nil {
		r.probeOutput = make([]byte, protocol.MaxProbeOutput+smallChunk)
	}
	buf, rest := r.probeOutput[:protocol.MaxProbeOutput], r.probeOutput[protocol.MaxProbeOutput:]
	kept := 0
	for {
		into := buf[kept:]
		if len(into) == 0 {
			into = rest
		}
		n, err := f.Read(into)
		if kept < len(buf) {
			kept += n
		}
		if err != nil {
			return bytes.Clone(buf[:kept])
		}
	}
}

// keepResult adds a result to the record of the latest ones.
func (h *holder) keepResult(result *protocol.ProbeResult) {
	if len(h.probes) == protocol.MaxProbes {
		h.probes = h.probes[:copy(h.probes, h.probes[1:])]
	}
	h.probes = append(h.probes, *result)
	if err := protocol.WriteFile(filepath.Join(h.dir, protocol.HealthFile), h.probes); err != nil {
		h.complain("cannot record the result of the healthcheck", err)
	}
}

// judge draws the conclusion from a probe, and tells it if it is news.
func (h *holder) judge(result *protocol.ProbeResult, startedAt time.Time) {
	check, before := h.spec.Health, h.health()
	after := before
	switch {
	case result.ExitCode == 0:
		after = protocol.Health{Status: protocol.Healthy}
	case before.Status == protocol.Starting && result.Start.Sub(startedAt) < check.StartPeriod:
	default:
		if after.FailingStreak++; after.FailingStreak >= check.Retries {
			after.Status = protocol.Unhealthy
		}
	}
	if after != before {
		h.setState(func(s *protocol.State) { s.Health = &after })
	}
}

// health returns what the healthcheck says so far. There must be one.
func (h *holder) health() protocol.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	return *h.state.Health
}

// announce tells the subscribers of a probe.
func (h *holder) announce(p *protocol.Probe) {
	h.mu.Lock()
	defer h.mu.Unlock()
	state := h.state
	state.Probe = p
	for c := range h.conns {
		c.publish(&state)
	}
}

// newProbeID returns 64 hexadecimal digits.
func newProbeID() (string, error) {
	const digits = "0123456789abcdef"
	var random [32]byte
	if _, err := unix.Getrandom(random[:], 0); err != nil {
		return "", os.NewSyscallError("getrandom", err)
	}
	id := make([]byte, 0, 2*len(random))
	for _, b := range random {
		id = append(id, digits[b>>4], digits[b&15])
	}
	return string(id), nil
}

// SPDX-License-Identifier: Apache-2.0

package script

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
	"golang.org/x/sys/unix"
)

// TestLifeIsTold follows what a daemon tells its service manager, from start
// over reloads, good and bad, to the end.
func TestLifeIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "daemon.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"labels": ["a=1"]}`)
	s := supervise(t, "--config-file", file)
	s.spawn(t)
	if m := s.until(t, "READY=1"); field(m, "STATUS") != "Listening on 1 socket; 0 containers, 0 running" {
		t.Errorf("ready was told as %q", m)
	}
	for _, phase := range []string{"Opening sockets", "Restoring containers", "Setting up the network", "Checking that all answers"} {
		if s.said("STATUS="+phase) != 1 {
			t.Errorf("the phase %q was not told once, but %q", phase, s.all())
		}
	}
	s.mustDocker(t, "run", "-d", "--name", "web", "busybox", "sleep", "1000")
	testutil.Eventually(t, patience, "the status to follow", func() bool { return s.said("STATUS=Listening on 1 socket; 1 container, 1 running") > 0 })

	labels := func() string { return s.mustDocker(t, "info", "--format", "{{.Labels}}") }
	reload := func() (reloading, done string) {
		t.Helper()
		s.signal(t, syscall.SIGHUP)
		return s.until(t, "RELOADING=1"), s.until(t, "READY=1")
	}
	write(`{"labels": ["b=2"], "dns": ["192.0.2.53"]}`)
	began, done := reload()
	usec, _ := strconv.ParseInt(field(began, "MONOTONIC_USEC"), 10, 64)
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	if age := now.Nano()/1000 - usec; age < 0 || age > 10e6 {
		t.Errorf("the reload began as %q, %d us ago", began, age)
	}
	if !strings.HasPrefix(field(done, "STATUS"), "Listening on") || labels() != "[b=2]" {
		t.Errorf("the reload ended as %q, labels are %s\n%s", done, labels(), s.tail())
	}
	for _, bad := range []struct{ text, want string }{
		{"{\n \"labels\": [\"c=3\"],\n \"dns\": [\"nonsense\"]\n}", "line 3: invalid dns \"nonsense\""},
		{"{\n \"labels\": [\"c=3\"],\n}", "line 3: invalid character"},
		{`{"labels": ["c=3"], "certs-dir": "/elsewhere", "mtu": 9000}`, "mtu, certs-dir cannot change while the daemon runs"},
		{`{"labels": ["c=3"], "idle-exit": "soon"}`, "line 1: idle-exit: invalid time span"},
		{`{"labels": ["c=3"], "Dns": []}`, `there is no key "Dns"`},
		{`{"labels": ["c=3"], "labels": []}`, "labels is given twice"},
		{`{"labels": "c=3"}`, "labels is of type array, and must not be a string"},
	} {
		write(bad.text)
		_, done := reload()
		if got := field(done, "STATUS"); !strings.HasPrefix(got, "Reload failed: ") || !strings.Contains(got, bad.want) {
			t.Errorf("%s: told was %q, want %q", bad.text, got, bad.want)
		}
		if got := labels(); got != "[b=2]" {
			t.Errorf("%s: labels are %s", bad.text, got)
		}
	}
	write(`{"labels": ["d=4"]}`)
	if reload(); labels() != "[d=4]" {
		t.Errorf("labels are %s", labels())
	}
	if a, b := s.said("RELOADING=1"), s.said("READY=1"); a != 9 || b != 10 {
		t.Errorf("%d reloads were told and %d times ready, want 9 and 10", a, b)
	}

	s.slowStop(t)
	s.signal(t, syscall.SIGTERM)
	if m := s.until(t, "STOPPING=1"); field(m, "STATUS") != "Waiting for 1 job" {
		t.Errorf("the end was told as %q", m)
	}
	if err := <-s.exited; err != nil {
		t.Error(err)
	}
	s.daemon = nil
	if n := s.said("STOPPING=1"); n != 1 {
		t.Errorf("it was told %d times that the daemon stops", n)
	}
}

// TestReloadsAreSerialised sends many signals: each reload that is told begins
// after the one before it has ended.
func TestReloadsAreSerialised(t *testing.T) {
	s := supervise(t)
	s.spawn(t)
	s.until(t, "READY=1")
	for range 20 {
		s.signal(t, syscall.SIGHUP)
	}
	s.until(t, "RELOADING=1")
	s.mustDocker(t, "version")
	s.signal(t, syscall.SIGTERM)
	<-s.exited
	s.daemon = nil
	var order []string
	for _, m := range s.all() {
		for _, line := range []string{"RELOADING=1", "READY=1"} {
			if strings.HasPrefix(m, line+"\n") {
				order = append(order, line)
			}
		}
	}
	for i, line := range order {
		if want := []string{"READY=1", "RELOADING=1"}[i%2]; line != want {
			t.Fatalf("told was %q", order)
		}
	}
}

// TestFatalIsTold: what keeps the daemon from starting is told with its errno
// and its name on the bus.
func TestFatalIsTold(t *testing.T) {
	s := supervise(t)
	file := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(file, []byte("{\n\"mtu\": \"many\"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags        []string
		code         int
		status, name string
		errno        syscall.Errno
	}{
		{[]string{"--config-file", file}, 64, "line 2: mtu is of type number, and must not be a string", "InvalidConfiguration", syscall.EINVAL},
		{[]string{"--config-file", file + "2"}, 64, "no such file", "InvalidConfiguration", syscall.ENOENT},
		{[]string{"--data-root", "/proc/nowhere"}, 1, "cannot make directory", "Failed", syscall.ENOENT},
	} {
		s.flags = c.flags
		s.spawn(t)
		code := exitCode(<-s.exited)
		s.daemon = nil
		m := s.until(t, "ERRNO")
		if code != c.code || !strings.Contains(field(m, "STATUS"), c.status) || field(m, "BUSERROR") != "org.davit.Engine1."+c.name || field(m, "ERRNO") != strconv.Itoa(int(c.errno)) {
			t.Errorf("%v: exit status %d, told was %q", c.flags, code, m)
		}
		if s.said("READY=1") != 0 {
			t.Error("it said that it is ready")
		}
	}
	s.flags = nil
}

// TestJobIDsGoOnAfterACrash and, unlike them, not after an orderly stop, which
// has systemd close what it keeps.
func TestJobIDsGoOnAfterACrash(t *testing.T) {
	s := supervise(t)
	s.spawn(t)
	s.until(t, "READY=1")
	first := s.job(t)
	for range 2 {
		last := s.job(t)
		if last <= first {
			t.Errorf("job %d came after job %d", last, first)
		}
		_ = s.end(t, syscall.SIGKILL)
		if f := s.store["stored-state"]; f == nil {
			t.Fatalf("nothing is kept, told was %q", s.all())
		}
		s.spawn(t)
		s.until(t, "READY=1")
		if first = s.job(t); first <= last {
			t.Errorf("after the crash job %d came after job %d", first, last)
		}
	}
	_ = s.end(t, syscall.SIGKILL)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	s.store["stored-state"].Close()
	s.store["stored-state"], s.store["stored-unknown"] = null, null
	s.spawn(t)
	s.until(t, "READY=1")
	if n := s.said("FDNAME=stored-unknown"); n != 1 || s.store["stored-unknown"] != nil {
		t.Errorf("what is unknown was not dropped, but %q", s.all())
	}
	if id := s.job(t); id >= first {
		t.Errorf("job %d came though what was kept is garbage", id)
	}
	if !strings.Contains(s.tail(), "the ids of jobs may begin anew") {
		t.Errorf("no warning in\n%s", s.tail())
	}
}

// TestHungDaemonIsDumpedAndNotFed: a job that hangs with the engine's lock.
func TestHungDaemonIsDumpedAndNotFed(t *testing.T) {
	s := supervise(t)
	s.env = []string{"WATCHDOG_USEC=6000000", "DAVIT_FAILPOINT=hang"}
	s.spawn(t)
	s.until(t, "READY=1")
	s.until(t, "WATCHDOG=1")
	s.until(t, "WATCHDOG=1")
	s.signal(t, syscall.SIGUSR2)
	testutil.Eventually(t, patience, "the stacks to be logged", func() bool {
		_, log, _ := strings.Cut(s.wholeLog(t), "the fault comes now")
		return strings.Contains(log, "the stacks of all goroutines follow")
	})
	fed := s.said("WATCHDOG=1")
	// Long enough for a ping too many, and what systemd does then.
	time.AfterFunc(4*time.Second, func() { _ = s.daemon.Process.Signal(syscall.SIGABRT) })
	if code := exitCode(<-s.exited); code != 2 {
		t.Errorf("exit status %d, want 2: Go's for an abort", code)
	}
	s.daemon = nil
	if n := s.said("WATCHDOG=1"); n != fed {
		t.Errorf("it was fed %d times after it hung", n-fed)
	}
	_, log, _ := strings.Cut(s.wholeLog(t), "the fault comes now")
	if n := strings.Count(log, "the stacks of all goroutines follow"); n != 1 {
		t.Errorf("the stacks were logged %d times", n)
	}
	own, aborted, _ := strings.Cut(log, "SIGABRT: abort")
	for name, text := range map[string]string{"before the kill": own, "by the abort": aborted} {
		if !strings.Contains(text, "newJob") || strings.Count(text, "\ngoroutine ") < 10 {
			t.Errorf("%s: the stacks do not show where it hangs:\n%s", name, text[max(0, len(text)-3000):])
		}
	}
	s.env = nil
	s.spawn(t) // over what it left
	s.until(t, "READY=1")
}

// wholeLog is the whole log, of all daemons.
func (s *supervisor) wholeLog(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "davitd.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestCorruptDaemonIsEndedAtOnce does not wait for the watchdog's interval.
func TestCorruptDaemonIsEndedAtOnce(t *testing.T) {
	s := supervise(t)
	s.env = []string{"WATCHDOG_USEC=3000000", "DAVIT_FAILPOINT=corrupt"}
	s.spawn(t)
	s.until(t, "WATCHDOG=1")
	s.signal(t, syscall.SIGUSR2)
	if m := s.until(t, "WATCHDOG=trigger"); !strings.Contains(m, "corrupt") {
		t.Errorf("told was %q", m)
	}
	s.env = nil
}

// TestSlowStartAsksForTime of systemd, and says what it does.
func TestSlowStartAsksForTime(t *testing.T) {
	s := supervise(t)
	s.env = []string{"DAVIT_FAILPOINT=slow-start=11s"}
	s.spawn(t)
	began := time.Now()
	s.until(t, "STATUS=Waiting, as a test asked for")
	s.until(t, "EXTEND_TIMEOUT_USEC=30000000")
	if took := time.Since(began); took < 9*time.Second {
		t.Errorf("it asked after %v", took)
	}
	s.until(t, "READY=1")
	s.env = nil
}

// TestIdleExitNeedsAnActivator refuses what would end the daemon for good.
func TestIdleExitNeedsAnActivator(t *testing.T) {
	testutil.RequireRoot(t)
	dir := t.TempDir()
	out, code := davitd(t, "--idle-exit=10min", "-H", "unix://"+dir+"/s", "--data-root", dir+"/lib", "--exec-root", dir+"/run")
	if code != 64 || !strings.Contains(out, "idle-exit needs a daemon that systemd started") {
		t.Errorf("exit status %d: %s", code, out)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
		t.Errorf("made %v", left)
	}
}

// idleBus is a bus that starts the engine for a call by way of the supervisor.
const idleBus = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=DIR/bus</listen><auth>EXTERNAL</auth><servicedir>DIR/services</servicedir>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="*"/><allow receive_type="*"/>
<allow send_destination="*" eavesdrop="true"/></policy></busconfig>`

// startBus runs the bus; its activations are written to the file DIR/wanted.
func (s *supervisor) startBus(t *testing.T) {
	t.Helper()
	for name, text := range map[string]string{
		"bus.conf":                           strings.ReplaceAll(idleBus, "DIR", s.dir),
		"services/org.davit.Engine1.service": "[D-BUS Service]\nName=org.davit.Engine1\nExec=/bin/sh -c 'echo >>" + s.dir + "/wanted'\n",
	} {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("dbus-daemon", "--config-file="+s.dir+"/bus.conf", "--nofork")
	if err := c.Start(); err != nil {
		t.Skip("needs dbus-daemon:", err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	testutil.Eventually(t, patience, "the bus", func() bool {
		_, err := os.Stat(s.dir + "/bus")
		return err == nil
	})
	s.env = append(s.env, "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+s.dir+"/bus")
}

// wanted tells whether somebody waits in the socket, or called on the bus.
func (s *supervisor) wanted(calls *int64) bool {
	fds := []unix.PollFd{{Fd: int32(s.listener.Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 5); n > 0 && err == nil {
		return true
	}
	st, err := os.Stat(s.dir + "/wanted")
	if err != nil || st.Size() == *calls {
		return false
	}
	*calls = st.Size()
	return true
}

// respawn starts a daemon each time that one is wanted and none runs, until
// stop is closed and the last one has ended. It returns how many there were
// and what went wrong with them.
func (s *supervisor) respawn(t *testing.T, stop <-chan struct{}) (count int, errs error) {
	var calls int64
	for {
		select {
		case <-stop:
			return count, errs
		default:
		}
		if !s.wanted(&calls) {
			continue
		}
		count++
		s.spawn(t)
		if err := <-s.exited; err != nil {
			errs = errors.Join(errs, fmt.Errorf("daemon %d: %w", count, err))
		}
		// Calls that came while it ran were for it.
		if st, err := os.Stat(s.dir + "/wanted"); err == nil && s.said("STOPPING=1") == 0 {
			calls = st.Size()
		}
	}
}

// TestIdleExitLosesNoCall makes 200 calls one after the other, by three
// clients, to an engine that exits as soon as it has nothing to do.
func TestIdleExitLosesNoCall(t *testing.T) {
	s := supervise(t, "--idle-exit=30ms")
	s.startBus(t)
	stop, ended := make(chan struct{}), make(chan struct{})
	var daemons int
	var derr error
	go func() {
		defer close(ended)
		daemons, derr = s.respawn(t, stop)
	}()
	clients := [][]string{
		{"curl", "-sS", "--fail", "--max-time", "20", "--unix-socket", s.socket(), "http://d/v1.44/info"},
		{"busctl", "--address=unix:path=" + s.dir + "/bus", "--timeout=20", "call", "org.davit.Engine1", "/org/davit/Engine1", "org.davit.Engine1.Manager", "ListJobs"},
		{"docker", "volume", "create"},
	}
	for i := range 200 {
		c := exec.Command(clients[i%3][0], clients[i%3][1:]...)
		c.Env = s.host.env()
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("call %d was lost: %s: %v: %s", i, clients[i%3][0], err, out)
		}
		if i%2 == 0 { // calls come right behind one another, and around the exit
			<-time.After(time.Duration(i%41) * time.Millisecond)
		}
	}
	close(stop)
	<-ended
	s.daemon = nil
	if derr != nil {
		t.Errorf("%v\n%s", derr, s.tail())
	}
	if daemons < 20 {
		t.Errorf("%d daemons served 200 calls: it does not exit when it is idle", daemons)
	}
	t.Log(daemons, "daemons served 200 calls")
	s.flags, s.env = nil, nil
}

// TestIdleExitWaitsForWhoIsThere: a connection, a follower or a job keeps the
// daemon up, and its end lets it go.
func TestIdleExitWaitsForWhoIsThere(t *testing.T) {
	s := supervise(t, "--idle-exit=200ms")
	s.spawn(t)
	s.until(t, "READY=1")
	c, err := net.Dial("unix", s.socket())
	if err != nil {
		t.Fatal(err)
	}
	stays := func(why string) {
		t.Helper()
		select {
		case err := <-s.exited:
			t.Fatalf("%s: the daemon ended with %v\n%s", why, err, s.tail())
		case <-time.After(time.Second):
		}
	}
	stays("a silent connection")
	events := exec.Command("docker", "events")
	events.Env = s.host.env()
	if err := events.Start(); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, patience, "the follower", func() bool {
		out, err := s.docker("info", "--format", "{{json .}}")
		var info struct{ NEventsListener int }
		return err == nil && json.Unmarshal([]byte(out), &info) == nil && info.NEventsListener > 0
	})
	c.Close()
	stays("a follower")
	s.slowStop(t)
	_ = events.Process.Kill()
	_ = events.Wait()
	stays("a job")
	s.mustDocker(t, "kill", "stubborn")
	if err := <-s.exited; err != nil {
		t.Errorf("%v\n%s", err, s.tail())
	}
	s.daemon, s.flags = nil, nil
	order := []string{}
	for _, m := range s.all() {
		if strings.HasPrefix(m, "STOPPING=1") || m == "BARRIER=1" {
			order = append(order, m)
		}
	}
	if want := []string{"STOPPING=1\nSTATUS=Idle: exiting until somebody calls", "BARRIER=1"}; !slices.Equal(order, want) {
		t.Errorf("told was %q, want %q", order, want)
	}
}

// TestReloadOnTheBus is what ExecReload= does: it returns when all is said and
// done, and fails with what is wrong.
func TestReloadOnTheBus(t *testing.T) {
	file := filepath.Join(t.TempDir(), "daemon.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{}`)
	s := supervise(t, "--config-file", file)
	s.startBus(t)
	s.spawn(t)
	s.until(t, "READY=1")
	busctl := func(args ...string) (string, error) {
		out, err := exec.Command("busctl", append([]string{"--address=unix:path=" + s.dir + "/bus"}, args...)...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	reload := []string{"call", "--quiet", "org.davit.Engine1", "/org/davit/Engine1", "org.davit.Engine1.Manager", "Reload"}
	write(`{"labels": ["a=1"]}`)
	out, err := busctl(reload...)
	told := func(n int) bool { return s.said("RELOADING=1") == n && s.said("READY=1") == n+1 }
	testutil.Eventually(t, patience, "the reload to be told", func() bool { return told(1) })
	if err != nil {
		t.Errorf("%v: %s; told was %q", err, out, s.all())
	}
	if got := s.mustDocker(t, "info", "--format", "{{.Labels}}"); got != "[a=1]" {
		t.Errorf("labels are %s", got)
	}
	write("{\n\"labels\": [\"b=2\"], \"mtu\": []}")
	out, err = busctl(reload...)
	testutil.Eventually(t, patience, "the failed reload to be told", func() bool { return told(2) })
	if err == nil || !strings.Contains(out, "line 2: mtu is of type number") {
		t.Errorf("%v: %s; told was %q", err, out, s.all())
	}
	if got := s.mustDocker(t, "info", "--format", "{{.Labels}}"); got != "[a=1]" {
		t.Errorf("labels are %s", got)
	}
	property := func(name string) string {
		out, err := busctl("get-property", "org.davit.Engine1", "/org/davit/Engine1", "org.davit.Engine1.Manager", name)
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		return out
	}
	healthy, _ := strconv.ParseUint(strings.TrimPrefix(property("LastHealthCheckTimestampMonotonic"), "t "), 10, 64)
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	if age := now.Nano()/1000 - int64(healthy); age < 0 || age > 60e6 {
		t.Errorf("it was healthy %d us ago", age)
	}
	s.flags, s.env = nil, nil
}

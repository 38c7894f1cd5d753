// SPDX-License-Identifier: Apache-2.0

package script

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
	"golang.org/x/sys/unix"
)

// What an engine of this kind has to prove, and where it does. The numbered
// items describe how a daemon is started, served and ended; those with an F
// are faults of Docker 1.2 that must not come back. TestChecklist holds the
// table against the tests of the tree.
//
//	01   an argument too many: a message on stderr, a failure, nothing made
//	     test/script        TestChecklist01_ExtraArgumentIsRefused
//	     test/script        TestBadArgumentsExit2AndTouchNothing
//	02   the pidfile: refused while its daemon lives, replaced when stale, removed last (there is none unless asked for)
//	     test/script        TestChecklist02_PidfileOfALiveDaemonIsRefused
//	     test/script        TestChecklist02_StalePidfileIsReplaced
//	     test/script        TestChecklist02_PidfileIsRemovedLast
//	     engine             TestShutdownContract
//	03   socket activation: who connects before the boot is answered after it; READY=1 once, after a probe; STOPPING=1
//	     test/script        TestChecklist03_ConnectionBeforeBootIsAnsweredAfterIt
//	     service            TestBootOrder
//	     api                TestGate
//	04   TERM during a job of 20 s: new jobs are refused at once, exit 0 within 15 s
//	     test/script        TestChecklist04_NewJobIsRefusedAtOnceAndTheDaemonEndsIn15s
//	     engine             TestShutdownIsBounded
//	05   TERM of an idle daemon: under a second
//	     test/script        TestChecklist05_IdleDaemonEndsWithinASecond
//	06   repeated INT: 130 without waiting; QUIT: 131 with a dump
//	     test/script        TestChecklist06_RepeatedInterruptIs130
//	     test/script        TestChecklist06_QuitDumpsAndIs131
//	07   commands lists every job; registering twice is an error; an unknown job is 127
//	     service            TestChecklist07_CommandsListsTheJobsOf12
//	     service            TestChecklist07_CommandsListsEveryJob
//	     engine             TestChecklist07_RegisteringTwiceIsAnError
//	     engine             TestChecklist07_UnknownJobIs127WithText
//	08   versions stay strings
//	     test/script        TestChecklist08_VersionsAreStrings
//	09   events arrive in order at all who listen, and the listeners are counted
//	     test/script        TestChecklist09_EventsArriveInOrder
//	     service            TestEventListeners
//	10   the network: initialized twice it is the same; a free range; foreign chains untouched
//	     bridge             TestChecklist10_InitTwiceIsTheSame
//	     bridge             TestChecklist10_NextFreeRangeIsChosen
//	     bridge             TestFault15_ForeignChainsStay
//	11   a listener that fails takes the orderly way down
//	     test/script        TestChecklist11_ListenerFailureIsAnOrderlyEnd
//	     service            TestChecklist11_BrokenDoorIsTold
//	     api                TestListenerFails
//	12   the unit is Type=notify and has a socket
//	     test/script        TestChecklist12_UnitIsNotifyWithASocket
//	     test/boot          TestUnitsVerify
//	     test/boot          TestBoot
//
//	F01  acceptconnections before serveapi left every request hanging
//	     api                TestFault01_GateThatOpensBeforeItIsServed
//	F02  the map of handlers had no lock
//	     engine             TestFault02_HandlersAreRegisteredWhileJobsRun
//	F03  the error of an unknown job was empty
//	     engine             TestChecklist07_UnknownJobIs127WithText
//	F04  an argument too many was success
//	     test/script        TestChecklist01_ExtraArgumentIsRefused
//	F05  fd://name panicked
//	     test/script        TestFault05_NamedDescriptorIsRefused
//	F06  the pidfile went first, was not trimmed, and stopped the pid that it named itself
//	     test/script        TestChecklist02_PidfileIsRemovedLast
//	     test/script        TestChecklist02_StalePidfileIsReplaced
//	F07  HUP killed
//	     test/script        TestFault07_HangupDoesNotKill
//	F08  the engine's own jobs were refused at shutdown: rules were left in FORWARD
//	     test/script        TestFault08_NetworkIsReleasedDuringTheShutdown
//	     engine             TestShutdownContract
//	F09  the class of an error was read from its text
//	     api                TestFault09_StatusIsNotReadFromTheText
//	     .                  TestArchitecture
//	F10  stop without t killed at once
//	     test/script        TestFault10_StopWithoutTimeoutWaits
//	     service            TestStop
//	F11  wait for an unknown container was 500
//	     test/script        TestFault11_WaitForAnUnknownContainerIs404
//	F12  info that failed was 200
//	     api                TestFault12_InfoThatFailsIsNot200
//	     service            TestFault12_InfoFailsWhenItFails
//	F13  ports were handed out twice, and a full pool was searched for ever
//	     service            TestFault13_PortsAreNotHandedOutTwice
//	     bridge             TestFault13_FullPoolIsAnError
//	     bridge             TestExhaustedNetwork
//	F14  a container without a network got an address
//	     service            TestFault14_NoNetworkNoAddress
//	F15  a chain DOCKER was deleted, whoever had made it
//	     bridge             TestFault15_ForeignChainsStay
//	F16  a ghost had exit code 0, so that on-failure left it down
//	     service            TestFault16_GhostsHaveFailed
//	F17  containers with the policy always were started before READY=1, one after the other
//	     service            TestFault17_AlwaysContainersStartSideBySideAfterBoot
//	F18  layers were not verified
//	     registry           TestFault18_LayersAreVerified
//	     storage/image      TestUnpackRefuses
//	F19  https fell back to http without a word
//	     registry           TestFault19_NoSilentFallBack
//	F20  values that look like numbers became numbers
//	     service            TestFault20_ValuesStayText
//	     test/script        TestChecklist08_VersionsAreStrings
func TestChecklist(t *testing.T) {
	table := checklist(t)
	for n := range 32 {
		item := fmt.Sprintf("%02d", n+1)
		if n >= 12 {
			item = fmt.Sprintf("F%02d", n-11)
		}
		if len(table[item]) == 0 {
			t.Errorf("item %s has no test", item)
		}
		for _, test := range table[item] {
			if !slices.Contains(testsOf(t, test.dir), test.name) {
				t.Errorf("item %s: there is no %s in %s", item, test.name, test.dir)
			}
		}
		delete(table, item)
	}
	for item := range table {
		t.Errorf("there is no item %s", item)
	}
}

// TestChecklistIsWhole finds the tests that carry an item's number and are
// not in the table under it.
func TestChecklistIsWhole(t *testing.T) {
	table := checklist(t)
	numbered := regexp.MustCompile(`^Test(Checklist|Fault)(\d\d)_`)
	root := repository(t)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "third_party" || name == "testdata") {
			return fs.SkipDir
		}
		dir, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, name := range testsOf(t, dir) {
			m := numbered.FindStringSubmatch(name)
			if m == nil {
				continue
			}
			item := map[string]string{"Checklist": "", "Fault": "F"}[m[1]] + m[2]
			if !slices.Contains(table[item], listed{dir, name}) {
				t.Errorf("%s of %s is not in the table under %s", name, dir, item)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

type listed struct{ dir, name string }

// checklist reads the table of this file.
func checklist(t *testing.T) map[string][]listed {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "checklist_test.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(file.Decls, func(d ast.Decl) bool {
		f, ok := d.(*ast.FuncDecl)
		return ok && f.Name.Name == "TestChecklist"
	})
	text := file.Decls[i].(*ast.FuncDecl).Doc.Text()
	heading, row := regexp.MustCompile(`^\t(F?\d\d)  +\S`), regexp.MustCompile(`^\t {5}(\S+) +(Test\w+)$`)
	table, item := map[string][]listed{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := heading.FindStringSubmatch(line); m != nil {
			item = m[1]
		} else if m := row.FindStringSubmatch(line); m != nil {
			table[item] = append(table[item], listed{m[1], m[2]})
		} else if strings.HasPrefix(line, "\t") {
			t.Errorf("the table has a line that cannot be read: %q", line)
		}
	}
	return table
}

// testsOf returns the names of the tests in a folder of the tree.
func testsOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository(t), dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}

func TestChecklist01_ExtraArgumentIsRefused(t *testing.T) {
	dir := t.TempDir()
	c := exec.Command(filepath.Join(binaries(t), "davitd"), "--data-root", dir+"/lib", "--exec-root", dir+"/run", "-H", "unix://"+dir+"/s", "--pidfile", dir+"/pid", "start", "now")
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if code := exitCode(c.Run()); code != 64 {
		t.Errorf("exit status %d, want 64", code)
	}
	if got := stderr.String(); !strings.Contains(got, `unexpected argument "start"`) || !strings.Contains(got, "davitd --help") || stdout.Len() > 0 {
		t.Errorf("it says %q, and %q on stdout; want the argument and where the usage is told, on stderr", got, stdout.String())
	}
	if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
		t.Errorf("it made %v, %v", made, err)
	}
}

func TestChecklist02_PidfileOfALiveDaemonIsRefused(t *testing.T) {
	h := bareHost(t)
	h.start(t)
	pid := strconv.Itoa(h.daemon.Process.Pid)
	out, code := davitd(t, "--pidfile", h.dir+"/pid", "--data-root", h.dir+"/lib2", "--exec-root", h.dir+"/run2", "-H", "unix://"+h.dir+"/s2")
	if code != 1 || !strings.Contains(out, "pidfile "+h.dir+"/pid") || !strings.Contains(out, "(pid "+pid+")") {
		t.Errorf("a second daemon with the same pidfile: %d %s", code, out)
	}
	if got, err := os.ReadFile(h.dir + "/pid"); err != nil || string(got) != pid+"\n" {
		t.Errorf("the pidfile of the daemon %s says %q, %v", pid, got, err)
	}
	if _, err := h.ping(); err != nil {
		t.Error("the daemon that runs:", err)
	}
}

func TestChecklist02_StalePidfileIsReplaced(t *testing.T) {
	h := bareHost(t)
	pidfile := h.dir + "/pid"
	for name, content := range map[string]string{
		"of a process that is gone": "4194303\n", // more than kernel.pid_max allows
		"of another program":        "1\n",
		"without an end of line":    "1", "empty": "", "nonsense": "not a pid\n",
	} {
		if err := os.WriteFile(pidfile, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		h.start(t)
		if got, err := os.ReadFile(pidfile); err != nil || string(got) != strconv.Itoa(h.daemon.Process.Pid)+"\n" {
			t.Errorf("%s: the pidfile says %q, %v", name, got, err)
		}
		if err := h.end(t, syscall.SIGTERM); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The first process of a container has the same pid each time.
	c := h.command("-H", "unix://"+h.socket())
	h.launch(t, before(c, "echo $$ > "+pidfile))
	testutil.Eventually(t, patience, "the daemon to answer", func() bool {
		_, err := h.ping()
		return err == nil
	})
}

// before has a command run a line of shell before it does its work, with the
// pid that will be its own.
func before(c *exec.Cmd, line string) *exec.Cmd {
	c.Args = slices.Insert(c.Args, 2, "sh", "-c", line+`; exec "$@"`, "sh") // behind nsenter --net=
	return c
}

func TestChecklist02_PidfileIsRemovedLast(t *testing.T) {
	h := bareHost(t)
	h.start(t)
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, h.dir, unix.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	if err := h.end(t, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := unix.Read(watch, buf)
	if err != nil {
		t.Fatal(err)
	}
	var removed []string
	for buf = buf[:n]; len(buf) >= unix.SizeofInotifyEvent; {
		size := int(buf[12]) | int(buf[13])<<8 // len of inotify_event(7)
		name := buf[unix.SizeofInotifyEvent : unix.SizeofInotifyEvent+size]
		removed = append(removed, string(bytes.TrimRight(name, "\x00")))
		buf = buf[unix.SizeofInotifyEvent+size:]
	}
	if want := []string{"davit.sock", "pid"}; !slices.Equal(removed, want) {
		t.Errorf("removed were %q, want %q", removed, want)
	}
}

func TestChecklist03_ConnectionBeforeBootIsAnsweredAfterIt(t *testing.T) {
	h := bareHost(t)
	s := h.systemd(t)
	client, err := net.Dial("unix", h.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := fmt.Fprint(client, "GET /version HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	s.launch(t, h)
	heard := s.until(t, h, "READY=1")
	log, err := os.ReadFile(h.dir + "/davitd.log")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`msg="request served" .*path=/_ping .*status=200`).Match(log) {
		t.Errorf("ready before a probe was answered:\n%s", log)
	}
	answer, err := io.ReadAll(client)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.0 200 ")) || !bytes.Contains(answer, []byte(`"ApiVersion"`)) {
		t.Errorf("who came before the boot was answered %q, %v", answer, err)
	}
	testutil.Eventually(t, patience, "the request to be logged", func() bool { return strings.Contains(h.tail(), "path=/version ") })
	text := h.tail()
	if gate, served := strings.Index(text, "type=acceptconnections"), strings.Index(text, "path=/version "); gate < 0 || served < gate {
		t.Errorf("the request was served before the gate was opened:\n%s", text)
	}
	if err := h.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := s.rest(t, h)
	if err != nil {
		t.Errorf("TERM: %v", err)
	}
	if n := count(append(heard, rest...), "READY=1"); n != 1 {
		t.Errorf("READY=1 was heard %d times: %q %q", n, heard, rest)
	}
	if count(heard, "STOPPING=1") != 0 || count(rest, "STOPPING=1") != 1 {
		t.Errorf("STOPPING=1 was not heard once, after TERM: %q %q", heard, rest)
	}
}

// slowStop has a stop of the container stubborn wait for a minute, and returns
// once it does.
func (h *host) slowStop(t *testing.T, options ...string) {
	t.Helper()
	args := append([]string{"run", "-d", "--name", "stubborn"}, options...)
	h.mustDocker(t, append(args, "busybox", "sh", "-c", `trap "" TERM; while :; do sleep 1; done`)...)
	stop := exec.Command("docker", "stop", "-t", "60", "stubborn")
	stop.Env = h.env()
	if err := stop.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = stop.Wait() // it fails with the daemon
	}()
	t.Cleanup(func() { <-ended })
	testutil.Eventually(t, patience, "the stop to run", func() bool {
		out, err := exec.Command("curl", "-s", "--unix-socket", h.socket(), "http://d/davit/jobs").Output()
		return err == nil && strings.Contains(string(out), `"Type":"stop"`)
	})
}

// TestChecklist04_NewJobIsRefusedAtOnceAndTheDaemonEndsIn15s has the refused told
// why, and the container go on.
func TestChecklist04_NewJobIsRefusedAtOnceAndTheDaemonEndsIn15s(t *testing.T) {
	h := newHost(t)
	h.slowStop(t)
	start := time.Now()
	if err := h.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, patience, "a new job to be refused", func() bool {
		out, err := h.docker("create", "busybox")
		return err != nil && strings.Contains(out, "shutting down")
	})
	if refused := time.Since(start); refused > 2*time.Second {
		t.Errorf("a new job was refused after %v", refused)
	}
	if err := <-h.exited; err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
	h.start(t)
	if got := h.mustDocker(t, "inspect", "--format", "{{.State.Status}}", "stubborn"); got != "running" {
		t.Errorf("the container is %s", got)
	}
}

// TestChecklist06_RepeatedInterruptIs130 ends a daemon that waits, at once.
func TestChecklist06_RepeatedInterruptIs130(t *testing.T) {
	h := newHost(t)
	h.slowStop(t)
	start := time.Now()
	for n := range 3 {
		if err := h.daemon.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		testutil.Eventually(t, patience, "the signal to be seen", func() bool {
			return n == 2 || strings.Contains(h.tail(), "count="+strconv.Itoa(n+1))
		})
	}
	if code := exitCode(<-h.exited); code != 130 {
		t.Errorf("exit status %d, want 130", code)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	h.start(t)
}

func TestChecklist05_IdleDaemonEndsWithinASecond(t *testing.T) {
	h := bareHost(t)
	h.start(t)
	begin := time.Now()
	if err := h.end(t, syscall.SIGTERM); err != nil {
		t.Errorf("TERM: %v", err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v", took)
	}
	if left, _ := filepath.Glob(h.dir + "/[ps]*"); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

func TestChecklist06_QuitDumpsAndIs131(t *testing.T) {
	h := bareHost(t)
	h.start(t)
	if code := exitCode(h.end(t, syscall.SIGQUIT)); code != 131 {
		t.Errorf("exit status %d, want 131", code)
	}
	if !strings.Contains(h.tail(), "goroutine ") {
		t.Error("it dumped no goroutines")
	}
	h.start(t) // over the leftovers of a daemon that did not clean up
}

func TestChecklist08_VersionsAreStrings(t *testing.T) {
	h := newHost(t)
	var version map[string]any
	if err := json.Unmarshal([]byte(h.curl(t, "http://d/version")), &version); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"Version", "ApiVersion", "MinAPIVersion", "GitCommit", "GoVersion", "KernelVersion"} {
		if _, ok := version[key].(string); !ok {
			t.Errorf("%s is the %T %v", key, version[key], version[key])
		}
	}
	if v, _ := version["ApiVersion"].(string); !regexp.MustCompile(`^1\.\d+$`).MatchString(v) {
		t.Errorf("ApiVersion is %q", v)
	}
	values := map[string]string{
		"version": "1.14", "float": "12e3", "hex": "0x10", "yes": "true", "nothing": "null", "large": "9007199254740993", "zeros": "007",
		"digits": strings.Repeat("1234567890", 6) + "1234", "list": `["a"]`, "empty": "",
	}
	args, want := []string{"create", "--name", "typed"}, map[string]any{}
	for k, v := range values {
		args, want[k] = append(args, "--label", k+"="+v), v
	}
	h.mustDocker(t, append(args, "busybox", "1.10", "true")...)
	var got struct {
		Config struct {
			Labels map[string]any
			Cmd    []any
		}
	}
	if err := json.Unmarshal([]byte(h.curl(t, "http://d/containers/typed/json")), &got); err != nil {
		t.Fatal(err)
	}
	for k, v := range want {
		if got.Config.Labels[k] != v {
			t.Errorf("the label %s is %T %v, want %q", k, got.Config.Labels[k], got.Config.Labels[k], v)
		}
	}
	if !slices.Equal(got.Config.Cmd, []any{"1.10", "true"}) {
		t.Errorf("the command is %v", got.Config.Cmd)
	}
}

func TestChecklist09_EventsArriveInOrder(t *testing.T) {
	h := newHost(t)
	listeners := func() int {
		var info struct{ NEventsListener int }
		if err := json.Unmarshal([]byte(h.curl(t, "http://d/info")), &info); err != nil {
			t.Fatal(err)
		}
		return info.NEventsListener
	}
	if n := listeners(); n != 0 {
		t.Errorf("%d listeners before anybody listens", n)
	}
	var files []string
	for i := range 3 {
		file := filepath.Join(h.dir, "events"+strconv.Itoa(i))
		out, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command("docker", "events", "--filter", "type=container", "--format", "{{.Actor.Attributes.name}} {{.Action}}")
		c.Env, c.Stdout = h.env(), out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = c.Process.Kill()
			_ = c.Wait() // killed
			out.Close()
		}()
		files = append(files, file)
	}
	testutil.Eventually(t, patience, "three listeners", func() bool { return listeners() == 3 })
	var want []string
	for i := range 5 {
		name := "c" + strconv.Itoa(i)
		h.mustDocker(t, "run", "--name", name, "busybox", "true")
		h.mustDocker(t, "rm", name)
		for _, action := range []string{"create", "attach", "start", "die", "destroy"} {
			want = append(want, name+" "+action)
		}
	}
	for _, file := range files {
		testutil.Eventually(t, patience, "the last event", func() bool {
			data, err := os.ReadFile(file)
			return err == nil && strings.HasSuffix(string(data), want[len(want)-1]+"\n")
		})
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Split(strings.TrimSpace(string(data)), "\n"); !slices.Equal(got, want) {
			t.Errorf("%s has\n%q, want\n%q", filepath.Base(file), got, want)
		}
	}
}

// TestChecklist11_ListenerFailureIsAnOrderlyEnd shuts down the listening
// socket, which others have too, behind the daemon's back: accept fails.
func TestChecklist11_ListenerFailureIsAnOrderlyEnd(t *testing.T) {
	h := bareHost(t)
	s := h.systemd(t)
	s.launch(t, h)
	s.until(t, h, "READY=1")
	if err := unix.Shutdown(int(s.file.Fd()), unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	heard, err := s.rest(t, h)
	if code := exitCode(err); code != 1 {
		t.Errorf("exit status %d, want 1", code)
	}
	if count(heard, "STOPPING=1") != 1 || !strings.Contains(h.tail(), "accept") {
		t.Errorf("heard was %q\n%s", heard, h.tail())
	}
	if _, err := os.Stat(h.dir + "/pid"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pidfile is left: %v", err)
	}
}

func TestChecklist12_UnitIsNotifyWithASocket(t *testing.T) {
	units := filepath.Join(repository(t), "contrib", "systemd")
	for file, lines := range map[string][]string{
		"davit.service": {"Type=notify", "NotifyAccess=main", "Requires=davit.socket"},
		"davit.socket":  {"ListenStream=/run/davit/davit.sock", "FileDescriptorName=api", "WantedBy=sockets.target"},
	} {
		data, err := os.ReadFile(filepath.Join(units, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if !slices.Contains(strings.Split(string(data), "\n"), line) {
				t.Errorf("%s has no line %s", file, line)
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// counterEnv makes the test binary a daemon that counts; see countingChild.
const counterEnv = "ACTIVATION_TEST_COUNTER"

// countingChild says where its predecessor stopped, counts on for some steps
// and dies without a word.
func countingChild() {
	s, err := New()
	if err != nil {
		panic(err)
	}
	c, err := s.Counter("state")
	dropped, derr := s.DropUnknown()
	fmt.Println(c.Last(), dropped, err, derr)
	for n := range uint32(1000) {
		c.Set(c.Last() + n + 1)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// respawn starts the child as systemd does, with what it keeps, and returns
// what it printed.
func respawn(t *testing.T, m *manager, kept map[string]*os.File) string {
	t.Helper()
	var names []string
	// LISTEN_PID is not known before the child runs; sh keeps its own.
	c := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	for name, f := range kept {
		names = append(names, name)
		c.ExtraFiles = append(c.ExtraFiles, f)
	}
	c.Env = append(os.Environ(), counterEnv+"=1", "NOTIFY_SOCKET="+m.path, "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	out, _ := c.Output() // it kills itself
	return strings.TrimSpace(string(out))
}

func TestCounterSurvivesKill(t *testing.T) {
	m, _ := newManager(t)
	if got := respawn(t, m, nil); got != "0 [] <nil> <nil>" {
		t.Fatalf("the first: %s", got)
	}
	text, fds := m.receive()
	if text != "FDSTORE=1\nFDNAME=stored-state" || len(fds) != 1 {
		t.Fatalf("got %q and %d descriptors", text, len(fds))
	}
	state := os.NewFile(uintptr(fds[0]), "state")
	defer state.Close()
	for _, want := range []string{"1000", "2000"} {
		if got := respawn(t, m, map[string]*os.File{"stored-state": state}); got != want+" [] <nil> <nil>" {
			t.Errorf("a successor: %s, want %s", got, want)
		}
	}
	other, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if got := respawn(t, m, map[string]*os.File{"stored-state": state, "stored-older": other}); got != "3000 [older] <nil> <nil>" {
		t.Errorf("with a stranger: %s", got)
	}
	if text, _ := m.receive(); text != "FDSTOREREMOVE=1\nFDNAME=stored-older" {
		t.Errorf("got %q", text)
	}
}

// Whatever systemd hands over instead, the daemon starts, says so, and keeps
// the new one instead of the old one.
func TestCounterFromGarbage(t *testing.T) {
	memfd := func(size int64, seals int, words ...uint64) *os.File {
		t.Helper()
		fd, err := unix.MemfdCreate("garbage", unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "garbage")
		var content []byte
		for _, w := range words {
			content = binary.NativeEndian.AppendUint64(content, w)
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(content[:min(int64(len(content)), size)], 0); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
			t.Fatal(err)
		}
		return f
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	good := []uint64{counterMagic, 0xffff_fff8_0000_0007}
	for name, f := range map[string]*os.File{
		"no memfd":       null,
		"empty":          memfd(0, counterSeals),
		"can shrink":     memfd(counterSize, 0, good...),
		"too large":      memfd(2*counterSize, counterSeals, good...),
		"another magic":  memfd(counterSize, counterSeals, counterMagic+1, good[1]),
		"cut in two":     memfd(counterSize, counterSeals, counterMagic, 0xffff_fff8_0000_0008),
		"nothing but 0s": memfd(counterSize, counterSeals),
	} {
		m, _ := newManager(t)
		got := respawn(t, m, map[string]*os.File{"stored-state": f})
		f.Close()
		if !strings.HasPrefix(got, "0 [] what systemd kept as state is useless") {
			t.Errorf("%s: %s", name, got)
		}
		if text, _ := m.receive(); text != "FDSTOREREMOVE=1\nFDNAME=stored-state" {
			t.Errorf("%s: got %q", name, text)
		}
		text, fds := m.receive()
		if text != "FDSTORE=1\nFDNAME=stored-state" || len(fds) != 1 {
			t.Errorf("%s: got %q", name, text)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	f := memfd(counterSize, counterSeals, good...)
	defer f.Close()
	m, _ := newManager(t)
	if got := respawn(t, m, map[string]*os.File{"stored-state": f}); got != "7 [] <nil> <nil>" {
		t.Errorf("the good one, to be certain that the others fail for their reason: %s", got)
	}
}

// Nobody keeps it: it still counts, for nothing.
func TestCounterWithoutSystemd(t *testing.T) {
	c, err := new(Systemd).Counter("state")
	if err != nil || c.Last() != 0 {
		t.Errorf("%d %v", c.Last(), err)
	}
	c.Set(1)
}

// BenchmarkCounter shows what each job costs.
func BenchmarkCounter(b *testing.B) {
	c, err := newCounter("bench")
	if err != nil {
		b.Fatal(err)
	}
	defer c.file.Close()
	var n uint32
	for b.Loop() {
		n++
		c.Set(n)
	}
}

func TestCounterIsCheap(t *testing.T) {
	c, err := newCounter("cheap")
	if err != nil {
		t.Fatal(err)
	}
	defer c.file.Close()
	began := time.Now()
	for n := range uint32(10_000) {
		c.Set(n)
	}
	if took := time.Since(began); took > 10_000*5*time.Microsecond {
		t.Errorf("10,000 took %v", took)
	}
	if !bytes.Equal(c.page[:4], binary.NativeEndian.AppendUint64(nil, counterMagic)[:4]) {
		t.Error("the magic has gone")
	}
}

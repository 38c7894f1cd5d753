// SPDX-License-Identifier: Apache-2.0

package containerlog

import (
	stdhex "encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestAttrs has the extra attributes where Docker's decoder finds them.
func TestAttrs(t *testing.T) {
	w, path := create(t, Options{Attrs: `{"tag":"a"}`})
	write(t, w, Stdout, "x\ny")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := regexp.MustCompile(`"time":"[0-9T:.-]+Z"`)
	want := `{"log":"x\n","stream":"stdout","attrs":{"tag":"a"},"time":T}` + "\n" + `{"log":"y","stream":"stdout","attrs":{"tag":"a"},"time":T}` + "\n"
	if diff := cmp.Diff(want, at.ReplaceAllString(string(got), `"time":T`)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A record of the local driver, byte by byte.
func TestLocalBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "container.log")
	w, err := CreateLocal(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := w.to.(*localFile)
	f.origin = [8]byte{0xab}
	for _, r := range []record{
		{stream: Stdout, end: true, at: 300, text: []byte("hi")},
		{stream: Stderr, end: true, at: 1, part: 2, line: 7, text: []byte("x")},
	} {
		if err := f.record(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	id := stdhex.EncodeToString([]byte("ab000000000000000000000000000007"))
	want := "0000000f" + "0a067374646f7574" + "10ac02" + "1a026869" + "0000000f" +
		"00000037" + "0a06737464657272" + "1001" + "1a0178" + "2001" + "2a26" + "0801" + "1220" + id + "1802" + "00000037"
	if diff := cmp.Diff(want, stdhex.EncodeToString(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a killed predecessor left half written is cut off, and nothing else.
func TestLocalIsMended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "container.log")
	write := func(text string) {
		w, err := CreateLocal(path, Options{})
		if err == nil {
			err = errors.Join(w.Write(Stdout, []byte(text)), w.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("one\ntwo\n")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < len(whole)/2; cut++ {
		if err := os.WriteFile(path, whole[:len(whole)-cut], 0o640); err != nil {
			t.Fatal(err)
		}
		write("xxx\n")
		got, err := os.ReadFile(path)
		if err != nil || len(got) != len(whole) || !strings.Contains(string(got), "one") || !strings.Contains(string(got), "xxx") {
			t.Fatalf("cut by %d: %q, %v", cut, got, err)
		}
	}
}

// journal is the other end of a journald log.
func openJournal(t *testing.T, o JournalOptions) (*Writer, *net.UnixConn) {
	t.Helper()
	o.Socket = filepath.Join(t.TempDir(), "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: o.Socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	w, err := OpenJournal(o)
	if err != nil {
		t.Fatal(err)
	}
	return w, conn
}

func TestJournal(t *testing.T) {
	w, conn := openJournal(t, JournalOptions{Fields: []string{"CONTAINER_NAME=web", "L=a\nb"}})
	write(t, w, Stdout, "out\n")
	write(t, w, Stderr, strings.Repeat("x", MaxLine)+"end\n")
	closed := make(chan error, 1)
	go func() { closed <- w.Close() }()
	fixed := "CONTAINER_NAME=web\nL\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\n"
	epoch := "SYSLOG_TIMESTAMP=T\nCONTAINER_LOG_EPOCH=E\nCONTAINER_LOG_ORDINAL="
	for _, want := range []string{
		fixed + "PRIORITY=6\nMESSAGE=out\n" + epoch + "1\n",
		fixed + "PRIORITY=3\nMESSAGE=" + strings.Repeat("x", MaxLine) + "\n" + epoch + "2\nCONTAINER_PARTIAL_ID=E\nCONTAINER_PARTIAL_ORDINAL=1\nCONTAINER_PARTIAL_LAST=false\nCONTAINER_PARTIAL_MESSAGE=true\n",
		fixed + "PRIORITY=3\nMESSAGE=end\n" + epoch + "3\nCONTAINER_PARTIAL_ID=E\nCONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=true\n",
		"",
	} {
		buf := make([]byte, 64<<10)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got := regexp.MustCompile(`[0-9]+-[0-9T:.-]+Z`).ReplaceAllString(string(buf[:n]), "T")
		got = regexp.MustCompile(`=[0-9a-f]{32}`).ReplaceAllString(got, "=E")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// An entry that is too large for a datagram is passed as a sealed file.
func TestJournalLargeEntry(t *testing.T) {
	label := "L=" + strings.Repeat("x", 20<<20) // more than the socket's buffer may be
	w, conn := openJournal(t, JournalOptions{Fields: []string{label}})
	write(t, w, Stdout, "out\n")
	control := make([]byte, unix.CmsgSpace(4))
	n, c, _, _, err := conn.ReadMsgUnix(make([]byte, 4096), control)
	if err != nil || n != 0 {
		t.Fatalf("%d bytes beside the file, %v", n, err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:c])
	if err != nil || len(messages) != 1 {
		t.Fatal(messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatal(fds, err)
	}
	f := os.NewFile(uintptr(fds[0]), "entry")
	defer f.Close()
	if seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || seals != unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL {
		t.Errorf("its seals are %#x, %v", seals, err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil || !strings.HasPrefix(string(got), label+"\nPRIORITY=6\nMESSAGE=out\n") || !strings.HasSuffix(string(got), "\n") {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	go func() { _, _ = conn.Read(make([]byte, 1)) }() // what ends the log
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// A journald that does not read is waited for once; what is lost then is told,
// in the journal, too.
func TestJournalThatDoesNotRead(t *testing.T) {
	w, conn := openJournal(t, JournalOptions{Patience: time.Second})
	begin := time.Now()
	lost := 0
	for range 10000 { // more than any socket holds
		if w.Write(Stdout, []byte("x\n")) != nil {
			lost++
		}
	}
	if d := time.Since(begin); lost == 0 || d > 5*time.Second {
		t.Errorf("%d lost, in %s", lost, d)
	}
	buf := make([]byte, 4096)
	for range 10000 - lost {
		if _, err := conn.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	write(t, w, Stdout, "again\n")
	var n int
	for range 2 {
		var err error
		if n, err = conn.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(buf[:n]); !strings.Contains(got, fmt.Sprintf("before the latest: %d\n", lost)) {
		t.Errorf("it says %q", got)
	}
}

// gate is a sink that waits.
type gate struct {
	open  chan struct{}
	texts []string
}

func (g *gate) record(r *record) error {
	<-g.open
	g.texts = append(g.texts, string(r.text))
	return nil
}
func (g *gate) flush() error  { return nil }
func (g *gate) idle()         {}
func (g *gate) place() string { return "" }
func (g *gate) close() error  { return nil }

// A log that is slow loses the oldest, and holds nobody up.
func TestRingDropsTheOldest(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	w := newWriter(g, 1)
	var told error
	const total = 10000
	for n := range total {
		told = first(told, w.Write(Stdout, fmt.Appendf(nil, "%d\n", n)))
	}
	if _, ok := errors.AsType[lostError](told); !ok {
		t.Errorf("error is %v", told)
	}
	close(g.open)
	_ = w.Close() // tells of the loss again
	if n := len(g.texts); n == total || n < 1000 {
		t.Errorf("%d of %d arrived", n, total)
	}
	// The first is with the sink already; behind it there is one gap.
	for i, text := range g.texts[1:] {
		if want := fmt.Sprint(total - len(g.texts) + 1 + i); text != want {
			t.Fatalf("record %d is %s, want %s", i+1, text, want)
		}
	}
}

func TestRingKeepsAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := Create(path, Options{Buffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5000 {
		write(t, w, Stdout, fmt.Sprintf("%d %s\n", n, strings.Repeat("x", n%100)))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if all := entries(t, path); len(all) != 5000 || !strings.HasPrefix(all[4999].Log, "4999 ") {
		t.Errorf("%d records", len(all))
	}
}

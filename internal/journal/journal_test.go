// SPDX-License-Identifier: Apache-2.0

package journal_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/journal"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// journald is the receiving end of the protocol.
type journald struct {
	t    *testing.T
	path string
	conn *net.UnixConn
}

func listen(t *testing.T) *journald {
	t.Helper()
	j := &journald{t: t, path: filepath.Join(t.TempDir(), "socket")}
	var err error
	if j.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: j.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.conn.Close() })
	if err := j.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return j
}

func (j *journald) socket() *journal.Socket {
	j.t.Helper()
	s, err := journal.Open(j.path)
	if err != nil {
		j.t.Fatal(err)
	}
	j.t.Cleanup(func() { s.Close() })
	return s
}

// entry reads the next entry, as a file if it came as one.
func (j *journald) entry() []journal.Field {
	j.t.Helper()
	data, control := make([]byte, 16<<20), make([]byte, 64)
	n, c, _, _, err := j.conn.ReadMsgUnix(data, control)
	if err != nil {
		j.t.Fatal(err)
	}
	data = data[:n]
	if c > 0 {
		data = j.memory(control[:c])
	}
	fields, err := decode(data)
	if err != nil {
		j.t.Fatalf("%v: %q", err, data[:min(len(data), 200)])
	}
	return fields
}

// memory reads a passed file, which must be sealed as journald demands.
func (j *journald) memory(control []byte) []byte {
	j.t.Helper()
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) != 1 {
		j.t.Fatal(messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		j.t.Fatal(fds, err)
	}
	f := os.NewFile(uintptr(fds[0]), "entry")
	defer f.Close()
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if want := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL; err != nil || seals != want {
		j.t.Errorf("seals %#x %v, want %#x", seals, err, want)
	}
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 64<<20))
	if err != nil {
		j.t.Fatal(err)
	}
	return data
}

// decode parses what https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ describes.
func decode(data []byte) (out []journal.Field, err error) {
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			return out, errors.New("a line has no end")
		}
		if name, value, ok := strings.Cut(string(data[:end]), "="); ok {
			out, data = append(out, journal.Field{Name: name, Value: value}), data[end+1:]
			continue
		}
		name, rest := string(data[:end]), data[end+1:]
		if len(rest) < 8 {
			return out, errors.New("a length is cut off")
		}
		size := binary.LittleEndian.Uint64(rest)
		if rest = rest[8:]; uint64(len(rest)) <= size || rest[size] != '\n' {
			return out, fmt.Errorf("%s: %d bytes are announced, %d left", name, size, len(rest))
		}
		out, data = append(out, journal.Field{Name: name, Value: string(rest[:size])}), rest[size+1:]
	}
	return out, nil
}

func value(fields []journal.Field, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// named is what a program would say of its attributes.
func named(key, value string) (journal.Attr, bool) {
	switch key {
	case "job":
		return journal.Attr{Fields: []journal.Field{{Name: "JOB_ID", Value: value}}, Text: value}, true
	case "silent":
		return journal.Attr{Fields: []journal.Field{{Name: "SILENT", Value: value}}}, true
	case "container_id":
		return journal.Attr{Fields: []journal.Field{{Name: "CONTAINER_ID", Value: value[:3]}, {Name: "CONTAINER_ID_FULL", Value: value}}, Text: value[:3]}, true
	}
	return journal.Attr{}, false
}

func options() journal.Options {
	return journal.Options{Level: slog.LevelDebug, Identifier: "test", Prefix: "DAVIT_", Attr: named}
}

func TestEntry(t *testing.T) {
	j := listen(t)
	log := slog.New(journal.NewHandler(j.socket(), options()))
	log.With("job", 7).WithGroup("net").Warn("job ends", "container_id", "abcdef", slog.Group("in", "ner", 1.5))
	log.Error("job panicked", "job", 8, "silent", "shh", "took", 1500*time.Millisecond, "what", `two "words"`, "bad-key ü", true,
		"stack", "goroutine 1\n\tmain.go:1\n", "error", errors.New("no such container: x"), "empty", "", "none", nil)
	got := j.entry()
	for i := range got {
		if got[i].Name == "CODE_LINE" || got[i].Name == "CODE_FILE" {
			if got[i].Value == "" || got[i].Value == "0" {
				t.Errorf("%s is %q", got[i].Name, got[i].Value)
			}
			got[i].Value = "here"
		}
	}
	code := []journal.Field{
		{Name: "CODE_FILE", Value: "here"},
		{Name: "CODE_LINE", Value: "here"},
		{Name: "CODE_FUNC", Value: "github.com/davit-engine/davit/internal/journal_test.TestEntry"},
	}
	want := append([]journal.Field{
		{Name: "MESSAGE", Value: "job ends job=7 net.container_id=abcdef net.in.ner=1.5"},
		{Name: "PRIORITY", Value: "4"},
		{Name: "SYSLOG_IDENTIFIER", Value: "test"},
	}, append(code, journal.Field{Name: "JOB_ID", Value: "7"},
		journal.Field{Name: "DAVIT_NET_CONTAINER_ID", Value: "abcdef"}, journal.Field{Name: "DAVIT_NET_IN_NER", Value: "1.5"})...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	second := j.entry()
	for name, want := range map[string]string{
		"MESSAGE":  "job panicked job=8 took=1.5s what=\"two \\\"words\\\"\" \"bad-key ü\"=true error=\"no such container: x\" none=<nil>\nstack:\ngoroutine 1\n\tmain.go:1",
		"PRIORITY": "3", "JOB_ID": "8", "SILENT": "shh", "DAVIT_TOOK": "1.5s", "DAVIT_BAD_KEY__": "true",
		"DAVIT_STACK": "goroutine 1\n\tmain.go:1\n", "DAVIT_ERROR": "no such container: x",
	} {
		if got := value(second, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestContainerFields(t *testing.T) {
	j := listen(t)
	slog.New(journal.NewHandler(j.socket(), options())).Info("adopted", "container_id", "abcdef")
	got := j.entry()
	if value(got, "MESSAGE") != "adopted container_id=abc" || value(got, "CONTAINER_ID") != "abc" || value(got, "CONTAINER_ID_FULL") != "abcdef" {
		t.Errorf("got %v", got)
	}
}

func TestPriorities(t *testing.T) {
	j := listen(t)
	log := slog.New(journal.NewHandler(j.socket(), options()))
	for level, want := range map[slog.Level]string{-4: "7", -1: "7", 0: "6", 2: "5", 4: "4", 8: "3", 12: "2"} {
		log.Log(t.Context(), level, "x")
		if got := value(j.entry(), "PRIORITY"); got != want {
			t.Errorf("level %v has priority %s, want %s", level, got, want)
		}
	}
}

// TestLevelChangesLive is what SIGHUP and LogControl1 rely on.
func TestLevelChangesLive(t *testing.T) {
	j := listen(t)
	var level slog.LevelVar
	o := options()
	o.Level = &level
	log := slog.New(journal.NewHandler(j.socket(), o)).With("a", 1)
	log.Debug("unseen")
	level.Set(slog.LevelDebug)
	log.Debug("seen")
	if got := value(j.entry(), "MESSAGE"); got != "seen a=1" {
		t.Errorf("got %q", got)
	}
}

// TestLargeEntry is larger than any datagram.
func TestLargeEntry(t *testing.T) {
	j := listen(t)
	large := strings.Repeat("0123456789abcdef", 1<<20)
	slog.New(journal.NewHandler(j.socket(), options())).Info("large", "value", large)
	got := j.entry()
	if value(got, "DAVIT_VALUE") != large || !strings.HasPrefix(value(got, "MESSAGE"), "large value=0123") {
		t.Errorf("an entry of %d bytes did not arrive whole", len(large))
	}
}

func TestFallback(t *testing.T) {
	var out bytes.Buffer
	j := listen(t)
	o := options()
	o.Fallback = &out
	log := slog.New(journal.NewHandler(j.socket(), o))
	os.Remove(j.path)
	log.Warn("nobody listens", "job", 3, "stack", "a\nb")
	if got, want := out.String(), "<4>nobody listens job=3 stack: a b\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	again, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: j.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	j.conn = again
	log.Info("somebody does again")
	if got := value(j.entry(), "MESSAGE"); got != "somebody does again" {
		t.Errorf("got %q", got)
	}
}

// TestStuckJournal does not hold up the program: the records of a second that
// nobody reads cost one second, and not a second each.
func TestStuckJournal(t *testing.T) {
	j := listen(t)
	ours, theirs := streams(t)
	o := options()
	o.Fallback = journal.Stream{File: ours}
	log := slog.New(journal.NewHandler(j.socket(), o))
	begin := time.Now()
	const many = 20000 // the queue is shorter (net.unix.max_dgram_qlen), and so is the buffer of the stream
	for range many {
		log.Info("unread")
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("a journal that does not read is waited for: %v", took)
	}
	line, err := bufio.NewReader(theirs).ReadString('\n')
	if err != nil || line != "<6>unread\n" {
		t.Errorf("got %q %v in its place", line, err)
	}
	for range many { // it reads again
		if err := j.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := j.conn.Read(make([]byte, 4096)); err != nil {
			break
		}
	}
	if err := j.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	log.Info("read")
	if got := value(j.entry(), "MESSAGE"); got != "read" {
		t.Errorf("got %q", got)
	}
}

// streams are a standard error and the other end of it.
func streams(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = os.NewFile(uintptr(fds[0]), "stderr"), os.NewFile(uintptr(fds[1]), "journal")
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

func TestTerminal(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(journal.NewTerminal(&out, options()))
	log.Info("job ends", "job", 7, "silent", "shh")
	log.Error("failed", "error", "a\nb")
	lines := strings.SplitN(out.String(), "\n", 2)
	if at, text, _ := strings.Cut(lines[0], " "); len(at) != len(time.TimeOnly) || text != "job ends job=7" {
		t.Errorf("got %q", lines[0])
	}
	if _, text, _ := strings.Cut(lines[1], " "); text != "ERROR: failed\nerror:\na\nb\n" {
		t.Errorf("got %q", lines[1])
	}
}

func TestFieldName(t *testing.T) {
	for text, want := range map[string]string{
		"DAVIT_error": "DAVIT_ERROR", "_secret": "SECRET", "1st": "ST", "a.b-c": "A_B_C", "ü": "", "": "",
		strings.Repeat("x", 70): strings.Repeat("X", 64),
	} {
		if got := journal.FieldName(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestConnected(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		fmt.Sprintf("%d:%d", st.Dev, st.Ino): true, fmt.Sprintf("%d:%d", st.Dev, st.Ino+1): false,
		fmt.Sprintf("%d:%d", st.Dev+1, st.Ino): false, "": false, "nonsense": false, "1": false,
	} {
		t.Setenv("JOURNAL_STREAM", stream)
		if got := journal.Connected(f); got != want {
			t.Errorf("with $JOURNAL_STREAM %q: %v", stream, got)
		}
	}
}

// TestRealJournal has a journald of its own, with a /run of its own, take the
// entries, and asks journalctl for them.
func TestRealJournal(t *testing.T) {
	if os.Getenv("JOURNAL_TEST_WRITE") != "" {
		writeEntries(t)
		return
	}
	const program = "/lib/systemd/systemd-journald"
	testutil.RequireRoot(t)
	if _, err := os.Stat(program); err != nil {
		t.Skip("RequireJournald: ", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := exec.CommandContext(t.Context(), "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", `
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
`+program+` & pid=$!
for _ in $(seq 100); do [ -S /run/systemd/journal/socket ] && break; sleep 0.1; done
JOURNAL_TEST_WRITE=1 "$1" -test.run='^TestRealJournal$'
journalctl --sync || true
kill $pid; wait $pid || true
journalctl --directory=/run/log/journal --no-pager -o json SYSLOG_IDENTIFIER=test > "$2/all"
journalctl --directory=/run/log/journal --no-pager -o cat JOB_ID=7 CONTAINER_ID_FULL=abcdef > "$2/matched"
`, "sh", self, dir)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	matched, err := os.ReadFile(dir + "/matched")
	if err != nil || string(matched) != "job ends job=7 container_id=abc\n" {
		t.Errorf("matched %q %v", matched, err)
	}
	f, err := os.Open(dir + "/all")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []map[string]any
	for d := json.NewDecoder(f); ; {
		var e map[string]any
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if len(got) != 3 {
		t.Fatalf("%d entries, want 3", len(got))
	}
	for i, want := range []map[string]string{
		{"MESSAGE": "job ends job=7 container_id=abc", "PRIORITY": "6", "_TRANSPORT": "journal", "CONTAINER_ID": "abc"},
		{"MESSAGE": "panicked\nstack:\none\ntwo", "PRIORITY": "3", "DAVIT_STACK": "one\ntwo"},
		{"MESSAGE": "large", "PRIORITY": "4"},
	} {
		for name, value := range want {
			if got[i][name] != value {
				t.Errorf("entry %d: %s is %q, want %q", i, name, got[i][name], value)
			}
		}
	}
}

func writeEntries(t *testing.T) {
	s, err := journal.Open(journal.SocketPath)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(journal.NewHandler(s, journal.Options{Identifier: "test", Prefix: "DAVIT_", Attr: func(key, value string) (journal.Attr, bool) {
		if key == "large" {
			return journal.Attr{Fields: []journal.Field{{Name: "LARGE", Value: value}}}, true
		}
		return named(key, value)
	}}))
	for _, err := range []error{
		handle(log, slog.LevelInfo, "job ends", "job", 7, "container_id", "abcdef"),
		handle(log, slog.LevelError, "panicked", "stack", "one\ntwo"),
		handle(log, slog.LevelWarn, "large", "large", strings.Repeat("x", 10<<20)),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

// handle is [slog.Logger.Log] that tells of failures.
func handle(log *slog.Logger, level slog.Level, text string, args ...any) error {
	r := slog.NewRecord(time.Now(), level, text, 0)
	r.Add(args...)
	return log.Handler().Handle(context.Background(), r)
}

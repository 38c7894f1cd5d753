// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func now() time.Time { return time.Now().Add(50 * time.Millisecond) }

// fileOf gives a descriptor of a listener or connection.
func fileOf(t *testing.T, v any, err error) *os.File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	file, err := v.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	v.(interface{ Close() error }).Close()
	t.Cleanup(func() { file.Close() })
	return file
}

func TestSockets(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		t.Skip("a child")
	}
	dir := t.TempDir()
	listenUnix := func(name string) *os.File {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err == nil {
			l.(*net.UnixListener).SetUnlinkOnClose(false)
		}
		return fileOf(t, l, err)
	}
	listenTCP := func() *os.File {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		return fileOf(t, l, err)
	}
	regular, err := os.Create(filepath.Join(dir, "regular"))
	if err != nil {
		t.Fatal(err)
	}
	defer regular.Close()
	dgram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "dgram"), Net: "unixgram"})
	dgramFile := fileOf(t, dgram, err)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	connected := os.NewFile(uintptr(pair[0]), "connected")
	defer connected.Close()
	defer unix.Close(pair[1])

	tests := []struct {
		name    string
		names   string // LISTEN_FDNAMES; "-" leaves it out
		env     string
		files   []*os.File
		sockets int
		err     []string // words of the error
	}{
		{"one", "api", "", []*os.File{listenUnix("a")}, 1, nil},
		{"three in any order", "api-tls:api-ro:api", "", []*os.File{listenTCP(), listenUnix("c"), listenUnix("d")}, 3, nil},
		{"none", "", "LISTEN_FDS=0", nil, 0, nil},
		{"for another process", "api", "LISTEN_PID=1", []*os.File{listenUnix("e")}, 0, nil},
		{"a stored descriptor", "api:stored-state", "", []*os.File{listenUnix("f"), regular}, 1, nil},
		{"unknown name", "api:web", "", []*os.File{listenUnix("g"), listenUnix("h")}, 0, []string{`"web"`, "api, api-ro, api-tls"}},
		{"no names", "-", "", []*os.File{listenUnix("i")}, 0, []string{`""`, "FileDescriptorName="}},
		{"TCP as api", "api", "", []*os.File{listenTCP()}, 0, []string{`"api"`, "TCP", "api-tls"}},
		{"TCP as api-ro", "api-ro", "", []*os.File{listenTCP()}, 0, []string{"TCP"}},
		{"path as api-tls", "api-tls", "", []*os.File{listenUnix("j")}, 0, []string{"not TCP"}},
		{"a file", "api", "", []*os.File{regular}, 0, []string{"not a socket"}},
		{"datagrams", "api", "", []*os.File{dgramFile}, 0, []string{"not a stream", "ListenStream="}},
		{"a connection", "api", "", []*os.File{connected}, 0, []string{"does not listen", "Accept=yes"}},
		{"fewer than told", "api:api", "LISTEN_FDS=2", []*os.File{listenUnix("k")}, 0, []string{"descriptor 4"}},
		{"fewer names", "api", "", []*os.File{listenUnix("l"), listenUnix("m")}, 0, []string{"LISTEN_FDNAMES"}},
		{"nonsense", "api", "LISTEN_FDS=many", nil, 0, []string{"LISTEN_FDS"}},
		{"nonsense watchdog", "", "WATCHDOG_USEC=-5", nil, 0, []string{"WATCHDOG_USEC"}},
		{"nonsense notify socket", "", "NOTIFY_SOCKET=vsock:2:3", nil, 0, []string{"NOTIFY_SOCKET"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := runChild(t, tt.names, tt.env, tt.files)
			if len(tt.err) == 0 && r.Err != "" {
				t.Fatal(r.Err)
			}
			for _, word := range tt.err {
				if !strings.Contains(r.Err, word) {
					t.Errorf("error %q does not say %q", r.Err, word)
				}
			}
			if len(r.Sockets) != tt.sockets {
				t.Errorf("sockets %q, want %d", r.Sockets, tt.sockets)
			}
			// What was meant for another process is not ours to mark.
			if len(r.Env) > 0 || r.Leaked > 0 && !strings.HasPrefix(tt.env, "LISTEN_PID") {
				t.Errorf("a child of it has %q and %d sockets", r.Env, r.Leaked)
			}
		})
	}
}

// runChild starts the child with files as descriptors 3 and on.
func runChild(t *testing.T, names, env string, files []*os.File) report {
	t.Helper()
	// $$ is the pid of the shell, which becomes the child.
	script := `export LISTEN_PID="${LISTEN_PID:-$$}"; exec "$0"`
	cmd := exec.Command("sh", "-c", script, "/proc/self/exe")
	cmd.Args[3] = self(t)
	cmd.Env = append(os.Environ(), childEnv+"=1", "FDSTORE=4", "CREDENTIALS_DIRECTORY=/nowhere", "WATCHDOG_PID=1",
		"LISTEN_FDS="+string('0'+rune(len(files))))
	if names != "-" {
		cmd.Env = append(cmd.Env, "LISTEN_FDNAMES="+names)
	}
	if env != "" {
		cmd.Env = append(cmd.Env, env)
	}
	if strings.HasPrefix(env, "WATCHDOG_USEC") {
		cmd.Env = append(cmd.Env, "WATCHDOG_PID=") // meant for whoever reads it
	}
	cmd.ExtraFiles = files
	return runReport(t, cmd)
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func runReport(t *testing.T, cmd *exec.Cmd) report {
	t.Helper()
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errOut.String())
	}
	return decode(t, out)
}

func decode(t *testing.T, out []byte) report {
	t.Helper()
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return r
}

// The real thing: the daemon starts with the first connection, which waits.
func TestSystemdSocketActivate(t *testing.T) {
	program, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("needs systemd-socket-activate")
	}
	dir := t.TempDir()
	api, ro := filepath.Join(dir, "api.sock"), filepath.Join(dir, "ro.sock")
	cmd := exec.Command(program, "-l", api, "-l", ro, "--fdname=api:api-ro", "-E", childEnv+"=1", self(t))
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn := dialSoon(t, api)
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if waitErr := cmd.Wait(); waitErr != nil {
		t.Fatalf("%v: %s", waitErr, errOut.String())
	}
	if err != nil || line != "hello\n" {
		t.Errorf("answer is %q: %v", line, err)
	}
	r := decode(t, out.Bytes())
	if diff := cmp.Diff(report{Activated: true, Sockets: []string{"api " + api, "api-ro " + ro}}, r); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func dialSoon(t *testing.T, path string) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// SPDX-License-Identifier: Apache-2.0

package dbus_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"
	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
)

const (
	root    = godbus.ObjectPath("/org/davit/Engine1")
	manager = davit.BusName + ".Manager"
)

// TestMain fails when a server left a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// busConfig lets everybody call everything: what is refused in the tests is
// refused by the service.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="*"/><allow receive_type="*"/>
<allow send_destination="*" eavesdrop="true"/></policy></busconfig>`

// bus is a private message bus.
type bus struct {
	address string
	cmd     *exec.Cmd
}

func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s", name)
	}
}

// startBus runs dbus-daemon on a socket that every user may connect to.
func startBus(t *testing.T, config string) *bus {
	t.Helper()
	needTool(t, "dbus-daemon")
	dir, err := os.MkdirTemp("", "davit-bus-") //nolint:usetesting // t.TempDir may be too long for a socket (unix(7)), and is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket, file := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "SOCKET", socket)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dbus-daemon", "--config-file="+file, "--nofork", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &bus{cmd: cmd}
	t.Cleanup(b.stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("dbus-daemon does not start: %v", err)
	}
	b.address = strings.TrimSpace(line)
	return b
}

// stop ends the daemon; it may be called twice.
func (b *bus) stop() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
}

func (b *bus) client(t *testing.T) *godbus.Conn {
	t.Helper()
	conn, err := godbus.Connect(b.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// fixture is a served engine whose handlers do nothing but answer.
type fixture struct {
	*bus
	eng    *engine.Engine
	server *dbus.Server
	stop   func() error // ends Serve and returns its error

	mu      sync.Mutex
	last    engine.Request // of a change job
	emit    chan davit.Event
	images  []davit.ImageSummary
	release chan struct{} // lets pulls go on
	reload  error         // of a reload
	written []byte        // what jobs read from callers
	execTTY bool          // the session has a terminal
	sizes   [][2]uint     // of sessions' terminals
	busy    atomic.Int32  // calls and streams that the daemon knows of
	judge   atomic.Pointer[judge]
}

var (
	containerID = strings.Repeat("3f4e", 16)
	imageID     = digest.Digest("sha256:" + strings.Repeat("c157", 16))
	execID      = strings.Repeat("a91c", 16)
	networkID   = strings.Repeat("b7e2", 16)
	created     = time.UnixMicro(1_700_000_000_000_000)
)

func theContainer() davit.ContainerInfo {
	c := davit.ContainerInfo{}
	c.ID, c.Name, c.Created, c.ImageID, c.ImageRef = containerID, "web", created, imageID, "busybox"
	c.Config.Env = []string{"SECRET=1"}
	c.Mounts = []davit.Mount{{Type: "volume", Name: "data"}}
	c.Endpoints = []davit.Endpoint{{Address: netip.MustParsePrefix("172.30.0.2/16"), HostLink: "lo"}}
	c.State = davit.State{Status: davit.StatusRunning, Pid: 42, StartedAt: created, Unit: "davit-web.service"}
	return c
}

func theImage() davit.Image {
	return davit.Image{
		ID: imageID, Manifest: "sha256:" + digest.Digest(strings.Repeat("11", 32)), Tags: []string{"busybox:latest"},
		Digests: []string{}, Created: created, Architecture: "amd64", OS: "linux", Size: 4096,
	}
}

func register[Q engine.Typed[R], R any](t *testing.T, e *engine.Engine, ty engine.Type[Q], f func(context.Context, *engine.Job, Q) (R, error)) {
	t.Helper()
	if err := engine.Register(e, ty, f); err != nil {
		t.Fatal(err)
	}
}

func query[Q engine.Typed[R], R any](t *testing.T, e *engine.Engine, f func(Q) (R, error)) {
	t.Helper()
	register(t, e, engine.Type[Q]{Class: engine.Query}, func(_ context.Context, _ *engine.Job, q Q) (R, error) { return f(q) })
}

func change[Q engine.Typed[R], R any](t *testing.T, f *fixture, subject func(Q) string, result R) {
	t.Helper()
	ty := engine.Type[Q]{Subject: func(q Q) (string, string) { return subject(q), subject(q) }}
	register(t, f.eng, ty, func(_ context.Context, _ *engine.Job, q Q) (R, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.last = q
		return result, nil
	})
}

func (f *fixture) lastRequest() engine.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureOn(t, startBus(t, busConfig))
}

func newFixtureOn(t *testing.T, b *bus) *fixture {
	t.Helper()
	f := &fixture{
		bus: b, eng: engine.New(slog.New(slog.DiscardHandler)),
		emit: make(chan davit.Event), release: make(chan struct{}),
	}
	f.images = []davit.ImageSummary{{ID: imageID, Tags: []string{"busybox:latest"}, Created: created, Size: 4096, Containers: 1}}
	f.eng.SetAuthorizer(f)
	f.registerQueries(t)
	f.registerChanges(t)
	f.serve(t)
	return f
}

// Authorize asks the fixture's judge; without one, root may do everything and
// nobody else anything.
func (f *fixture) Authorize(ctx context.Context, c engine.Caller, a engine.Access) error {
	if j := f.judge.Load(); j != nil {
		return j.Authorize(ctx, c, a)
	}
	if c.UID == 0 {
		return nil
	}
	return engine.ErrDenied
}

func (f *fixture) registerQueries(t *testing.T) {
	t.Helper()
	query(t, f.eng, func(davit.Version) (davit.VersionInfo, error) { return davit.VersionInfo{Version: "1"}, nil })
	query(t, f.eng, func(davit.Info) (davit.EngineInfo, error) {
		return davit.EngineInfo{Containers: 1, Running: 1, Images: 1, CgroupVersion: "2", FirewallBackend: "iptables (nf_tables)"}, nil
	})
	query(t, f.eng, func(davit.Containers) ([]davit.ContainerInfo, error) {
		return []davit.ContainerInfo{theContainer()}, nil
	})
	query(t, f.eng, func(q davit.ContainerInspect) (davit.ContainerInfo, error) {
		if q.Container == "web" || (len(q.Container) >= 4 && strings.HasPrefix(containerID, q.Container)) {
			return theContainer(), nil
		}
		return davit.ContainerInfo{}, davit.Errorf(davit.NoSuchContainer, "no such container: %s", q.Container)
	})
	query(t, f.eng, func(davit.Top) (davit.ProcessTable, error) {
		return davit.ProcessTable{
			Titles:    []string{"PID", "CGROUP", "COMMAND"},
			Processes: [][]string{{"42", "1:name=systemd:/davit.slice/davit-web.service,0::/x", "httpd -f"}},
		}, nil
	})
	query(t, f.eng, func(davit.Images) ([]davit.ImageSummary, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.images, nil
	})
	query(t, f.eng, func(q davit.ImageInspect) (davit.Image, error) {
		if q.Image == "busybox" || q.Image == "busybox:latest" || q.Image == string(imageID) {
			return theImage(), nil
		}
		return davit.Image{}, davit.Errorf(davit.NoSuchImage, "no such image: %s", q.Image)
	})
	query(t, f.eng, func(davit.History) ([]davit.HistoryEntry, error) { return []davit.HistoryEntry{{CreatedBy: "x"}}, nil })
	network := davit.NetworkInfo{Network: davit.Network{ID: networkID, Name: "bridge", Driver: "bridge", Link: "davit0", Created: created}}
	query(t, f.eng, func(davit.Networks) ([]davit.NetworkInfo, error) { return []davit.NetworkInfo{network}, nil })
	query(t, f.eng, func(davit.NetworkInspect) (davit.NetworkInfo, error) { return network, nil })
	volume := davit.Volume{Name: "data", Driver: "local", Mountpoint: "/v", Created: created}
	query(t, f.eng, func(davit.Volumes) ([]davit.Volume, error) { return []davit.Volume{volume}, nil })
	f.registerFacts(t)
	query(t, f.eng, func(q davit.VolumeInspect) (davit.Volume, error) {
		if q.Volume != "data" {
			return davit.Volume{}, davit.Errorf(davit.NoSuchVolume, "no such volume: %s", q.Volume)
		}
		return volume, nil
	})
}

func (f *fixture) registerChanges(t *testing.T) {
	t.Helper()
	change(t, f, func(q davit.Start) string { return q.Container }, davit.Nothing{})
	change(t, f, func(q davit.Stop) string { return q.Container }, davit.Nothing{})
	change(t, f, func(q davit.Restart) string { return q.Container }, davit.Nothing{})
	change(t, f, func(q davit.Kill) string { return q.Container }, davit.Nothing{})
	change(t, f, func(q davit.Delete) string { return q.Container }, davit.Nothing{})
	change(t, f, func(q davit.Rename) string { return q.Container }, davit.Nothing{})
	change(t, f, func(q davit.Run) string { return q.Create.Name }, davit.Created{ID: containerID, Warnings: []string{"w"}})
	change(t, f, func(q davit.Tag) string { return q.Image }, davit.Nothing{})
	change(t, f, func(q davit.ImageDelete) string { return q.Image }, []davit.ImageDeletion{{Untagged: "busybox:latest"}, {Deleted: string(imageID)}})
	change(t, f, func(q davit.VolumeCreate) string { return q.Name }, davit.Volume{Name: "data"})
	change(t, f, func(q davit.VolumeDelete) string { return q.Volume }, davit.Nothing{})
	f.registerFiles(t)
	f.registerStreams(t)
	change(t, f, func(q davit.Pause) string { return q.Container }, davit.Nothing{})
	change(t, f, func(q davit.Unpause) string { return q.Container }, davit.Nothing{})
	change(t, f, func(q davit.ContainerCommit) string { return q.Container }, theImage())
	change(t, f, func(q davit.ExecKill) string { return q.ID }, davit.Nothing{})
	change(t, f, func(q davit.Push) string { return q.Reference }, davit.Descriptor{Digest: imageID})
	change(t, f, func(q davit.Prune) string { return q.Class }, davit.Pruned{Containers: []string{containerID}, Reclaimed: 7})
	change(t, f, func(davit.ReapplyNetworks) string { return "" }, davit.Nothing{})
	change(t, f, func(q davit.Create) string { return q.Name }, davit.Created{ID: containerID})
	change(t, f, func(q davit.ExecCreate) string { return q.Exec.ContainerID }, execID)
	register(t, f.eng, engine.Type[davit.Reload]{}, func(context.Context, *engine.Job, davit.Reload) (davit.Nothing, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return davit.Nothing{}, f.reload
	})
	register(t, f.eng, engine.Type[davit.JobCancel]{Class: engine.Query, Access: func(ctx context.Context, q davit.JobCancel) engine.Access {
		j, err := f.eng.Job(q.ID)
		return engine.Access{Open: err == nil && engine.CallerOf(ctx).Owns(j.Caller()), Action: davit.ActionManageJobs}
	}}, func(_ context.Context, _ *engine.Job, q davit.JobCancel) (davit.Nothing, error) {
		return davit.Nothing{}, f.eng.Cancel(q.ID) //nolint:contextcheck // the job that is cancelled has a context of its own
	})
	register(t, f.eng, engine.Type[davit.Restore]{Internal: true}, func(context.Context, *engine.Job, davit.Restore) (davit.Nothing, error) {
		return davit.Nothing{}, nil
	})
	pull := engine.Type[davit.Pull]{Subject: func(q davit.Pull) (string, string) { return q.Reference, q.Reference }}
	register(t, f.eng, pull, func(ctx context.Context, j *engine.Job, q davit.Pull) (davit.Image, error) {
		f.mu.Lock()
		f.last = q
		f.mu.Unlock()
		switch q.Reference {
		case "missing":
			return davit.Image{}, davit.Errorf(davit.NoSuchImage, "no such image: missing")
		case "slow":
			j.Report(engine.Progress{Phase: "Downloading", Item: "abc", Current: 1, Total: 4})
			select {
			case <-f.release:
			case <-ctx.Done():
				return davit.Image{}, ctx.Err()
			}
		}
		j.Report(engine.Progress{Phase: "Pull complete", Item: "abc", Current: 4, Total: 4})
		return theImage(), nil
	})
	register(t, f.eng, engine.Type[davit.Wait]{Class: engine.Follow}, func(ctx context.Context, _ *engine.Job, q davit.Wait) (davit.Exit, error) {
		if q.Condition == "removed" {
			<-ctx.Done()
			return davit.Exit{}, ctx.Err()
		}
		return davit.Exit{Code: 3}, nil
	})
	register(t, f.eng, engine.Type[davit.Events]{Class: engine.Follow}, func(ctx context.Context, _ *engine.Job, q davit.Events) (davit.Nothing, error) {
		for {
			select {
			case e := <-f.emit:
				if err := q.Emit(e); err != nil {
					return davit.Nothing{}, err
				}
			case <-ctx.Done():
				return davit.Nothing{}, ctx.Err()
			}
		}
	})
}

// serve starts the server and waits until it is ready.
func (f *fixture) serve(t *testing.T) {
	t.Helper()
	level := "info"
	f.server = dbus.New(f.eng, dbus.Options{
		Address: f.address,
		Properties: dbus.Properties{
			DataRoot: "/var/lib/davit", ExecRoot: "/run/davit", StorageDriver: "overlay",
			Sockets: [][2]string{{"api", "unix:///run/davit/davit.sock"}}, LastHealthCheck: func() time.Duration { return time.Minute },
		},
		LogControl: dbus.LogControl{Target: "journal", Level: func() string { return level }, SetLevel: func(l string) error {
			level = l
			return nil
		}},
		Begin: func() func() {
			f.busy.Add(1)
			return func() { f.busy.Add(-1) }
		},
		DecodeCreate: func(name string, config []byte) (davit.Create, error) {
			q := davit.Create{Name: name}
			if err := json.Unmarshal(config, &q.Config); err != nil {
				return q, davit.Errorf(davit.InvalidConfiguration, "invalid JSON: %w", err)
			}
			return q, nil
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- f.server.Serve(ctx, func() { close(ready) }) }()
	f.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = f.stop() })
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("the server does not start: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("the server is not ready after 10 s")
	}
	// Job 1; the tests' own are the next.
	testutil.Eventually(t, 20*time.Second, "the job that follows events", func() bool { return len(f.eng.Jobs()) > 0 })
}

// call calls a Manager method.
func (f *fixture) call(conn *godbus.Conn, member string, args ...any) *godbus.Call {
	return conn.Object(davit.BusName, root).Call(manager+"."+member, 0, args...)
}

func errorNameOf(err error) string {
	var e godbus.Error
	if errors.As(err, &e) {
		return e.Name
	}
	return ""
}

func readAll(t *testing.T, fd godbus.UnixFD) string {
	t.Helper()
	file := os.NewFile(uintptr(fd), "output")
	defer file.Close()
	b, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var noOptions = map[string]godbus.Variant{}

// lockedBuffer collects the output of a process.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

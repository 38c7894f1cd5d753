// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

// host is a machine with fakes for drivers. Daemons come and go on it.
type host struct {
	t       *testing.T
	config  davit.Config
	rt      *fake.Runtime
	net     *fake.Network
	resolve *fake.Resolver
	state   *fake.State
	images  *fake.Images
	rootfs  *fake.Rootfs
	volumes *fake.Volumes
	files   *fake.Files
	hub     *fake.Hub
	pulls   *fake.Registry
}

// onHost runs a test on a host of its own, with time that passes only when
// everybody waits.
func onHost(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &host{
			t: t, config: davit.DefaultConfig(),
			rt: fake.NewRuntime(), net: fake.NewNetwork(netip.MustParsePrefix("172.30.0.0/16")),
			resolve: &fake.Resolver{}, state: fake.NewState(), images: fake.NewImages(),
			volumes: fake.NewVolumes(t.TempDir()), files: &fake.Files{}, hub: fake.NewHub(),
		}
		h.config.DataRoot = t.TempDir()
		h.rootfs, h.pulls = fake.NewRootfs(t.TempDir(), h.images), fake.NewRegistry(h.hub)
		h.images.Add("busybox", davit.ContainerConfig{
			Cmd: []string{"/bin/sleep", "1000"}, Env: []string{"PATH=/bin", "FROM=image"}, Labels: map[string]string{"image": "1.0"},
		}, map[string]string{"bin/sleep": "#!", "data/seed": "from the image"})
		test(t, h)
	})
}

// daemon is one run of the service.
type daemon struct {
	*host
	eng  *engine.Engine
	svc  *service.Service
	rest *fake.Door
	gate *fake.Gate
	next davit.Config // what a reload reads
	bad  error        // why a reload cannot
	// what a reload told the rest of the daemon, and why that cannot follow
	reloads []string
	applied []davit.Config
	unfit   error
	end     context.CancelFunc
}

// boot starts a daemon, which the test's end stops unless it was before.
func (h *host) boot() *daemon {
	h.t.Helper()
	d := h.build(nil)
	if err := d.svc.Boot(d.context(), nil, func(string) {}); err != nil {
		h.t.Fatal(err)
	}
	return d
}

// build makes a daemon that has not booted; change may alter its drivers.
func (h *host) build(change func(*service.Options)) *daemon {
	h.t.Helper()
	h.state.Reopen()
	h.net.Restart()
	log := slog.New(slog.NewTextHandler(h.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	d := &daemon{host: h, eng: engine.New(log), rest: fake.NewDoor(), gate: &fake.Gate{}, next: h.config}
	o := service.Options{
		Engine: d.eng, Log: log, Config: h.config,
		Facts:         facts(),
		Configuration: configuration{d},
		Drivers: service.Drivers{
			Runtime: h.rt, Network: h.net, Resolver: h.resolve, State: h.state, Images: h.images, Rootfs: h.rootfs,
			Volumes: h.volumes, Files: h.files, Registry: h.pulls, REST: d.rest, Gate: d.gate,
		},
	}
	if change != nil {
		change(&o)
	}
	var err error
	if d.svc, err = service.New(o); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(d.kill)
	return d
}

// configuration is the rest of the daemon in a reload.
type configuration struct{ d *daemon }

func (c configuration) Reloading() func(error) {
	c.d.reloads = append(c.d.reloads, "begun")
	return func(err error) {
		if err != nil {
			c.d.reloads = append(c.d.reloads, "failed")
			return
		}
		c.d.reloads = append(c.d.reloads, "done")
	}
}

func (c configuration) Load() (davit.Config, error) { return c.d.next, c.d.bad }

func (c configuration) Apply(next davit.Config) error {
	if c.d.unfit == nil {
		c.d.applied = append(c.d.applied, next)
	}
	return c.d.unfit
}

// context is that of the daemon itself.
func (d *daemon) context() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	d.end = cancel
	return ctx
}

// kill ends the daemon as kill -9 does: what it has in memory is gone, the
// drivers are not told.
func (d *daemon) kill() {
	if d.end == nil {
		return
	}
	d.end()
	d.end = nil
	for _, j := range d.eng.Jobs() {
		if s := j.Snapshot(); s.Class == engine.Follow {
			_ = j.Cancel() // those of doors are fixed, and end with the context
		}
	}
	if err := d.svc.Close(); err != nil {
		d.t.Error(err)
	}
	synctest.Wait()
}

// outside is the context of a caller of the REST socket.
func outside(t *testing.T) context.Context {
	return engine.WithCaller(t.Context(), engine.Caller{Transport: engine.REST})
}

// try runs a job for a caller from outside.
func try[Q engine.Typed[R], R any](d *daemon, q Q) (R, error) {
	return engine.Do(outside(d.t), d.eng, q)
}

// do is try for what must succeed.
func do[Q engine.Typed[R], R any](d *daemon, q Q) R {
	d.t.Helper()
	r, err := try(d, q)
	if err != nil {
		d.t.Fatalf("%s: %v", q.JobType(), err)
	}
	return r
}

// refused runs a job that must fail with the code.
func refused[Q engine.Typed[R], R any](d *daemon, q Q, code davit.Code) error {
	d.t.Helper()
	_, err := try(d, q)
	if err == nil {
		d.t.Errorf("%s %+v succeeded, want code %s", q.JobType(), q, code)
	} else if got := davit.CodeOf(err); got != code {
		d.t.Errorf("%s: code %s, want %s: %v", q.JobType(), got, code, err)
	}
	return err
}

// create makes a container of the image busybox.
func (d *daemon) create(name string, change ...func(*davit.Create)) string {
	d.t.Helper()
	return do(d, request(name, change...)).ID
}

func request(name string, change ...func(*davit.Create)) davit.Create {
	q := davit.Create{Name: name, Config: davit.ContainerConfig{Image: "busybox"}}
	for _, f := range change {
		f(&q)
	}
	return q
}

// run makes a container and starts it.
func (d *daemon) run(name string, change ...func(*davit.Create)) string {
	d.t.Helper()
	id := d.create(name, change...)
	do(d, davit.Start{Container: id})
	return id
}

func script(line string) func(*davit.Create) {
	return func(q *davit.Create) { q.Config.Cmd = []string{"/bin/sh", "-c", line} }
}

// deaf is a program that only KILL ends.
var deaf = script("while :; do sleep 1; done")

func network(mode string) func(*davit.Create) {
	return func(q *davit.Create) { q.HostConfig.NetworkMode = mode }
}

func policy(name string) func(*davit.Create) {
	return func(q *davit.Create) { q.HostConfig.RestartPolicy.Name = name }
}

func autoRemove(q *davit.Create) { q.HostConfig.AutoRemove = true }

func publish(port string) func(*davit.Create) {
	return func(q *davit.Create) {
		q.HostConfig.PortBindings = map[string][]davit.PortBinding{"80/tcp": {{HostPort: port}}}
	}
}

func volume(source, target string) func(*davit.Create) {
	return func(q *davit.Create) { q.HostConfig.Binds = append(q.HostConfig.Binds, source+":"+target) }
}

func (d *daemon) inspect(ref string) davit.ContainerInfo {
	d.t.Helper()
	return do(d, davit.ContainerInspect{Container: ref})
}

// settle waits until nothing happens any more, without letting time pass.
func settle() { synctest.Wait() }

// text describes all that is on the host, for comparisons.
func (h *host) text() string {
	var b strings.Builder
	recs, err := h.state.Containers()
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, r := range recs {
		fmt.Fprintf(&b, "record %s\n", r.Name)
	}
	for _, id := range h.rootfs.Containers() {
		fmt.Fprintf(&b, "rootfs %s\n", id)
	}
	if n := h.rootfs.Mounts(); n > 0 {
		fmt.Fprintf(&b, "%d mounts\n", n)
	}
	volumes, err := h.volumes.List()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, v := range volumes {
		fmt.Fprintf(&b, "volume %s\n", v.Name)
	}
	known, err := h.rt.Known()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, id := range known {
		fmt.Fprintf(&b, "monitor %s\n", id)
	}
	b.WriteString(h.net.Text() + h.net.Reserved())
	dirs, err := os.ReadDir(filepath.Join(h.config.DataRoot, "containers"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	for _, d := range dirs {
		fmt.Fprintf(&b, "directory %s\n", d.Name())
	}
	return b.String()
}

// unchanged fails the test unless the host is as it was.
func (h *host) unchanged(before, after string) {
	h.t.Helper()
	if now := h.text(); now != before {
		h.t.Errorf("%s: the host was\n%s\nand is\n%s", after, before, now)
	}
}

// past returns the events so far that pass the filters, as "type action name".
func (d *daemon) past(filters map[string][]string) []string {
	d.t.Helper()
	var out []string
	_ = do(d, davit.Events{Since: time.Unix(1, 0), Until: time.Now(), Filters: filters, Emit: func(ev davit.Event) error {
		name := ev.Attributes["name"]
		if ev.Type == "volume" {
			name = ev.ActorID
		}
		out = append(out, strings.TrimSpace(ev.Type+" "+ev.Action+" "+name))
		return nil
	}})
	return out
}

// actions returns the actions of a container's events.
func (d *daemon) actions(id string) []string {
	d.t.Helper()
	var out []string
	for _, ev := range d.past(map[string][]string{"container": {id}, "type": {"container"}}) {
		out = append(out, strings.Fields(ev)[1])
	}
	return out
}

// wantActions compares a container's events. That a signal was sent is told
// once it was: the death that it causes may come first.
func wantActions(t *testing.T, d *daemon, id string, want ...string) {
	t.Helper()
	got := d.actions(id)
	for i := range max(len(got)-1, 0) {
		if got[i] == "die" && got[i+1] == "kill" {
			got[i], got[i+1] = "kill", "die"
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// facts are those of a host with cgroup v2 and every limit of it.
func facts() davit.HostFacts {
	return davit.HostFacts{Hostname: "host", NCPU: 2, CgroupVersion: "2", Seccomp: true, Cgroups: davit.CgroupSupport{
		Memory: true, MemoryReservation: true, Swap: true, Pids: true, CPUShares: true, CPUQuota: true, Cpuset: true, CPUs: "0-1", Mems: "0",
		BlkioWeight: true, BlkioWeightDevice: true, BlkioThrottle: true, Namespaces: true,
	}}
}

// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/service/access"
)

// binder allows /ok, and /ro when it is read-only.
type binder struct{}

func (binder) MayBind(source string, readOnly bool) error {
	if source == "/ok" || (source == "/ro" && readOnly) {
		return nil
	}
	return errors.New("not listed")
}

func TestEqualsRoot(t *testing.T) {
	for _, tc := range []struct {
		name string
		h    davit.HostConfig
		want string // of the reason; "" is harmless
	}{
		{"nothing", davit.HostConfig{}, ""},
		{"the usual", davit.HostConfig{
			NetworkMode: "bridge", Resources: davit.Resources{Memory: 1 << 30}, AutoRemove: true, CapDrop: []string{"ALL"}, Tmpfs: map[string]string{"/tmp": "size=1m"},
			PortBindings: map[string][]davit.PortBinding{"80/tcp": {{HostPort: "8080"}}}, ReadonlyRootfs: true,
		}, ""},
		{"no network", davit.HostConfig{NetworkMode: "none"}, ""},
		{"privileged", davit.HostConfig{Privileged: true}, "privileged"},
		{"host network", davit.HostConfig{NetworkMode: "host"}, "network"},
		{"capability", davit.HostConfig{CapAdd: []string{"SYS_ADMIN"}}, "SYS_ADMIN"},
		{"capability, other spelling", davit.HostConfig{CapAdd: []string{"chown", "cap_sys_ptrace"}}, "SYS_PTRACE"},
		{"all capabilities", davit.HostConfig{CapAdd: []string{"all"}}, "ALL"},
		{"default capabilities", davit.HostConfig{CapAdd: []string{"CHOWN", "cap_net_raw"}}, ""},
		{"device nodes", davit.HostConfig{CapAdd: []string{"MKNOD"}}, "MKNOD"},
		{"no new privileges", davit.HostConfig{SecurityOpt: []string{"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"}}, ""},
		{"default seccomp", davit.HostConfig{SecurityOpt: []string{"seccomp=builtin"}}, ""},
		{"no seccomp", davit.HostConfig{SecurityOpt: []string{"seccomp=unconfined"}}, "seccomp"},
		{"no seccomp, old form", davit.HostConfig{SecurityOpt: []string{"seccomp:unconfined"}}, "seccomp"},
		{"own seccomp", davit.HostConfig{SecurityOpt: []string{`seccomp={"defaultAction":"SCMP_ACT_ALLOW"}`}}, "seccomp"},
		{"no apparmor", davit.HostConfig{SecurityOpt: []string{"apparmor=unconfined"}}, "apparmor"},
		{"no label", davit.HostConfig{SecurityOpt: []string{"label=disable"}}, "label"},
		{"no masks", davit.HostConfig{SecurityOpt: []string{"systempaths=unconfined"}}, "systempaths"},
		{"own sysctl", davit.HostConfig{Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmax": "1", "net/ipv4/ip_forward": "1"}}, ""},
		{"host's sysctl", davit.HostConfig{Sysctls: map[string]string{"kernel.core_pattern": "|/x"}}, "kernel.core_pattern"},
		{"host's sysctl, other spelling", davit.HostConfig{Sysctls: map[string]string{"kernel/core_pattern": "|/x"}}, "core_pattern"},
		{"bind", davit.HostConfig{Binds: []string{"/etc:/mnt"}}, "/etc"},
		{"bind, read-only", davit.HostConfig{Binds: []string{"/etc:/mnt:ro"}}, "/etc"},
		{"bind of the list", davit.HostConfig{Binds: []string{"/ok:/mnt", "vol:/v"}}, ""},
		{"read-only bind of the list", davit.HostConfig{Binds: []string{"/ro:/mnt:nocopy,ro"}}, ""},
		{"writable bind of what must not be written", davit.HostConfig{Binds: []string{"/ro:/mnt:rw"}}, "/ro"},
		{"bind without target", davit.HostConfig{Binds: []string{"/etc"}}, "/etc"},
		{"bind that receives mounts", davit.HostConfig{Binds: []string{"/ok:/mnt:ro,rslave"}}, "later mounts"},
		{"mount that receives mounts", davit.HostConfig{Mounts: []davit.MountRequest{{Type: "bind", Source: "/ok", Propagation: "slave"}}}, "later mounts"},
		{"private bind", davit.HostConfig{Binds: []string{"/ok:/mnt:rprivate"}}, ""},
		{"second bind", davit.HostConfig{Binds: []string{"/ok:/mnt", "/etc:/m:ro"}}, "/etc"},
		{"mount", davit.HostConfig{Mounts: []davit.MountRequest{{Type: "bind", Source: "/etc", Target: "/m"}}}, "/etc"},
		{"mount, read-only", davit.HostConfig{Mounts: []davit.MountRequest{{Type: "bind", Source: "/ro", Target: "/m", ReadOnly: true}}}, ""},
		{"mount of an image", davit.HostConfig{Mounts: []davit.MountRequest{{Type: "image", Source: "busybox", Target: "/m"}}}, ""},
		{"mount of a volume with options", davit.HostConfig{Mounts: []davit.MountRequest{{Type: "volume", Source: "v", Target: "/m", VolumeOptions: map[string]string{"device": "/etc"}}}}, "options"},
		{"host's processes", davit.HostConfig{PidMode: "host"}, "processes"},
		{"host's IPC", davit.HostConfig{IpcMode: "host"}, "IPC"},
		{"host's name", davit.HostConfig{UTSMode: "host"}, "name"},
		{"own namespaces", davit.HostConfig{PidMode: "private", IpcMode: "shareable", CgroupnsMode: "private"}, ""},
		{"nothing hidden", davit.HostConfig{MaskedPaths: []string{}}, "/proc"},
		{"nothing read-only", davit.HostConfig{ReadonlyPaths: []string{}}, "/proc"},
		{"cgroup parent", davit.HostConfig{Resources: davit.Resources{CgroupParent: "system.slice"}}, "cgroup"},
		{"device", davit.HostConfig{Resources: davit.Resources{Devices: []davit.DeviceMapping{{PathOnHost: "/dev/sda"}}}}, "/dev/sda"},
		{"device rule", davit.HostConfig{Resources: davit.Resources{DeviceCgroupRules: []string{"b 8:0 rwm"}}}, "b 8:0"},
		{"device request", davit.HostConfig{Resources: davit.Resources{DeviceRequests: []davit.DeviceRequest{{Driver: "cdi"}}}}, "cdi"},
		{"mount with a made source", davit.HostConfig{Mounts: []davit.MountRequest{{Type: "bind", Source: "/etc/new", Target: "/m", CreateMountpoint: true, ReadOnly: true}}}, "/etc/new"},
		{"shallow mount", davit.HostConfig{Mounts: []davit.MountRequest{{Type: "bind", Source: "/etc", Target: "/m", NonRecursive: true}}}, "/etc"},
		{"mount of a volume", davit.HostConfig{Mounts: []davit.MountRequest{{Type: "volume", Source: "v", Target: "/m"}, {Type: "tmpfs", Target: "/t"}}}, ""},
		{"mount of an unknown type", davit.HostConfig{Mounts: []davit.MountRequest{{Type: "npipe", Source: "/x", Target: "/m"}}}, "/x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := access.EqualsRoot(&tc.h, binder{})
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("reason %q, want %q", got, tc.want)
			}
		})
	}
}

// harmless are the fields of a HostConfig that give a container nothing of the
// host, whatever they say.
var harmless = []string{
	"Tmpfs", "PortBindings", "PublishAllPorts", "RestartPolicy", "AutoRemove", "ReadonlyRootfs", "CapDrop",
	"DNS", "DNSSearch", "DNSOptions", "ExtraHosts", "GroupAdd", "ShmSize", "Memory", "MemoryReservation", "MemorySwap",
	"MemorySwappiness", "OomKillDisable", "NanoCPUs", "CPUShares", "CPUPeriod", "CPUQuota", "CPURealtimePeriod", "CPURealtimeRuntime",
	"CpusetCpus", "CpusetMems", "PidsLimit", "BlkioWeight", "BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps",
	"BlkioDeviceReadIOps", "BlkioDeviceWriteIOps", "OomScoreAdj", "Ulimits", "Init", "ConsoleSize", "LogConfig", "Annotations",
	"CgroupnsMode", "UsernsMode", "StorageOpt", "Runtime", "Links", "ContainerIDFile", "Umask", "VolumeDriver",
}

// examined are those that [access.EqualsRoot] and the rules look at.
var examined = []string{
	"Binds", "Mounts", "NetworkMode", "Privileged", "CapAdd", "SecurityOpt", "Sysctls", "PidMode", "IpcMode", "UTSMode",
	"MaskedPaths", "ReadonlyPaths", "VolumesFrom", "CgroupParent", "Devices", "DeviceCgroupRules", "DeviceRequests",
}

// TestEveryFieldWasThoughtAbout fails when a HostConfig gets a field, until it
// is decided here whether that equals root.
func TestEveryFieldWasThoughtAbout(t *testing.T) {
	var fields []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[davit.HostConfig]()) {
		if !f.Anonymous {
			fields = append(fields, f.Name)
		}
	}
	known := slices.Concat(harmless, examined)
	slices.Sort(fields)
	slices.Sort(known)
	if !slices.Equal(fields, known) {
		t.Errorf("HostConfig has the fields\n%v, decided is on\n%v", fields, known)
	}
}

// world is an engine with some containers, sessions and volumes.
type world struct {
	records  []davit.Container
	sessions map[string]davit.Exec
	volumes  map[string]davit.Volume
}

func (w world) Records() []davit.Container { return w.records }

func (w world) Find(ref string) (davit.Container, error) {
	for _, r := range w.records {
		if r.Name == ref || r.ID == ref {
			return r, nil
		}
	}
	return davit.Container{}, davit.Errorf(davit.NoSuchContainer, "none")
}

func (w world) Session(id string) (davit.Exec, error) {
	if x, ok := w.sessions[id]; ok {
		return x, nil
	}
	return davit.Exec{}, davit.Errorf(davit.NoSuchExec, "none")
}

func (w world) Volume(name string) (davit.Volume, error) {
	if v, ok := w.volumes[name]; ok {
		return v, nil
	}
	return davit.Volume{}, davit.Errorf(davit.NoSuchVolume, "none")
}

func TestRules(t *testing.T) {
	w := world{
		records: []davit.Container{
			{ID: "1", Name: "plain", Mounts: []davit.Mount{{Type: "volume", Name: "mine"}}},
			{ID: "2", Name: "strong", HostConfig: davit.HostConfig{Privileged: true, Binds: []string{"secrets:/s"}}},
			{ID: "3", Name: "host", HostConfig: davit.HostConfig{NetworkMode: "host"}, Mounts: []davit.Mount{{Type: "volume", Name: "anon"}}},
			{ID: "4", Name: "sharing", HostConfig: davit.HostConfig{Binds: []string{"secrets:/s"}}},
			// What these mount is in no configuration: it came of containers that are gone.
			{ID: "5", Name: "heir", HostConfig: davit.HostConfig{VolumesFrom: []string{"1"}}, Mounts: []davit.Mount{{Type: "bind", Source: "/etc", Target: "/e"}, {Type: "volume", Name: "heirloom"}}},
			{ID: "6", Name: "second", HostConfig: davit.HostConfig{VolumesFrom: []string{"5:ro"}}, Mounts: []davit.Mount{{Type: "volume", Name: "mine"}}},
			{ID: "7", Name: "mounted", Mounts: []davit.Mount{{Type: "volume", Name: "disk", VolumeOptions: map[string]string{"device": "/dev/sda"}}}},
			{ID: "8", Name: "receiver", Mounts: []davit.Mount{{Type: "bind", Source: "/ok", Propagation: "rslave"}}},
			{ID: "9", Name: "by-name", HostConfig: davit.HostConfig{Binds: []string{"etc:/e"}}},
			{ID: "10", Name: "allowed", Mounts: []davit.Mount{{Type: "bind", Source: "/ok", ReadWrite: true}, {Type: "image", Source: "sha256:1"}, {Type: "tmpfs"}}},
			{ID: "12", Name: "debugged"},
			{ID: "13", Name: "debugger", HostConfig: davit.HostConfig{Privileged: true, PidMode: "container:12"}},
			{ID: "14", Name: "donor"},
			{ID: "15", Name: "reader", HostConfig: davit.HostConfig{NetworkMode: "host", IpcMode: "container:14"}},
			{ID: "16", Name: "friend", HostConfig: davit.HostConfig{PidMode: "container:1", IpcMode: "container:1"}},
			{ID: "11", Name: "loop", HostConfig: davit.HostConfig{VolumesFrom: []string{"loop"}}},
		},
		sessions: map[string]davit.Exec{
			"plain":      {ContainerID: "1"},
			"privileged": {ContainerID: "1", Privileged: true},
			"strong":     {ContainerID: "2"},
		},
		volumes: map[string]davit.Volume{
			"etc":  {Name: "etc", Options: map[string]string{"type": "none", "o": "bind", "device": "/etc"}},
			"mine": {Name: "mine"},
		},
	}
	r := access.NewRules(w, binder{})
	ctx := t.Context()
	create := func(h davit.HostConfig) davit.Create { return davit.Create{HostConfig: h} }
	enter := access.Enter(r, davit.ActionTransferFiles, func(q davit.ContainerCopy) string { return q.Container })
	cp := func(ref string) engine.Access { return enter(ctx, davit.ContainerCopy{Container: ref}) }
	const root = davit.ActionRunPrivileged
	for _, tc := range []struct {
		name string
		got  engine.Access
		want string
		why  string
	}{
		{"create", r.Create(ctx, create(davit.HostConfig{})), davit.ActionManageContainers, ""},
		{"create privileged", r.Create(ctx, create(davit.HostConfig{Privileged: true})), root, "privileged"},
		{"run privileged", r.Run(ctx, davit.Run{Create: create(davit.HostConfig{Privileged: true})}), root, "privileged"},
		{"join a network", r.Create(ctx, create(davit.HostConfig{NetworkMode: "container:plain"})), davit.ActionManageContainers, ""},
		{"join the host's by another", r.Create(ctx, create(davit.HostConfig{NetworkMode: "container:host"})), root, "container host"},
		{"join one that is not there", r.Create(ctx, create(davit.HostConfig{NetworkMode: "container:gone"})), root, "gone"},
		{"volume", r.Create(ctx, create(davit.HostConfig{Binds: []string{"mine:/m", "new:/n"}})), davit.ActionManageContainers, ""},
		{"volume with options", r.Create(ctx, create(davit.HostConfig{Binds: []string{"etc:/m"}})), root, "volume etc"},
		{"mount of it", r.Create(ctx, create(davit.HostConfig{Mounts: []davit.MountRequest{{Type: "volume", Source: "etc"}}})), root, "volume etc"},
		{"volume of a strong one", r.Create(ctx, create(davit.HostConfig{Binds: []string{"secrets:/m"}})), root, "container strong"},
		{"resolved volume of one", r.Create(ctx, create(davit.HostConfig{Binds: []string{"anon:/m"}})), root, "container host"},

		{"volumes of another", r.Create(ctx, create(davit.HostConfig{VolumesFrom: []string{"plain:ro"}})), davit.ActionManageContainers, ""},
		{"volumes of one with an allowed bind", r.Create(ctx, create(davit.HostConfig{VolumesFrom: []string{"allowed"}})), davit.ActionManageContainers, ""},
		{"volumes of a strong one", r.Create(ctx, create(davit.HostConfig{VolumesFrom: []string{"strong:ro"}})), root, "volumes of container strong"},
		{"a bind that was inherited", r.Create(ctx, create(davit.HostConfig{VolumesFrom: []string{"heir"}})), root, "volumes of container heir"},
		{"by two steps", r.Create(ctx, create(davit.HostConfig{VolumesFrom: []string{"plain", "second"}})), root, "volumes of container second"},
		{"a volume with options that was", r.Create(ctx, create(davit.HostConfig{VolumesFrom: []string{"mounted"}})), root, "volumes of container mounted"},
		{"one that is named", r.Create(ctx, create(davit.HostConfig{VolumesFrom: []string{"by-name"}})), root, "volumes of container by-name"},
		{"a bind that receives", r.Create(ctx, create(davit.HostConfig{VolumesFrom: []string{"receiver"}})), root, "volumes of container receiver"},
		{"volumes of nobody", r.Create(ctx, create(davit.HostConfig{VolumesFrom: []string{"gone"}})), root, "gone"},
		{"volumes in a circle", r.Create(ctx, create(davit.HostConfig{VolumesFrom: []string{"loop"}})), root, "loop"},
		{"volume of an heir", r.Create(ctx, create(davit.HostConfig{Binds: []string{"heirloom:/h"}})), root, "container heir"},
		{"processes of an heir", r.Create(ctx, create(davit.HostConfig{PidMode: "container:heir"})), root, "container heir"},
		{"copy of an heir", cp("heir"), root, "/etc"},

		{"copy", cp("plain"), davit.ActionTransferFiles, ""},
		{"copy of nothing", cp("gone"), davit.ActionTransferFiles, ""},
		{"copy of a strong one", cp("strong"), root, "container strong: it is privileged"},
		{"copy of one that a strong one sees", cp("debugged"), root, "container debugger"},
		{"copy of one whose memory a strong one reads", cp("donor"), root, "container reader"},
		{"join one that a strong one sees", r.Create(ctx, create(davit.HostConfig{PidMode: "container:debugged"})), root, "container debugged"},
		{"copy of one that shares", cp("sharing"), root, "secrets"},

		{"exec", r.ExecCreate(ctx, davit.ExecCreate{Exec: davit.Exec{ContainerID: "plain"}}), davit.ActionExec, ""},
		{"exec privileged", r.ExecCreate(ctx, davit.ExecCreate{Exec: davit.Exec{ContainerID: "plain", Privileged: true}}), root, "privileged"},
		{"exec in a strong one", r.ExecCreate(ctx, davit.ExecCreate{Exec: davit.Exec{ContainerID: "2"}}), root, "strong"},
		{"start of a session", r.ExecStart(ctx, davit.ExecStart{ID: "plain"}), davit.ActionExec, ""},
		{"start of a privileged one", r.ExecStart(ctx, davit.ExecStart{ID: "privileged"}), root, "privileged"},
		{"start of one in a strong one", r.ExecStart(ctx, davit.ExecStart{ID: "strong"}), root, "strong"},
		{"start of none", r.ExecStart(ctx, davit.ExecStart{ID: "gone"}), davit.ActionExec, ""},

		{"volume create", access.VolumeCreate(ctx, davit.VolumeCreate{Name: "v"}), davit.ActionManageVolumes, ""},
		{"with options", access.VolumeCreate(ctx, davit.VolumeCreate{Options: map[string]string{"device": "/etc"}}), root, "options"},
		{"descriptor", access.Descriptor(ctx, davit.RootDirectory{}), root, "directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.got.Action != tc.want || !strings.Contains(tc.got.Details["reason"], tc.why) || tc.got.Open {
				t.Errorf("needs %s (%v), want %s because %q", tc.got.Action, tc.got.Details, tc.want, tc.why)
			}
		})
	}
}

// impatient is a world that cannot be asked without end.
type impatient struct {
	world
	left *int
}

func (w impatient) Find(ref string) (davit.Container, error) {
	if *w.left--; *w.left < 0 {
		return davit.Container{}, errors.New("asked too often")
	}
	return w.world.Find(ref)
}

// TestManyWays has a chain of containers that each take the volumes of the one
// before many times: nobody is to keep the daemon busy with so few of them.
func TestManyWays(t *testing.T) {
	left := 1000
	w := impatient{left: &left}
	var from []string
	for i := range 12 {
		id := fmt.Sprint(i)
		w.records = append(w.records, davit.Container{ID: id, HostConfig: davit.HostConfig{VolumesFrom: from}})
		from = slices.Repeat([]string{id, id + ":ro"}, 10)
	}
	got := access.NewRules(w, binder{}).Create(t.Context(), davit.Create{HostConfig: davit.HostConfig{VolumesFrom: from}})
	if got.Action != davit.ActionManageContainers {
		t.Errorf("needs %s (%v) after %d questions", got.Action, got.Details, 1000-left)
	}
}

// TestMayBind uses the real file system: who can change what a path means, and
// what can be left there.
func TestMayBind(t *testing.T) {
	testutil.RequireRoot(t)
	// Not below /tmp, which everybody can write to.
	top, err := os.MkdirTemp("/run", "davit-bind-") //nolint:usetesting // as said
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(top)) })
	must(t, os.Chmod(top, 0o755))
	mount(t, top+"/inert", "nosuid,nodev")
	mount(t, top+"/live", "suid,dev")
	for dir, mode := range map[string]os.FileMode{
		"inert/data/sub": 0o755, "inert/joe/own": 0o755, "inert/open/sub": 0o755, "inert/group/sub": 0o755, "live/data": 0o755,
		"inert/with/mount": 0o755,
	} {
		must(t, os.MkdirAll(filepath.Join(top, dir), mode))
	}
	must(t, os.WriteFile(top+"/inert/data/file", nil, 0o644))
	must(t, os.Chown(top+"/inert/joe", 1000, 0))
	must(t, os.Chmod(top+"/inert/open", 0o777|os.ModeSticky))
	must(t, os.Chmod(top+"/inert/group", 0o775))
	must(t, os.Symlink("data", top+"/inert/link"))
	must(t, os.Symlink("/etc", top+"/inert/data/etc"))
	mount(t, top+"/inert/with/mount", "suid,dev")

	p := access.NewPolicy(access.Options{Config: access.Config{BindAllow: []string{top + "/inert/", top + "/live", "relative"}}})
	for _, tc := range []struct {
		path     string
		readOnly bool
		want     string // of the reason; "" is allowed
	}{
		{"inert", false, "mounted below it"},
		{"inert/data", false, ""},
		{"inert/data/", false, ""},
		{"inert//data/./sub", false, ""},
		{"inert/data/file", false, ""},
		{"inert/joe", false, ""}, // what is in it is his; that it is there is root's
		{"inert/joe/own", false, "inert/joe/ can be changed"},
		{"inert/open/sub", true, "inert/open/ can be changed"},
		{"inert/group/sub", true, "inert/group/ can be changed"},
		{"inert/link", true, "is a link"},
		{"inert/link/sub", true, "is a link"},
		{"inert/data/etc", true, "is a link"},
		{"inert/data/etc/shadow", true, "is a link"},
		{"inert/data/missing", true, "no such file"},
		{"inert/data/file/x", true, "not a directory"},
		{"inert/data/../../../../etc", true, ".."},
		{"inert/..", true, ".."},
		{"inertia", true, "bind-allow"},
		{"", true, "bind-allow"},
		{"live/data", false, "nosuid,nodev"},
		{"live/data", true, ""},
		{"inert/with", true, "mounted below it"},
		{"inert/with/mount", false, "nosuid,nodev"},
		{"inert/with/mount", true, ""},
	} {
		err := p.MayBind(top+"/"+tc.path, tc.readOnly)
		if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s (read-only %v): %v, want %q", tc.path, tc.readOnly, err, tc.want)
		}
	}
	for _, path := range []string{"", "relative", "relative/x", "/", "/etc", "/proc/self/root/etc"} {
		if err := p.MayBind(path, true); err == nil {
			t.Errorf("%q may be mounted", path)
		}
	}
	p.Set(access.Config{})
	if err := p.MayBind(top+"/inert/data", true); err == nil {
		t.Error("what was taken off the list may be mounted")
	}
}

// TestMayBindLooksAtAnothersMounts asks about a directory that only another
// process sees as it is mounted: as PID 1 does, beside a daemon in a sandbox.
func TestMayBindLooksAtAnothersMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("RequireRoot: needs root")
	}
	top, err := os.MkdirTemp("/run", "davit-bind-") //nolint:usetesting // not below /tmp, which everybody can write to
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(top)) })
	must(t, os.Chmod(top, 0o755))
	mount(t, top, "suid,dev")
	host := exec.Command("unshare", "-m", "sh", "-c", `mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$0" && mkdir "$0/data" && echo ready && read x`, top)
	in, err := host.StdinPipe()
	must(t, err)
	out, err := host.StdoutPipe()
	must(t, err)
	must(t, host.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = host.Wait() // read fails at the end of its input
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Skipf("RequireMount: %q, %v", line, err)
	}
	config := access.Config{BindAllow: []string{top}}
	own := access.NewPolicy(access.Options{Config: config})
	others := access.NewPolicy(access.Options{Config: config, HostProc: fmt.Sprintf("/proc/%d", host.Process.Pid)})
	if err := others.MayBind(top+"/data", false); err != nil {
		t.Errorf("with the other's mounts: %v", err)
	}
	if err := own.MayBind(top+"/data", false); err == nil {
		t.Error("with the test's own mounts there is no such directory")
	}
	if err := own.MayBind(top, false); err == nil {
		t.Error("the test's own mount is not inert")
	}
}

func mount(t *testing.T, dir, options string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "mode=755,"+options, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("RequireMount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
)

// seen is a container that says itself what it was made to be.
type seen struct {
	line   string // of what can be asked for
	ask    func(*spec)
	script string
	want   string // as in check
}

func seeAll(t *testing.T, rows []seen) {
	t.Helper()
	e := daemon(t)
	for _, row := range rows {
		t.Run(row.line, func(t *testing.T) {
			r := e.run(t, sh(row.script, row.ask))
			if r.code != 0 {
				t.Errorf("exit code %d: %s", r.code, r.stderr)
			}
			check(t, row.script, r.stdout, row.want)
		})
	}
}

func TestCreateProcess(t *testing.T) {
	seeAll(t, []seen{
		{"environment", func(s *spec) { s.Env = []string{"A=b c", "EMPTY="} }, `echo "$A-$EMPTY-$OF_THE_IMAGE-${HOSTNAME:+host}"`, "b c--yes-host"},
		{"a variable of the image taken out", func(s *spec) { s.Env = []string{"OF_THE_IMAGE"} }, `echo ${OF_THE_IMAGE-gone}`, "gone"},
		{"user and group by name", func(s *spec) { s.User = "joe:staff" }, "id", "~^uid=1000.joe. gid=50.staff."},
		{"user by name has the groups of the image", func(s *spec) { s.User = "joe" }, "id -G; echo $HOME", "1000 50\n/home/joe"},
		{"user by number", func(s *spec) { s.User = "4711:4712" }, "id -u; id -g", "4711\n4712"},
		{"supplementary groups", func(s *spec) { s.User = "joe"; s.Host.GroupAdd = []string{"audio", "4242"} }, "id -G", "1000 29 50 4242"},
		{"working directory", func(s *spec) { s.WorkingDir = "/not/there/yet" }, "pwd; cd /; test -d /not/there/yet && echo made", "/not/there/yet\nmade"},
		{"entrypoint and command", func(s *spec) { s.Entrypoint, s.Cmd = []string{"echo", "entry"}, []string{"a b", "*"} }, "entrypoint", "entry a b *"},
		{"entrypoint emptied", func(s *spec) { s.Entrypoint, s.Cmd = []string{""}, []string{"echo", "only"} }, "command", "only"},
		{"hostname and domain", func(s *spec) { s.Hostname, s.Domainname = "host", "example.test" }, "hostname; cat /proc/sys/kernel/domainname; grep -c host.example.test /etc/hosts", "host\nexample.test\n1"},
		{"stop signal is read by name", func(s *spec) { s.StopSignal = "SIGUSR1"; s.StopTimeout = ptr(3) }, "true", ""},
		{"read-only root", func(s *spec) { s.Host.ReadonlyRootfs = true }, "touch /made 2>/dev/null || echo refused; touch /dev/shm/made && echo shm", "refused\nshm"},
		{"shm size", func(s *spec) { s.Host.ShmSize = 3 << 20 }, "df -k /dev/shm | tail -1", "~ 3072 "},
		{"ulimits", func(s *spec) {
			s.Host.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}, {Name: "core", Soft: 0, Hard: 0}}
		}, "ulimit -Sn; ulimit -Hn; ulimit -c", "100\n200\n0"},
		{"sysctls", func(s *spec) {
			s.Host.Sysctls = map[string]string{"net.ipv4.ip_forward": "0", "kernel.shmmax": "12345"}
		}, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax", "0\n12345"},
		{"oom score", func(s *spec) { s.Host.OomScoreAdj = 321 }, "cat /proc/self/oom_score_adj", "321"},
		{"tty", func(s *spec) { s.Host.ConsoleSize = [2]uint{33, 77} }, "test -t 0 || echo no terminal", "no terminal"},
		{"init", func(s *spec) { s.Host.Init = ptr(true) }, "tr '\\0' ' ' </proc/1/cmdline; echo; echo $$", "~(?s)^.*init.*\n[^1]"},
		{"annotations are kept", func(s *spec) { s.Host.Annotations = map[string]string{"a": "b"} }, "true", ""},
	})
}

// filters is how many of seccomp's the first process has: those of a guest that
// is a container itself.
func filters(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/1/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nSeccomp_filters:")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.Atoi(strings.TrimSpace(line)) // 0 on a kernel that does not tell
	return n
}

func TestCreateConfined(t *testing.T) {
	caps := `sed -n 's/^CapEff:[^0-9a-f]*//p' /proc/self/status`
	seeAll(t, []seen{
		{"capabilities are Docker's", func(*spec) {}, caps, "00000000a80425fb"},
		{"capabilities added and dropped", func(s *spec) { s.Host.CapAdd, s.Host.CapDrop = []string{"NET_ADMIN"}, []string{"CAP_CHOWN", "mknod"} }, caps, "00000000a00435fa"},
		{"no capability but one", func(s *spec) { s.Host.CapAdd, s.Host.CapDrop = []string{"CHOWN"}, []string{"ALL"} }, caps, "0000000000000001"},
		{"privileged", func(s *spec) { s.Host.Privileged = true }, caps + "; mount -t tmpfs none /tmp && echo mounted", "~^000001[0-9a-f]{10}\nmounted$"},
		{"seccomp is on", func(*spec) {}, "sed -n 's/^Seccomp:[^0-9]*//p' /proc/self/status", "2"},
		{"seccomp unconfined", func(s *spec) { s.Host.SecurityOpt = []string{"seccomp=unconfined"} }, "sed -n 's/^Seccomp_filters:[^0-9]*//p' /proc/self/status", strconv.Itoa(filters(t))},
		{"seccomp by a profile", func(s *spec) {
			s.Host.SecurityOpt = []string{`seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}`}
		}, "mkdir /x 2>&1; touch /y && echo else", "~(?s)not supported.*else$"},
		{"no new privileges", func(s *spec) { s.Host.SecurityOpt = []string{"no-new-privileges"} }, "sed -n 's/^NoNewPrivs:[^0-9]*//p' /proc/self/status", "1"},
		{"masked and read-only paths are Docker's", func(*spec) {}, "cat /proc/timer_list /proc/keys 2>/dev/null | wc -c; echo x 2>/dev/null >/proc/sys/kernel/hostname || echo read-only", "0\nread-only"},
		{"masked and read-only paths of one's own", func(s *spec) {
			s.Host.MaskedPaths, s.Host.ReadonlyPaths = []string{"/etc/group"}, []string{"/home"}
		}, "wc -c </etc/group; touch /home/x 2>/dev/null || echo read-only", "0\nread-only"},
		{"system paths unconfined", func(s *spec) {
			s.Host.MaskedPaths, s.Host.ReadonlyPaths = []string{}, []string{}
		}, "grep -c ' /proc/' /proc/mounts || true", "0"},
		{"a device that is not given", func(*spec) {}, "mknod /tmp/mem c 1 1 2>/dev/null && head -c 1 /tmp/mem 2>/dev/null | wc -c || echo 0", "0"},
	})
}

// TestCreateDevices opens the kernel's log, which no container can by itself; to
// open it is all.
func TestCreateDevices(t *testing.T) {
	if _, err := os.Stat("/dev/kmsg"); err != nil {
		t.Skip("needs /dev/kmsg")
	}
	give := func(permissions string) func(*spec) {
		return func(s *spec) {
			s.Host.Devices = []container.DeviceMapping{{PathOnHost: "/dev/kmsg", PathInContainer: "/dev/messages", CgroupPermissions: permissions}}
		}
	}
	seeAll(t, []seen{
		{"device", give("rwm"), "stat -c %t:%T /dev/messages; (: >/dev/messages) && echo open", "1:b\nopen"},
		{"device to read", give("r"), "(: >/dev/messages) 2>/dev/null || echo refused", "refused"},
		{"device rules", func(s *spec) { s.Host.DeviceCgroupRules = []string{"c 1:11 rwm"} }, "mknod /tmp/kmsg c 1 11; (: >/tmp/kmsg) && echo open", "open"},
		{"no device", func(s *spec) { s.Host.CapAdd = []string{"MKNOD"} }, "mknod /tmp/kmsg c 1 11; (: >/tmp/kmsg) 2>/dev/null || echo refused", "refused"},
	})
}

func TestCreateNamespaces(t *testing.T) {
	e := daemon(t)
	other := e.start(t, idle(func(s *spec) { s.Name = "namespaces"; s.Host.IpcMode = "shareable" }))
	pid := e.inspect(t, other).State.Pid
	of := func(p, kind string) string {
		link, err := os.Readlink(filepath.Join("/proc", p, "ns", kind))
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	theirs := func(kind string) string { return of(itoa(pid), kind) }
	ours := func(kind string) string {
		// The daemon's, which may live in another namespace than this process.
		return of("self", kind)
	}
	ns := func(kind string) string { return "readlink /proc/self/ns/" + kind }
	for _, kind := range []string{"pid", "ipc", "uts", "cgroup", "mnt", "net"} {
		if kind == "cgroup" && !e.cgroup2 {
			continue // the host's is the default there
		}
		if theirs(kind) == ours(kind) {
			t.Errorf("the container is in the %s namespace of the host", kind)
		}
	}
	seeAll(t, []seen{
		{"pid of the host", func(s *spec) { s.Host.PidMode = "host" }, ns("pid"), ours("pid")},
		{"pid of another", func(s *spec) { s.Host.PidMode = "container:namespaces" }, ns("pid"), theirs("pid")},
		{"ipc of the host", func(s *spec) { s.Host.IpcMode = "host" }, ns("ipc"), ours("ipc")},
		{"ipc of another", func(s *spec) { s.Host.IpcMode = "container:namespaces" }, ns("ipc"), theirs("ipc")},
		{"ipc none", func(s *spec) { s.Host.IpcMode = "none" }, "grep -c /dev/shm /proc/mounts || true", "0"},
		{"uts of the host", func(s *spec) { s.Host.UTSMode = "host" }, ns("uts"), ours("uts")},
		{"cgroup of the host", func(s *spec) { s.Host.CgroupnsMode = "host" }, ns("cgroup"), ours("cgroup")},
		{"cgroup private", func(s *spec) { s.Host.CgroupnsMode = "private" }, "cat /proc/self/cgroup | grep -v ':/$' | wc -l", "0"},
		{"userns of the host", func(s *spec) { s.Host.UsernsMode = "host" }, ns("user"), ours("user")},
		{"network of the host", func(s *spec) { s.Host.NetworkMode = "host" }, ns("net"), ours("net")},
		{"network of another", func(s *spec) { s.Host.NetworkMode = "container:namespaces" }, ns("net"), theirs("net")},
		{"no network", func(s *spec) { s.Host.NetworkMode = "none" }, "ip -o link | wc -l", "1"},
	})
}

func TestCreateMounts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("of the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	e := daemon(t)
	volume(t, e, "mounts", nil)
	from := e.create(t, idle(func(s *spec) { s.Name = "mounts-from"; s.Host.Binds = []string{"mounts:/shared", dir + ":/host:ro"} }))
	e.startAgain(t, from)
	e.in(t, from, "mkdir /shared/deep && echo deep >/shared/deep/er")
	m := func(mounts ...mount.Mount) func(*spec) { return func(s *spec) { s.Host.Mounts = mounts } }
	options := func(target string) string { return "sed -n 's,^[^ ]* " + target + " ,,p' /proc/mounts" }
	seeAll(t, []seen{
		{"named volume", func(s *spec) { s.Host.Binds = []string{"mounts:/v"} }, "cat /v/deep/er", "deep"},
		{"anonymous volume has the image's content", func(s *spec) { s.Volumes = map[string]struct{}{"/data": {}} }, "cat /data/of-the-image; grep -c ' /data ' /proc/mounts", "copied\n1"},
		{"volume without copy", m(mount.Mount{Type: mount.TypeVolume, Target: "/data", VolumeOptions: &mount.VolumeOptions{NoCopy: true}}), "ls /data | wc -l", "0"},
		{"volume subpath", m(mount.Mount{Type: mount.TypeVolume, Source: "mounts", Target: "/v", VolumeOptions: &mount.VolumeOptions{Subpath: "deep"}}), "cat /v/er", "deep"},
		{"bind", func(s *spec) { s.Host.Binds = []string{dir + ":/b"} }, "cat /b/file; touch /b/made && echo writable", "of the host\nwritable"},
		{"bind of one file read-only", m(mount.Mount{Type: mount.TypeBind, Source: dir + "/file", Target: "/f", ReadOnly: true}), "cat /f; echo 2>/dev/null >/f || echo refused", "of the host\nrefused"},
		{"bind makes its directory", func(s *spec) { s.Host.Binds = []string{dir + "/new/er:/b"} }, "test -d /b && echo made", "made"},
		{"mount makes its directory if told", m(mount.Mount{Type: mount.TypeBind, Source: dir + "/told", Target: "/b", BindOptions: &mount.BindOptions{CreateMountpoint: true}}), "test -d /b && echo made", "made"},
		{"bind with propagation", m(mount.Mount{Type: mount.TypeBind, Source: dir, Target: "/b", BindOptions: &mount.BindOptions{Propagation: mount.PropagationPrivate}}), "grep ' /b ' /proc/self/mountinfo | grep -c -e shared: -e master: || true", "0"},
		{"tmpfs", func(s *spec) { s.Host.Tmpfs = map[string]string{"/t": "size=1m,mode=750,noexec"} }, options("/t") + "; stat -c %a /t", "~^tmpfs .*noexec.*size=1024k.*mode=750.*\n750$"},
		{"tmpfs by mount", m(mount.Mount{Type: mount.TypeTmpfs, Target: "/t", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 2 << 20, Mode: 0o700}}), options("/t"), "~size=2048k.*mode=700"},
		{"tmpfs with options", m(mount.Mount{Type: mount.TypeTmpfs, Target: "/t", TmpfsOptions: &mount.TmpfsOptions{Options: [][]string{{"exec"}, {"uid", "1000"}}}}), options("/t"), "~uid=1000"},
		{"volumes from another", func(s *spec) { s.Host.VolumesFrom = []string{"mounts-from"} }, "cat /shared/deep/er /host/file; touch /host/x 2>/dev/null || echo read-only", "deep\nof the host\nread-only"},
		{"volumes from another read-only", func(s *spec) { s.Host.VolumesFrom = []string{"mounts-from:ro"} }, "touch /shared/x 2>/dev/null || echo read-only", "read-only"},
		{"nested mounts in any order", func(s *spec) {
			s.Host.Binds, s.Host.Tmpfs = []string{dir + ":/a/b/c", "mounts:/a"}, map[string]string{"/a/b": ""}
		}, "cat /a/deep/er /a/b/c/file", "deep\nof the host"},
	})
}

func TestCreateRefused(t *testing.T) {
	e := daemon(t)
	for _, row := range []struct {
		line string
		ask  func(*spec)
		want string
	}{
		{"image", func(s *spec) { s.Image = "nothing:here" }, "No such image: nothing:here"},
		{"signal", func(s *spec) { s.StopSignal = "SIGNOT" }, "SIGNOT"},
		{"capability", func(s *spec) { s.Host.CapAdd = []string{"FLY"} }, "FLY"},
		{"sysctl", func(s *spec) { s.Host.Sysctls = map[string]string{"vm.swappiness": "3"} }, "vm.swappiness"},
		{"bind without source", func(s *spec) {
			s.Host.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: "/is/not/there", Target: "/b"}}
		}, "/is/not/there"},
		{"two mounts at one place", func(s *spec) { s.Host.Binds = []string{"/tmp:/b", "/var:/b"} }, "Duplicate mount point: /b"},
		{"relative target", func(s *spec) { s.Host.Binds = []string{"/tmp:b"} }, "b"},
		{"restart policy", func(s *spec) { s.Host.RestartPolicy = container.RestartPolicy{Name: "sometimes"} }, "sometimes"},
		{"restart and remove", func(s *spec) {
			s.Host.AutoRemove, s.Host.RestartPolicy = true, container.RestartPolicy{Name: "always"}
		}, "restart policy"},
		{"network", func(s *spec) { s.Host.NetworkMode = "nowhere" }, "nowhere"},
		{"log driver", func(s *spec) { s.Host.LogConfig.Type = "pigeon" }, "pigeon"},
		{"GPU", func(s *spec) {
			s.Host.DeviceRequests = []container.DeviceRequest{{Driver: "nvidia", Count: -1, Capabilities: [][]string{{"gpu"}}}}
		}, "gpu"},
		{"CDI device", func(s *spec) {
			s.Host.DeviceRequests = []container.DeviceRequest{{Driver: "cdi", DeviceIDs: []string{"example.com/no=such"}}}
		}, "example.com/no=such"},
		{"security option", func(s *spec) { s.Host.SecurityOpt = []string{"magic=on"} }, "magic"},
		{"seccomp profile", func(s *spec) { s.Host.SecurityOpt = []string{`seccomp={"defaultAction":"SCMP_ACT_HOPE"}`} }, "SCMP_ACT_HOPE"},
		{"memory too small", func(s *spec) { s.Host.Memory = 1000 }, "6MB"},
		{"swap smaller than memory", func(s *spec) { s.Host.Memory, s.Host.MemorySwap = 64<<20, 32<<20 }, "memoryswap"},
		{"CPUs that are not there", func(s *spec) { s.Host.CpusetCpus = "4000" }, "4000"},
		{"ulimit", func(s *spec) { s.Host.Ulimits = []*container.Ulimit{{Name: "hope", Soft: 1, Hard: 1}} }, "hope"},
		{"storage option", func(s *spec) { s.Host.StorageOpt = map[string]string{"magic": "1"} }, "StorageOpt"},
		{"name", func(s *spec) { s.Name = "a/b" }, "a/b"},
		{"extra host", func(s *spec) { s.Host.ExtraHosts = []string{"nowhere"} }, "nowhere"},
	} {
		t.Run(row.line, func(t *testing.T) {
			id, _, err := e.tryCreate(t, sh("true", row.ask))
			if err == nil {
				_, err = e.cli.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
			}
			if err == nil {
				t.Fatal("it was made, and started")
			}
			if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(row.want)) {
				t.Errorf("refused by %q, want %q in it", err, row.want)
			}
			if code := statusOf(err); code == 500 && id == "" {
				t.Errorf("an internal error: %v", err)
			}
		})
	}
	t.Run("a name that is taken", func(t *testing.T) {
		e.create(t, idle(func(s *spec) { s.Name = "taken" }))
		_, _, err := e.tryCreate(t, idle(func(s *spec) { s.Name = "taken" }))
		if statusOf(err) != 409 || !strings.Contains(err.Error(), "already in use") {
			t.Errorf("refused by %v", err)
		}
	})
	t.Run("a user that is not in the image", func(t *testing.T) {
		id := e.create(t, sh("true", func(s *spec) { s.User = "nemo" }))
		_, err := e.cli.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
		if err == nil || !strings.Contains(err.Error(), "unable to find user nemo") {
			t.Errorf("start: %v", err)
		}
	})
	t.Run("a command that is not in the image", func(t *testing.T) {
		id := e.create(t, spec{Config: container.Config{Image: image, Cmd: []string{"not-there"}}})
		_, err := e.cli.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
		if err == nil || !strings.Contains(err.Error(), "executable file not found") {
			t.Errorf("start: %v", err)
		}
		if c := e.inspect(t, id); c.State.ExitCode != 127 || c.State.Error == "" || c.State.Status != "created" {
			t.Errorf("its state is %+v", c.State)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"golang.org/x/sys/unix"
)

func mounting(mounts ...davit.Mount) func(*davit.Launch) {
	return func(l *davit.Launch) { l.Container.Mounts = mounts }
}

// volumeOf is a mount of a volume with options.
func volumeOf(name, target, kind, device, o string) davit.Mount {
	return davit.Mount{
		Type: "volume", Name: name, Source: "/volumes/" + name + "/_data", Target: target, ReadWrite: true,
		VolumeOptions: map[string]string{"type": kind, "device": device, "o": o},
	}
}

// TestMounts checks what a program in the container finds mounted.
func TestMounts(t *testing.T) {
	h := newHost(t)
	source := t.TempDir() // with a mount below it
	image := filepath.Join(h.root, "other image")
	h.must(errors.Join(
		os.MkdirAll(filepath.Join(source, "below"), 0o755), os.MkdirAll(filepath.Join(source, "sub/dir"), 0o755),
		os.WriteFile(filepath.Join(source, "file"), []byte("from the host\n"), 0o644),
		os.WriteFile(filepath.Join(source, "sub/dir/file"), []byte("in part\n"), 0o644),
		os.Symlink("/etc", filepath.Join(source, "escape")), os.Symlink("/sub", filepath.Join(source, "within")),
		unix.Mount("tmpfs", filepath.Join(source, "below"), "tmpfs", 0, ""),
		os.WriteFile(filepath.Join(source, "below/deep"), nil, 0o644),
		os.MkdirAll(filepath.Join(image, "etc"), 0o755), os.WriteFile(filepath.Join(image, "etc/release"), []byte("other\n"), 0o644),
		os.WriteFile(filepath.Join(h.root, "image/data/seed"), []byte("of the image\n"), 0o640),
		os.Symlink("/../../../../tmp", filepath.Join(h.root, "image/link")),
	))
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(source, "below"), unix.MNT_DETACH) })
	bind := davit.Mount{Type: "bind", Source: source, Target: "/m", ReadWrite: true}
	with := func(m davit.Mount, change func(*davit.Mount)) davit.Mount { change(&m); return m }
	images := func(m davit.Mount) func(*davit.Launch) {
		return func(l *davit.Launch) {
			l.Container.Mounts = []davit.Mount{m}
			l.Rootfs.Images = map[string][]string{"sha256:other": {image}}
		}
	}
	for _, tc := range []struct {
		name, script string
		change       func(*davit.Launch)
		want         string
	}{
		{"bind, with what is below", "ls /m/below", mounting(bind), "deep\n"},
		{"bind, without", "ls /m/below; echo end", mounting(with(bind, func(m *davit.Mount) { m.NonRecursive = true })), "end\n"},
		{"bind, all read-only", "touch /m/x /m/below/x 2>/dev/null; ls /m/x /m/below/x 2>/dev/null; echo end", mounting(with(bind, func(m *davit.Mount) { m.ReadWrite = false })), "end\n"},
		{
			"bind, read-only on top", "touch /m/x 2>/dev/null || echo refused; touch /m/below/x && rm /m/below/x && echo made",
			mounting(with(bind, func(m *davit.Mount) { m.ReadWrite, m.ReadOnlyNonRecursive = false, true })), "refused\nmade\n",
		},
		{"bind, by force read-only", "touch /m/below/x 2>/dev/null || echo refused", mounting(with(bind, func(m *davit.Mount) { m.ReadWrite, m.ReadOnlyForceRecursive = false, true })), "refused\n"},
		{"bind of a file, target made", "cat /new/place/file; stat -c %F /new/place/file", mounting(with(bind, func(m *davit.Mount) { m.Source, m.Target = source+"/file", "/new/place/file" })), "from the host\nregular file\n"},
		{"bind of a file over a file", "cat /etc/passwd", mounting(with(bind, func(m *davit.Mount) { m.Source, m.Target = source+"/file", "/etc/passwd" })), "from the host\n"},
		{"target made", "stat -c '%a %u' /made", mounting(davit.Mount{Type: "tmpfs", Target: "/made/here", ReadWrite: true}), "755 0\n"},
		{"target behind a link out of the image", "cat /tmp/file; readlink /link", mounting(with(bind, func(m *davit.Mount) { m.Target = "/link" })), "from the host\n/../../../../tmp\n"},
		{"nested, whatever the order", "cat /n/a/file; touch /n/x && echo tmpfs", mounting(with(bind, func(m *davit.Mount) { m.Target = "/n/a" }), davit.Mount{Type: "tmpfs", Target: "/n", ReadWrite: true}), "from the host\ntmpfs\n"},
		{"read-only root, writable mount", "touch /m/y && rm /m/y && echo ok; touch /x 2>/dev/null || echo refused", func(l *davit.Launch) {
			mounting(bind)(l)
			l.Container.HostConfig.ReadonlyRootfs = true
		}, "ok\nrefused\n"},
		{"tmpfs with options", "stat -c '%a %u' /t; grep ' /t ' /proc/mounts | grep -c noexec", mounting(davit.Mount{Type: "tmpfs", Target: "/t", ReadWrite: true, Options: "exec,mode=1711,uid=7"}), "1711 7\n0\n"},
		{"part of a volume", "cat /m/file", mounting(with(bind, func(m *davit.Mount) { m.Subpath = "sub/dir" })), "in part\n"},
		{"part of a volume by a link in it", "cat /m/dir/file", mounting(with(bind, func(m *davit.Mount) { m.Subpath = "within" })), "in part\n"},
		{"file of a volume, read-only", "cat /f; echo x 2>/dev/null > /f || echo refused", mounting(with(bind, func(m *davit.Mount) { m.Subpath, m.Target, m.ReadWrite = "sub/dir/file", "/f", false })), "in part\nrefused\n"},
		{"image", "cat /i/etc/release; touch /i/x 2>/dev/null || echo refused", images(davit.Mount{Type: "image", Source: "sha256:other", Target: "/i"}), "other\nrefused\n"},
		{"part of an image", "cat /i/release", images(davit.Mount{Type: "image", Source: "sha256:other", Target: "/i", Subpath: "etc"}), "other\n"},
		{"volume that is a tmpfs", "df -m /v | awk 'END{print $2}'; stat -c %u /v", mounting(volumeOf("one", "/v", "tmpfs", "tmpfs", "size=5m,uid=9")), "5\n9\n"},
		{"volume that is a bind", "cat /v/file", mounting(volumeOf("two", "/v", "none", source, "bind")), "from the host\n"},
		{"volume that is a bind, read-only", "touch /v/x 2>/dev/null || echo refused", mounting(volumeOf("three", "/v", "none", source, "bind,ro")), "refused\n"},
		{"part of one", "cat /v/file", mounting(with(volumeOf("four", "/v", "none", source, "bind"), func(m *davit.Mount) { m.Subpath = "sub/dir" })), "in part\n"},
		{"volume that takes the image's content", "cat /data/seed; stat -c %a /data/seed", func(l *davit.Launch) {
			mounting(with(volumeOf("five", "/data", "tmpfs", "tmpfs", ""), func(m *davit.Mount) { m.CopyUp = true }))(l)
			l.First = true
		}, "of the image\n640\n"},
		{"volume that took it at an earlier start", "ls /data; echo end", mounting(with(volumeOf("seven", "/data", "tmpfs", "tmpfs", ""), func(m *davit.Mount) { m.CopyUp = true })), "end\n"},
		{"volume that does not", "ls /data; echo end", mounting(volumeOf("six", "/data", "tmpfs", "tmpfs", "")), "end\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := h.in(t)
			if r := h.run(h.launch(tc.script, tc.change)); r.out != tc.want {
				t.Errorf("got %q, want %q; stderr %q, exit %+v", r.out, tc.want, r.err, r.exit)
			}
		})
	}
	if info, err := os.ReadFile(filepath.Join(source, "file")); err != nil || string(info) != "from the host\n" {
		t.Errorf("the host's file is %q, %v", info, err)
	}
}

// TestMountsThatFail are refused at the start, with their names, and leave
// nothing.
func TestMountsThatFail(t *testing.T) {
	h := newHost(t)
	source := t.TempDir()
	h.must(errors.Join(
		unix.Mount("tmpfs", source, "tmpfs", 0, ""), unix.Mount("", source, "", unix.MS_PRIVATE, ""), os.Symlink("/etc", filepath.Join(source, "escape")),
	))
	t.Cleanup(func() { _ = unix.Unmount(source, unix.MNT_DETACH) })
	for _, tc := range []struct {
		name  string
		mount davit.Mount
		want  string
	}{
		{"no source", davit.Mount{Type: "bind", Source: "/no/such", Target: "/m"}, `invalid mount config for type "bind": bind source path does not exist: /no/such`},
		{"part that leaves", davit.Mount{Type: "bind", Source: source, Target: "/m", Subpath: "escape/passwd"}, "escape/passwd"},
		{"part that there is not", davit.Mount{Type: "bind", Source: source, Target: "/m", Subpath: "none"}, "none"},
		{"bad device", volumeOf("bad", "/m", "ext4", "/dev/null", ""), "error while mounting volume '/volumes/bad/_data': failed to mount local volume: mount /dev/null:"},
		{"bad type", volumeOf("bad", "/m", "no-such-fs", "x", ""), "no such device"},
		{"bad option", volumeOf("bad", "/m", "tmpfs", "x", "what=ever"), "invalid argument"},
		// The kernel has no NFS, or no server: the words are its own.
		{"nfs", volumeOf("bad", "/m", "nfs", ":/export", "addr=127.0.0.1,nolock,vers=4,timeo=1,retrans=0,soft"), "mount :/export:"},
		{"not shared", davit.Mount{Type: "bind", Source: source, Target: "/m", Propagation: "rshared"}, "not a shared mount"},
		{"image that is not kept", davit.Mount{Type: "image", Source: "sha256:x", Target: "/m"}, "sha256:x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := h.in(t)
			p, err := h.rt.Create(t.Context(), h.launch("true", mounting(tc.mount)))
			if err == nil {
				_ = p.Signal(t.Context(), 9, true)
				t.Fatal("it was created")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
		})
	}
}

// TestVolumeOfTwoContainers is one file system as long as one of them runs,
// through a restart, and another one afterwards.
func TestVolumeOfTwoContainers(t *testing.T) {
	h := newHost(t)
	v := mounting(volumeOf("shared", "/v", "tmpfs", "tmpfs", ""))
	one, err := h.rt.Create(t.Context(), h.launch("echo one > /v/one; while [ ! -e /v/end ]; do sleep 0.05; done; cat /v/result", v))
	h.must(err)
	ended := make(chan result, 1)
	go func() { ended <- h.finish(one) }()
	h.until("the first to write", func() bool {
		r := h.run(h.launch("cat /v/one; echo two > /v/two", v))
		return r.out == "one\n"
	})
	// One that fails first, and is started again by its monitor.
	h.await(h.start(h.launch("if [ -e /v/again ]; then cat /v/two > /v/result; touch /v/end; exit 0; fi; touch /v/again; exit 1", func(l *davit.Launch) {
		v(l)
		l.Container.HostConfig.RestartPolicy = davit.RestartPolicy{Name: "on-failure"}
	})))
	if r := <-ended; r.out != "two\n" {
		t.Errorf("what was started again saw %q, %q", r.out, r.err)
	}
	if r := h.run(h.launch("ls /v; echo end", v)); r.out != "end\n" {
		t.Errorf("a new one has %q", r.out)
	}
}

// TestSharedBind passes mounts of the container on to the host, and of nothing
// else.
func TestSharedBind(t *testing.T) {
	h := newHost(t)
	if confined(t) {
		t.Skip("RequireUnconfined: the test itself is under a seccomp filter, which is inherited")
	}
	source := t.TempDir()
	h.must(errors.Join(
		unix.Mount("tmpfs", source, "tmpfs", 0, ""), unix.Mount("", source, "", unix.MS_SHARED, ""),
		os.Mkdir(source+"/here", 0o755), os.Mkdir(source+"/before", 0o755), unix.Mount("before", source+"/before", "tmpfs", 0, ""),
	))
	unmount := func() {
		for unix.Unmount(source+"/here", unix.MNT_DETACH) == nil {
			continue
		}
		_ = unix.Unmount(source, unix.MNT_DETACH)
	}
	t.Cleanup(unmount)
	mounts := func() string {
		info, err := os.ReadFile("/proc/self/mountinfo")
		h.must(err)
		return string(info)
	}
	r := h.run(h.launch("mount -t tmpfs made /m/here && echo inside > /m/here/file; mount -t tmpfs other /tmp && echo both", func(l *davit.Launch) {
		l.Container.HostConfig.Privileged = true
		l.Container.Mounts = []davit.Mount{{Type: "bind", Source: source, Target: "/m", ReadWrite: true, Propagation: "rshared"}}
	}))
	if r.out != "both\n" {
		t.Fatalf("%q %q", r.out, r.err)
	}
	if content, err := os.ReadFile(source + "/here/file"); err != nil || string(content) != "inside\n" {
		t.Errorf("on the host: %q, %v", content, err)
	}
	if strings.Contains(mounts(), " - tmpfs other ") {
		t.Error("a mount elsewhere in the container came out")
	}
	if !strings.Contains(mounts(), " - tmpfs before ") {
		t.Error("what was mounted there before has been unmounted with the container")
	}
	unmount()
}

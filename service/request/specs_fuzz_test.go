// SPDX-License-Identifier: Apache-2.0

package request

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
)

// invalidOnly fails the test for an error that would be logged as the daemon's
// own fault.
func invalidOnly(t *testing.T, err error) {
	t.Helper()
	if k := davit.KindOf(err); k != davit.Invalid && k != davit.NotImplemented && k != davit.NotFound {
		t.Errorf("%v", err)
	}
}

// FuzzBind reads any -v. What is taken has a place in the container, and a
// source that cannot be another.
func FuzzBind(f *testing.F) {
	for _, s := range []string{"/a:/b", "v:/b:ro,nocopy", "/a:/b:rslave,z", "/only", "/a/../..:/b/..", "v:/", ":/b", "a:b:c:d", "v:/b:ro,rw", "/a:/b:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		c := &davit.Container{HostConfig: davit.HostConfig{Binds: []string{spec}}}
		if err := Mounts(c, Lookup{}); err != nil {
			invalidOnly(t, err)
			return
		}
		for _, m := range c.Mounts {
			checkMount(t, m)
		}
	})
}

// checkMount fails the test for a mount that no request may make.
func checkMount(t *testing.T, m davit.Mount) {
	t.Helper()
	if !path.IsAbs(m.Target) || m.Target != path.Clean(m.Target) || m.Target == "/" || strings.ContainsRune(m.Target+m.Source, 0) {
		t.Errorf("mounted at %q is %q", m.Target, m.Source)
	}
	switch m.Type {
	case "bind":
		if !path.IsAbs(m.Source) || m.Source != path.Clean(m.Source) || !slices.Contains(propagations, m.Propagation) {
			t.Errorf("a bind mount of %q, %q", m.Source, m.Propagation)
		}
	case "volume":
		if m.Name != "" && !validName.MatchString(m.Name) {
			t.Errorf("a volume named %q", m.Name)
		}
		if s := m.Subpath; s != "" && (path.IsAbs(s) || s != path.Clean(s) || s == ".." || strings.HasPrefix(s, "../")) {
			t.Errorf("a subpath %q", s)
		}
	case "tmpfs":
		for o := range strings.SplitSeq(m.Options, ",") {
			key, _, _ := strings.Cut(o, "=")
			if slices.Contains([]string{"bind", "rbind", "remount", "move", "shared", "rshared"}, key) || strings.ContainsAny(o, "\x00") {
				t.Errorf("an option %q of a tmpfs", o)
			}
		}
	default:
		t.Errorf("a mount of type %q", m.Type)
	}
}

// FuzzMount reads any --mount and --tmpfs.
func FuzzMount(f *testing.F) {
	f.Add("bind", "/a", "/b", "rslave", "", "size=1m,mode=700")
	f.Add("volume", "v", "/b/../c", "", "a/../b", "ro,remount")
	f.Add("tmpfs", "", "/t", "", "../..", "mode=0777,uid=1,mpol=bind:0")
	f.Add("image", "busybox", "/i", "private", "/", "bind")
	f.Add("cluster", "", "t", "x", ".", ",")
	f.Fuzz(func(t *testing.T, kind, source, target, propagation, sub, options string) {
		q := davit.MountRequest{Type: kind, Source: source, Target: target}
		switch kind {
		case "bind":
			q.Propagation = propagation
		case "volume":
			q.Subpath = sub
		case "tmpfs":
			for o := range strings.SplitSeq(options, ",") {
				q.TmpfsOptions = append(q.TmpfsOptions, strings.SplitN(o, "=", 2))
			}
		case "image": // needs images
			return
		}
		for _, h := range []davit.HostConfig{{Mounts: []davit.MountRequest{q}}, {Tmpfs: map[string]string{target: options}}} {
			c := &davit.Container{HostConfig: h}
			if err := Mounts(c, Lookup{}); err != nil {
				invalidOnly(t, err)
				continue
			}
			for _, m := range c.Mounts {
				checkMount(t, m)
			}
		}
	})
}

// FuzzExtraHost reads any --add-host: it is one line of hosts(5), or refused.
func FuzzExtraHost(f *testing.F) {
	for _, s := range []string{"a:1.2.3.4", "a=::1", "a:[::1]", "gw:host-gateway", "a", ":1.2.3.4", "a\nb:1.2.3.4", "a:fe80::1%eth0\n"} {
		f.Add(s)
	}
	none := bytes.Count(HostsFile(&davit.Container{}), []byte("\n"))
	f.Fuzz(func(t *testing.T, spec string) {
		h := davit.HostConfig{ExtraHosts: []string{spec}}
		if err := checkHosts(&h, nil); err != nil {
			invalidOnly(t, err)
			return
		}
		file := HostsFile(&davit.Container{HostConfig: h})
		lines := bytes.Split(bytes.TrimSpace(file), []byte("\n"))
		if len(lines) != none+1 || len(bytes.Fields(lines[none])) != 2 {
			t.Errorf("%q makes\n%s", spec, file)
		}
	})
}

// FuzzSignal reads any name of a signal, and any list of CPUs.
func FuzzSignal(f *testing.F) {
	for _, s := range []string{"TERM", "sigkill", "9", "RTMIN+3", "SIGRTMAX-30", "RTMAX-31", "0", "65", "-1", "+9", "0-3,5", "0-999999999", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := Signal(text); err != nil {
			invalidOnly(t, err)
		} else if n < 1 || n > 64 {
			t.Errorf("the signal %q is %d", text, n)
		}
		set, ok := parseSet(text)
		for n := range set {
			if ok && (n < 0 || n > maxSet) {
				t.Errorf("%q has %d", text, n)
			}
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
)

// World is what the rules look at beside a request.
type World interface {
	// Records returns copies of all containers' records.
	Records() []davit.Container
	// Find returns the record of the container that a user calls ref.
	Find(ref string) (davit.Container, error)
	// Session returns the record of an exec session.
	Session(id string) (davit.Exec, error)
	// Volume returns a volume's record.
	Volume(name string) (davit.Volume, error)
}

// Binder says whether a path of the host may be mounted without run-privileged.
// The error is the reason why not.
type Binder interface {
	MayBind(source string, readOnly bool) error
}

// Rules say which permission a request needs.
type Rules struct {
	world World
	binds Binder
}

// NewRules returns the rules for a world.
func NewRules(w World, b Binder) *Rules { return &Rules{world: w, binds: b} }

// DefaultCapabilities are those that a container has without being given any
// (docker run(1)), but for MKNOD: who adds that gets more than the default,
// which is to make the nodes that a container has anyway.
var DefaultCapabilities = []string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL",
	"NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// EqualsRoot tells why a container so configured equals being root on the host;
// "" when it does not. It is the whole of what "run-privileged" means, but for
// what a container shares with others: see [Rules.reason].
func EqualsRoot(h *davit.HostConfig, b Binder) string {
	if h.Privileged {
		return "it is privileged"
	}
	for _, check := range []func(*davit.HostConfig, Binder) string{namespaces, capabilities, security, sysctls, systemPaths, devices, hostBinds} {
		if why := check(h, b); why != "" {
			return why
		}
	}
	return ""
}

func namespaces(h *davit.HostConfig, _ Binder) string {
	switch host := "host"; host {
	case h.NetworkMode:
		return "it uses the host's network"
	case h.PidMode:
		return "it sees the host's processes"
	case h.IpcMode:
		return "it uses the host's IPC"
	case h.UTSMode:
		return "it uses the host's name"
	}
	return ""
}

// systemPaths refuses other hidden or read-only paths than the runtime's, and
// cgroups that are not the engine's.
func systemPaths(h *davit.HostConfig, _ Binder) string {
	switch {
	case h.MaskedPaths != nil || h.ReadonlyPaths != nil:
		return "it chooses what is hidden and read-only in /proc and /sys"
	case h.CgroupParent != "":
		return "its cgroup is to be in " + h.CgroupParent
	}
	return ""
}

func devices(h *davit.HostConfig, _ Binder) string {
	switch {
	case len(h.Devices) > 0:
		return "it gets device " + h.Devices[0].PathOnHost + " of the host"
	case len(h.DeviceCgroupRules) > 0:
		return "it may use devices of the host: " + h.DeviceCgroupRules[0]
	case len(h.DeviceRequests) > 0:
		return "it gets devices of driver " + h.DeviceRequests[0].Driver
	}
	return ""
}

// capabilities refuses what goes beyond the default set, unknown names
// included: the runtime will say what is wrong with those.
func capabilities(h *davit.HostConfig, _ Binder) string {
	for _, name := range h.CapAdd {
		upper := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if !slices.Contains(DefaultCapabilities, upper) {
			return "it adds capability " + upper
		}
	}
	return ""
}

// security accepts what adds confinement or names the default; all else takes
// some away, or is not known to.
func security(h *davit.HostConfig, _ Binder) string {
	for _, opt := range h.SecurityOpt {
		key, value, _ := strings.Cut(opt, "=")
		if i := strings.IndexByte(key, ':'); i >= 0 { // seccomp:unconfined, as clients before 1.11 wrote
			key, value = opt[:i], opt[i+1:]
		}
		switch {
		case key == "no-new-privileges":
		case key == "seccomp" && value == "builtin":
		default:
			return "its security option " + key + " is not the default"
		}
	}
	return ""
}

// ownSysctls are those of which a container has its own (namespaces(7)); the
// runtime refuses the others, whoever asks.
var ownSysctls = []string{"net.", "fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm"}

func sysctls(h *davit.HostConfig, _ Binder) string {
	for key := range h.Sysctls {
		dotted := strings.ReplaceAll(key, "/", ".")
		if !slices.ContainsFunc(ownSysctls, func(p string) bool { return strings.HasPrefix(dotted, p) }) {
			return "it sets sysctl " + key + " of the host"
		}
	}
	return ""
}

func hostBinds(h *davit.HostConfig, b Binder) string {
	for _, spec := range h.Binds {
		source, rest, _ := strings.Cut(spec, ":")
		if !strings.HasPrefix(source, "/") {
			continue // a volume
		}
		_, list, _ := strings.Cut(rest, ":")
		options := strings.Split(list, ",")
		if slices.ContainsFunc(options, receives) {
			return "it mounts " + source + " so that later mounts of the host appear in it"
		}
		if why := bindReason(b, source, slices.Contains(options, "ro")); why != "" {
			return why
		}
	}
	for _, m := range h.Mounts {
		if m.Type == "volume" && len(m.VolumeOptions) > 0 {
			return "it mounts a volume that is made with options, which may make it a path of the host"
		}
		if slices.Contains([]string{"volume", "tmpfs", "image"}, m.Type) {
			continue
		}
		if receives(m.Propagation) {
			return "it mounts " + m.Source + " so that later mounts of the host appear in it"
		}
		if why := bindReason(b, m.Source, m.ReadOnly); why != "" {
			return why
		}
	}
	return ""
}

// receives tells whether a bind of that propagation gets what is mounted below
// its source later: nobody will look at that again.
func receives(propagation string) bool {
	return slices.Contains([]string{"shared", "rshared", "slave", "rslave"}, propagation)
}

func bindReason(b Binder, source string, readOnly bool) string {
	if err := b.MayBind(source, readOnly); err != nil {
		return fmt.Sprintf("it mounts %s of the host: %v", source, err)
	}
	return ""
}

// joined yields what a container shares with others, and whose it is.
func joined(h *davit.HostConfig) iter.Seq2[string, string] {
	return func(yield func(what, other string) bool) {
		for what, mode := range map[string]string{"network": h.NetworkMode, "processes": h.PidMode, "IPC": h.IpcMode} {
			if other, ok := strings.CutPrefix(mode, "container:"); ok && !yield(what, other) {
				return
			}
		}
		for _, from := range h.VolumesFrom {
			other, _, _ := strings.Cut(from, ":")
			if !yield("volumes", other) {
				return
			}
		}
	}
}

// volumesOf names the volumes that a container mounts.
func volumesOf(h *davit.HostConfig, resolved []davit.Mount) (names []string) {
	for _, spec := range h.Binds {
		if source, _, ok := strings.Cut(spec, ":"); ok && !strings.HasPrefix(source, "/") {
			names = append(names, source)
		}
	}
	for _, m := range h.Mounts {
		if m.Type == "volume" && m.Source != "" {
			names = append(names, m.Source)
		}
	}
	for _, m := range resolved {
		if m.Type == "volume" && m.Name != "" {
			names = append(names, m.Name)
		}
	}
	return names
}

// reason tells why a container equals root, by what it is or by what it shares
// with one that is: who writes the files that a privileged container reads is
// as good as in it. self is the container's id; "" when it does not exist yet.
func (r *Rules) reason(self string, h *davit.HostConfig, resolved []davit.Mount) string {
	return search{r, map[string]bool{}}.reason(maxJoined, self, h, resolved)
}

// maxJoined is how many containers may join one another in a row before nobody
// but root can tell what comes of it.
const maxJoined = 16

// search follows what containers share. Each is looked at once, however many
// ways lead to it: twenty that each name the one before ten times have 10^20.
type search struct {
	*Rules
	harmless map[string]bool // ids of those that were looked at
}

func (s search) reason(depth int, self string, h *davit.HostConfig, resolved []davit.Mount) string {
	if why := s.direct(h, resolved); why != "" {
		return why
	}
	for what, other := range joined(h) {
		rec, err := s.world.Find(other)
		if err == nil && s.harmless[rec.ID] {
			continue
		}
		if err != nil || depth == 0 || s.reason(depth-1, rec.ID, &rec.HostConfig, rec.Mounts) != "" {
			return "it joins the " + what + " of container " + other
		}
		s.harmless[rec.ID] = true
	}
	for _, name := range volumesOf(h, resolved) {
		if why := s.volumeReason(self, name); why != "" {
			return why
		}
	}
	return s.guestReason(self)
}

// guestReason tells which container that equals root has joined the processes
// or the IPC of this one: a process of the same user reaches the other's files
// by /proc/PID/root, and writes its shared memory. Records have ids.
func (r *Rules) guestReason(self string) string {
	if self == "" {
		return "" // nobody can have joined it yet
	}
	host := "container:" + self
	for _, other := range r.world.Records() {
		if h := &other.HostConfig; (h.PidMode == host || h.IpcMode == host) && r.direct(h, other.Mounts) != "" {
			return fmt.Sprintf("container %s, which has access to the host, has joined it", cmp.Or(other.Name, other.ID))
		}
	}
	return ""
}

// direct tells why a container equals root by what it was asked to be and by
// what it mounts, which may come of another container that is gone by now.
func (r *Rules) direct(h *davit.HostConfig, resolved []davit.Mount) string {
	if why := EqualsRoot(h, r.binds); why != "" {
		return why
	}
	for _, m := range resolved {
		switch {
		case m.Type == "bind" && receives(m.Propagation):
			return "it mounts " + m.Source + " so that later mounts of the host appear in it"
		case m.Type == "bind":
			if why := bindReason(r.binds, m.Source, !m.ReadWrite); why != "" {
				return why
			}
		case m.Type == "volume" && len(m.VolumeOptions) > 0:
			return optionsReason(m.Name)
		}
	}
	return ""
}

func optionsReason(volume string) string {
	return fmt.Sprintf("volume %s was made with options, which may make it a path of the host", volume)
}

func (r *Rules) volumeReason(self, name string) string {
	if v, err := r.world.Volume(name); err == nil && len(v.Options) > 0 {
		return optionsReason(name)
	}
	for _, other := range r.world.Records() {
		if other.ID == self || !slices.Contains(volumesOf(&other.HostConfig, other.Mounts), name) {
			continue
		}
		if r.direct(&other.HostConfig, other.Mounts) != "" {
			return fmt.Sprintf("it shares volume %s with container %s, which has access to the host", name, cmp.Or(other.Name, other.ID))
		}
	}
	return ""
}

// cleanSource returns a bind's source as the kernel will walk it, and whether
// it can be trusted to mean that: without dots there is nothing to resolve.
func cleanSource(source string) (clean string, ok bool) {
	if !strings.HasPrefix(source, "/") || strings.ContainsRune(source, 0) || slices.Contains(strings.Split(source, "/"), "..") {
		return "", false
	}
	return path.Clean(source), true
}

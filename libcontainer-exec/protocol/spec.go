// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"encoding/json"
	"time"
)

// Spec is spec.json. The holder reads Holder and leaves Container to the
// monitor, which makes an OCI runtime spec of it.
type Spec struct {
	ID        string // 64 hexadecimal digits
	Holder    Holder
	Container Container
}

// HolderSpec is the part of spec.json that the holder decodes.
type HolderSpec struct {
	ID     string
	Holder Holder
}

// Holder says what the holder has to know of a container.
type Holder struct {
	Monitor     string // path of the monitor's binary
	Enter       string // path of davit-enter
	Seccomp     string // directory of compiled filters; "" keeps none
	Rootfs      Rootfs
	Log         Log
	Tty         bool
	OpenStdin   bool
	StdinOnce   bool
	Rows, Cols  uint16
	OwnNetns    bool
	SharedPids  bool // the container is in a pid namespace of others: its first process does not take the rest along
	StopSignal  int
	StopTimeout time.Duration
	Restart     string       // "", no, always, unless-stopped, on-failure
	MaxRetries  int          // of on-failure; 0 is unlimited
	Health      *Healthcheck // nil: there is none
	// Cgroup is the container's cgroup, absolute below the hierarchies' roots.
	// "" puts it into payload/ below the holder's own, which is delegated.
	Cgroup string
}

// Log says where a container's output goes.
type Log struct {
	Driver   string // json-file, local, journald; "" keeps none
	Path     string // of the file, for json-file and local
	MaxSize  int64  // bytes; 0 is unlimited
	MaxFiles int
	Compress bool
	Attrs    string   // json-file: a JSON object that each record has; "" for none
	Fields   []string // journald: NAME=value that each entry has
	Buffer   int      // bytes that wait for the log; 0: the container waits
}

// Rootfs is an overlay mount (Documentation/filesystems/overlayfs.rst).
type Rootfs struct {
	Lower  []string // absolute, topmost first
	Upper  string
	Work   string
	Target string
}

// Container says what the monitor has to know to make the container.
type Container struct {
	Name        string
	Hostname    string
	Domainname  string
	Args        []string
	Env         []string
	Cwd         string
	User        string // user[:group], names or numbers
	GroupAdd    []string
	Mounts      []Mount
	Devices     []Device
	DeviceRules []string        // "c 1:3 rwm"
	Edits       json.RawMessage // what CDI devices add, a part of an OCI runtime spec
	OwnNetns    bool
	Namespaces  Namespaces
	Security    Security
	Resources   Resources
	Ulimits     []Ulimit
	Sysctls     map[string]string
	ShmSize     int64 // bytes
	OomScore    int
	Umask       *uint32           // of the first process; nil is the default
	Annotations map[string]string // of the runtime spec
}

// Namespaces says which namespaces the container shares. "" is one of its own.
type Namespaces struct {
	Network string // "host", or the id of the container whose it joins
	Pid     string // likewise
	Ipc     string // likewise, or "none": its own, and no /dev/shm
	UTS     string // "host"
	Cgroup  string // "host", "private", or "": its own on cgroup v2
}

// Device is a device of the host, or a directory of them, that the container gets.
type Device struct {
	Source, Target string
	Access         string // of r, w and m
}

// Host is the namespace of the host; no id is like it.
const Host = "host"

// ShmDir is where another container's /dev/shm is mounted while a container is
// made that joins its IPC namespace, in its runtime directory.
const ShmDir = "shm"

// Mount is a mount that the user or the engine asked for.
type Mount struct {
	Type        string // bind, tmpfs, volume (one with options), image
	Source      string // bind: a path of the host
	Target      string
	ReadOnly    bool
	Propagation string   `json:",omitempty"` // "" is rprivate
	Options     []string `json:",omitempty"` // tmpfs only, mount(8)
	MakeSource  bool     `json:",omitempty"` // bind only: make the source, a directory, when it is missing
	// Subpath is what of the source is mounted, resolved without leaving it.
	Subpath      string `json:",omitempty"`
	NonRecursive bool   `json:",omitempty"` // bind: without what is mounted below the source
	// ShallowReadOnly leaves what is mounted below a read-only mount writable;
	// ForceReadOnly fails where that cannot be helped (before Linux 5.12).
	ShallowReadOnly bool `json:",omitempty"`
	ForceReadOnly   bool `json:",omitempty"`
	// Volume and VolumeOptions are the name of a volume and what it is.
	Volume        string            `json:",omitempty"`
	VolumeOptions map[string]string `json:",omitempty"`
	Fill          bool              `json:",omitempty"` // volume: when it is empty, it takes what the image has at Target
	Layers        []string          `json:",omitempty"` // image: absolute, topmost first
}

// Security is how far the container is confined.
type Security struct {
	Privileged      bool
	ReadonlyRootfs  bool
	NoNewPrivileges bool
	WritableCgroups bool // the container's own cgroup, where it has a namespace for it
	CapAdd          []string
	CapDrop         []string
	Seccomp         string   // "" is the default profile, "unconfined" none, else a profile's JSON
	AppArmor        string   // "" is the default profile, "unconfined" none, else a profile's name
	Labels          []string // of SELinux, "disable" or options of a label
	// MaskedPaths and ReadonlyPaths replace the default ones: nil are those.
	MaskedPaths   []string
	ReadonlyPaths []string
}

// Unconfined is the value of [Security.Seccomp] and [Security.AppArmor] that is
// no confinement.
const Unconfined = "unconfined"

// DefaultAppArmor is the AppArmor profile of a container that is not privileged
// and names none, where it is loaded.
const DefaultAppArmor = "davit-default"

// Resources are limits; zero is none.
type Resources struct {
	Memory             int64 // bytes
	MemorySwap         int64 // bytes of memory and swap together; -1 unlimited
	MemoryReservation  int64 // bytes
	MemorySwappiness   *uint64
	OomKillDisable     bool
	CPUShares          uint64
	CPUPeriod          uint64 // microseconds
	CPUQuota           int64  // microseconds
	CPURealtimePeriod  uint64 // microseconds
	CPURealtimeRuntime int64  // microseconds
	CpusetCpus         string
	CpusetMems         string
	Pids               int64
	BlkioWeight        uint16
	BlkioWeightDevices []DeviceRate // weights
	BlkioReadBps       []DeviceRate // bytes a second
	BlkioWriteBps      []DeviceRate
	BlkioReadIOps      []DeviceRate // operations a second
	BlkioWriteIOps     []DeviceRate
}

// DeviceRate is a limit of one block device.
type DeviceRate struct {
	Path string // of its node on the host
	Rate uint64
}

// Ulimit is one limit of setrlimit(2); -1 is unlimited.
type Ulimit struct {
	Name       string // lower case, without RLIMIT_
	Soft, Hard int64
}

// ExecSpec is a further process of a container. It travels as a file because an
// argument list may be larger than a packet, and not as JSON: see
// [ExecSpec.Encode].
type ExecSpec struct {
	Args       []string
	Env        []string
	User       string
	Cwd        string
	Tty        bool
	Privileged bool
	Rows, Cols uint16
}

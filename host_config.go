// SPDX-License-Identifier: Apache-2.0

package davit

// HostConfig is the part of a container's configuration that depends on the
// host. Only what the engine honours is here: the REST door refuses the rest
// by name.
type HostConfig struct {
	Binds           []string                 `json:",omitempty"` // as given: source:target[:options]
	Mounts          []MountRequest           `json:",omitempty"`
	Tmpfs           map[string]string        `json:",omitempty"` // target -> mount options
	VolumesFrom     []string                 `json:",omitempty"` // container[:ro|rw|z|Z]
	VolumeDriver    string                   `json:",omitempty"` // "" or "local"
	NetworkMode     string                   `json:",omitempty"` // "bridge", "none", "host", "container:ID"
	PortBindings    map[string][]PortBinding `json:",omitempty"` // key "80/tcp"
	PublishAllPorts bool                     `json:",omitempty"`
	RestartPolicy   RestartPolicy
	AutoRemove      bool              `json:",omitempty"`
	Privileged      bool              `json:",omitempty"`
	ReadonlyRootfs  bool              `json:",omitempty"`
	CapAdd          []string          `json:",omitempty"` // without CAP_, or ALL
	CapDrop         []string          `json:",omitempty"`
	SecurityOpt     []string          `json:",omitempty"` // seccomp=…, no-new-privileges
	DNS             []string          `json:",omitempty"`
	DNSSearch       []string          `json:",omitempty"`
	DNSOptions      []string          `json:",omitempty"`
	ExtraHosts      []string          `json:",omitempty"` // name:address
	GroupAdd        []string          `json:",omitempty"`
	ShmSize         int64             `json:",omitempty"` // bytes; 0 is 64 MiB
	OomScoreAdj     int               `json:",omitempty"`
	Sysctls         map[string]string `json:",omitempty"`
	Init            *bool             `json:",omitempty"` // nil is the daemon's default
	ConsoleSize     [2]uint           `json:",omitempty"` // rows, columns
	LogConfig       LogConfig
	Annotations     map[string]string `json:",omitempty"`
	// PidMode, IpcMode and NetworkMode name another container, whose namespace is
	// joined, by its id once the record is made. The values are Docker's.
	PidMode      string `json:",omitempty"` // "", host, container:ID
	IpcMode      string `json:",omitempty"` // "", none, private, shareable, host, container:ID
	UTSMode      string `json:",omitempty"` // "", host
	CgroupnsMode string `json:",omitempty"` // "", private, host
	UsernsMode   string `json:",omitempty"` // "", host
	// MaskedPaths and ReadonlyPaths replace the runtime's: nil are those, an
	// empty list is none.
	MaskedPaths     []string
	ReadonlyPaths   []string
	StorageOpt      map[string]string `json:",omitempty"` // size
	Runtime         string            `json:",omitempty"` // "" or "runc"
	Links           []string          `json:",omitempty"` // container[:alias]
	ContainerIDFile string            `json:",omitempty"` // the client writes it; kept to be told
	Umask           *uint32           `json:",omitempty"` // of the first process
	Resources
}

// Resources limit what a container uses and say which devices it has. Zero is
// no limit, but where it says otherwise. In a [ContainerUpdate] zero leaves a limit as it is.
type Resources struct {
	Memory               int64            `json:",omitempty"` // bytes
	MemoryReservation    int64            `json:",omitempty"` // bytes; a soft limit
	MemorySwap           int64            `json:",omitempty"` // bytes, memory+swap; -1 unlimited
	MemorySwappiness     *int64           `json:",omitempty"` // 0 to 100; nil or -1: the host's
	OomKillDisable       *bool            `json:",omitempty"` // cgroup v1 only
	NanoCPUs             int64            `json:",omitempty"` // 1e9 is one CPU
	CPUShares            int64            `json:",omitempty"`
	CPUPeriod            int64            `json:",omitempty"` // microseconds
	CPUQuota             int64            `json:",omitempty"` // microseconds
	CPURealtimePeriod    int64            `json:",omitempty"` // microseconds; cgroup v1 only
	CPURealtimeRuntime   int64            `json:",omitempty"` // microseconds; cgroup v1 only
	CpusetCpus           string           `json:",omitempty"` // "0-2,4"
	CpusetMems           string           `json:",omitempty"`
	PidsLimit            *int64           `json:",omitempty"` // 0 or less: unlimited; nil: not given
	BlkioWeight          uint16           `json:",omitempty"` // 10 to 1000
	BlkioWeightDevice    []WeightDevice   `json:",omitempty"`
	BlkioDeviceReadBps   []ThrottleDevice `json:",omitempty"` // bytes a second
	BlkioDeviceWriteBps  []ThrottleDevice `json:",omitempty"`
	BlkioDeviceReadIOps  []ThrottleDevice `json:",omitempty"` // operations a second
	BlkioDeviceWriteIOps []ThrottleDevice `json:",omitempty"`
	Devices              []DeviceMapping  `json:",omitempty"`
	DeviceCgroupRules    []string         `json:",omitempty"` // "c 1:3 rwm"
	DeviceRequests       []DeviceRequest  `json:",omitempty"`
	CgroupParent         string           `json:",omitempty"` // a slice under systemd, else a path
	Ulimits              []Ulimit         `json:",omitempty"`
}

// WeightDevice is the share of one block device's time.
type WeightDevice struct {
	Path   string // of the device node
	Weight uint16 // 10 to 1000
}

// ThrottleDevice is the most that is done on one block device a second.
type ThrottleDevice struct {
	Path string // of the device node
	Rate uint64
}

// DeviceMapping gives a container a device of the host.
type DeviceMapping struct {
	PathOnHost, PathInContainer string
	CgroupPermissions           string // of r, w and m; "" is all
}

// DeviceRequest asks a device driver for devices: "cdi" for those that the
// host's CDI specifications name.
type DeviceRequest struct {
	Driver       string
	Count        int // -1 is all
	DeviceIDs    []string
	Capabilities [][]string // alternatives of sets
	Options      map[string]string
}

// Ulimit is one resource limit (setrlimit(2)); Name without RLIMIT_, lower case.
type Ulimit struct {
	Name       string
	Soft, Hard int64 // -1 is unlimited
}

// LogConfig names the log driver of a container and gives its options.
type LogConfig struct {
	Type   string            `json:",omitempty"`
	Config map[string]string `json:",omitempty"`
}

// RestartPolicy says when the monitor starts a container again after it exits.
type RestartPolicy struct {
	Name              string `json:",omitempty"` // "", no, always, unless-stopped, on-failure
	MaximumRetryCount int    `json:",omitempty"` // on-failure only; 0 is unlimited
}

// PortBinding asks for a port of the host. HostIP "" is every address, HostPort
// "" or "0" a free port of the kernel's ephemeral range, "8000-8010" the first
// free one of a range.
type PortBinding struct {
	HostIP   string
	HostPort string
}

// MountRequest is one --mount.
type MountRequest struct {
	Type                   string // bind, volume, tmpfs, image
	Source                 string `json:",omitempty"`
	Target                 string
	ReadOnly               bool              `json:",omitempty"`
	Consistency            string            `json:",omitempty"` // kept to be told; it has no effect on Linux
	Propagation            string            `json:",omitempty"` // bind
	NonRecursive           bool              `json:",omitempty"` // bind
	CreateMountpoint       bool              `json:",omitempty"` // bind: make a missing source
	ReadOnlyNonRecursive   bool              `json:",omitempty"` // bind
	ReadOnlyForceRecursive bool              `json:",omitempty"` // bind
	Subpath                string            `json:",omitempty"` // volume, image: what of it is mounted
	NoCopy                 bool              `json:",omitempty"` // volume
	VolumeLabels           map[string]string `json:",omitempty"` // volume, when it is made
	VolumeDriver           string            `json:",omitempty"` // volume, likewise
	VolumeOptions          map[string]string `json:",omitempty"` // volume, likewise: of its driver
	TmpfsSize              int64             `json:",omitempty"` // bytes
	TmpfsMode              uint32            `json:",omitempty"`
	TmpfsOptions           [][]string        `json:",omitempty"` // flags, or keys and values
}

// Mount is a mount of a container, resolved.
type Mount struct {
	Type        string // bind, volume, tmpfs, image
	Name        string // of the volume
	Source      string // path on the host, or the image's id; "" for tmpfs
	Target      string // path in the container
	ReadWrite   bool
	Propagation string // rprivate, rslave, …
	Options     string // tmpfs: mount(8) options
	Mode        string `json:",omitempty"` // the options of -v, as given
	Driver      string // of the volume
	CopyUp      bool   // an empty volume takes the image's content at Target
	MakeSource  bool   // bind: a missing source is made as a directory (-v), not refused (--mount)
	// Subpath is what of a volume or an image is mounted; relative, and resolved
	// without leaving it when it is mounted.
	Subpath                string `json:",omitempty"`
	NonRecursive           bool   `json:",omitempty"` // bind: without what is mounted below the source
	ReadOnlyNonRecursive   bool   `json:",omitempty"` // bind: what is mounted below stays writable
	ReadOnlyForceRecursive bool   `json:",omitempty"` // bind: refused where what is below cannot be made read-only
	// VolumeOptions and VolumeLabels are those of the volume. One with options
	// is mounted by them, and Source is empty on the host.
	VolumeOptions map[string]string `json:",omitempty"`
	VolumeLabels  map[string]string `json:",omitempty"`
}

// SPDX-License-Identifier: Apache-2.0

package davit

import (
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Status is the state of a container, in the words of the Docker API.
type Status string

// The states of a container.
const (
	StatusCreated    Status = "created"
	StatusRunning    Status = "running"
	StatusPaused     Status = "paused"
	StatusRestarting Status = "restarting"
	StatusRemoving   Status = "removing"
	StatusExited     Status = "exited"
	StatusDead       Status = "dead"
)

// Container is the record of a container: what should be (Config,
// HostConfig) and what was last known to be (State). The service owns it;
// what it hands out is a copy.
type Container struct {
	ID         string // 64 hexadecimal digits
	Name       string // without the leading slash of the Docker API
	Created    time.Time
	ImageID    digest.Digest // digest of the image's config
	ImageRef   string        // as the user wrote it
	Path       string        // argv[0] after entrypoint and command were joined
	Args       []string
	Config     ContainerConfig
	HostConfig HostConfig
	Mounts     []Mount // resolved: volumes have their host path
	Endpoints  []Endpoint
	MAC        string `json:",omitempty"` // as it was asked for
	State      State
	Restarts   int // by the restart policy, since the last start by a user
}

// State is the life of a container's main process.
type State struct {
	Status       Status
	Pid          int // in the host's pid namespace; 0 when it does not run
	ExitCode     int
	Error        string // why the last start failed
	OOMKilled    bool
	StartedAt    time.Time
	FinishedAt   time.Time
	StoppedByAPI bool   // a user stopped it: no restart policy applies
	StoppedBoot  string `json:",omitempty"` // the boot of the host in which that was (HostFacts.BootID)
	// PausedByEngine says that it is paused for as long as a job of the engine
	// takes, and is to go on when there is no such job any more.
	PausedByEngine bool    `json:",omitempty"`
	Health         *Health `json:",omitempty"` // nil without a healthcheck
	Unit           string  `json:",omitempty"` // the systemd unit of the last start; "" without systemd
	AppArmor       string  `json:",omitempty"` // the profile of the last start, or "unconfined"; "" on a host without AppArmor
}

// Running tells whether the container has a process: running, paused, or
// between two runs of its restart policy.
func (s State) Running() bool {
	return s.Status == StatusRunning || s.Status == StatusPaused || s.Status == StatusRestarting
}

// ContainerConfig is the portable part of a container's configuration; an
// image's config has the same shape (OCI image-spec config.md).
type ContainerConfig struct {
	Hostname     string              `json:",omitempty"`
	Domainname   string              `json:",omitempty"`
	User         string              `json:",omitempty"`
	AttachStdin  bool                `json:",omitempty"`
	AttachStdout bool                `json:",omitempty"`
	AttachStderr bool                `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"` // "80/tcp"
	Tty          bool                `json:",omitempty"`
	OpenStdin    bool                `json:",omitempty"`
	StdinOnce    bool                `json:",omitempty"`
	Env          []string            `json:",omitempty"` // KEY=value
	Cmd          []string            `json:",omitempty"`
	Entrypoint   []string            `json:",omitempty"`
	Image        string              `json:",omitempty"`
	Volumes      map[string]struct{} `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	StopSignal   string              `json:",omitempty"`
	StopTimeout  *int                `json:",omitempty"` // seconds
	Shell        []string            `json:",omitempty"`
	OnBuild      []string            `json:",omitempty"`
	Healthcheck  *Healthcheck        `json:",omitempty"`
}

// Healthcheck says how a container's monitor finds out how the container is.
// Zero fields are inherited from the image, or else Docker's defaults.
type Healthcheck struct {
	Test          []string      `json:",omitempty"` // NONE; CMD and its arguments; CMD-SHELL and a line
	Interval      time.Duration `json:",omitempty"` // nanoseconds in JSON, as Docker has it
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`
}

// Rootfs is a container's root file system, to be mounted with overlayfs by
// the monitor in its own mount namespace.
type Rootfs struct {
	Lower  []string // absolute directories, topmost first
	Upper  string
	Work   string
	Target string // where to mount it; an empty directory
	// Images are the layers of the images that the container mounts, by their
	// ids; absolute directories, topmost first.
	Images map[string][]string
}

// File is a generated file that is mounted into a container
// (/etc/hosts, /etc/hostname, /etc/resolv.conf).
type File struct {
	Target  string
	Content []byte
	Dir     string // unless "": the Launch.Dir of another container, whose file of this target it is, if it has one
}

// Launch is what the runtime needs to create a container's process, beside
// the record itself.
type Launch struct {
	Container *Container
	Rootfs    Rootfs
	Files     []File
	Dir       string // the container's own directory under the data root; exists
	LogPath   string // json-file log; "" for none
	Hostname  string
	OwnNetns  bool // false: the host's network namespace, or that of the container that NetworkMode names
	First     bool // it was never started: empty volumes take the image's content
	Init      bool // run the program below an init of the engine's
}

// Exit is how a container's or exec's process ended.
type Exit struct {
	Code      int // 128+n after signal n
	OOMKilled bool
	At        time.Time
	Error     string `json:",omitempty"`
}

// Streams are a caller's ends of a container's or an exec's stdio. A nil one
// is not attached. With a terminal, Stdout carries everything and Stderr is
// nil. Stdin at EOF closes the container's stdin when it was opened once.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Attached, unless nil, is called once the monitor has taken the streams:
	// from then on nothing that the container writes is missed.
	Attached func()
	// Log, unless nil, is called next, before anything is copied, with the place
	// in the container's log where the streams begin: what is logged before it
	// does not come by them, and what comes by them is logged behind it, if at
	// all. It is "" when that is not known, or nothing is logged. An error ends
	// the attachment.
	Log func(place string) error
	// Detached, unless nil, is called once the keys that end the attachment were
	// read, before Attach returns.
	Detached func()
}

// TellDetached calls Detached, if it is there.
func (s Streams) TellDetached() {
	if s.Detached != nil {
		s.Detached()
	}
}

// Only returns those of the streams that are wanted.
func (s Streams) Only(stdin, stdout, stderr bool) Streams {
	if !stdin {
		s.Stdin = nil
	}
	if !stdout {
		s.Stdout = nil
	}
	if !stderr {
		s.Stderr = nil
	}
	return s
}

// ContainerInfo is a record together with what follows from it.
type ContainerInfo struct {
	Container
	Image      *Image // nil when the image is gone
	LogPath    string
	FilesDir   string // has its hostname, hosts and resolv.conf; "" before the first start
	UpperDir   string
	LowerDirs  []string
	WorkDir    string   // of overlayfs
	ExecIDs    []string // sessions that have not ended
	SizeRw     int64    // bytes; -1 unless asked for
	SizeRootFs int64
	// NetworkID is of the network that it is on, or was on when it ran last; "" before the
	// first start.
	NetworkID string
}

// Exec is the record of an exec session. It lives as long as the daemon.
type Exec struct {
	ID                                      string
	ContainerID                             string
	Cmd                                     []string
	Env                                     []string
	User                                    string
	WorkingDir                              string
	Tty                                     bool
	Privileged                              bool
	AttachStdin, AttachStdout, AttachStderr bool
	DetachKeys                              string
	ConsoleSize                             [2]uint
	Running                                 bool
	Started                                 bool
	Pid                                     int
	Exit                                    *Exit
}

// ProcessTable is what ps prints: titles and one row of cells a process.
type ProcessTable struct {
	Titles    []string
	Processes [][]string
}

// FileStat describes a path of a container (Docker's
// X-Docker-Container-Path-Stat).
type FileStat struct {
	Name       string
	Size       int64
	Mode       uint32 // io/fs.FileMode
	Mtime      time.Time
	LinkTarget string
}

// Endpoint is a container's attachment to a network.
type Endpoint struct {
	NetworkID   string
	NetworkName string
	ContainerID string
	EndpointID  string
	Aliases     []string     `json:",omitempty"`
	MAC         string       `json:",omitempty"`
	Address     netip.Prefix // the container's address with the network's length
	Gateway     netip.Addr
	HostLink    string // the host's end of the veth pair
	Ports       []PortMapping
}

// PortMapping is a published port, as it is.
type PortMapping struct {
	Proto         string     // tcp, udp, sctp
	HostIP        netip.Addr // 0.0.0.0 is every address
	HostPort      uint16
	ContainerPort uint16
}

// Listed returns the mounts that Docker tells of: a --tmpfs is none, which a mount of
// type tmpfs is.
func (c *Container) Listed() []Mount {
	return slices.DeleteFunc(slices.Clone(c.Mounts), func(m Mount) bool {
		_, byOption := c.HostConfig.Tmpfs[m.Target]
		return byOption && m.Type == "tmpfs"
	})
}

// ShortID returns the 12 digits that Docker shows of a 64-digit id.
func ShortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

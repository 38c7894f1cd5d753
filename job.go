// SPDX-License-Identifier: Apache-2.0

package davit

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
)

// Returns is embedded in a request to tie it to the type of its result, so
// that submitting one and waiting for it needs no type assertion.
type Returns[R any] struct{}

// ResultOf is never called for its value.
func (Returns[R]) ResultOf() (r R) { return r }

// Nothing is the result of a job that has none.
type Nothing struct{}

// A request is named for what it does; JobType is its name in the table of
// jobs. Names of Docker 1.2 are kept where the job still exists. Containers,
// images, networks and volumes are named as users do: by id, unambiguous
// prefix of the id, or name.
type (
	// Version asks for the versions of the engine and its parts.
	Version struct{ Returns[VersionInfo] }
	// Info asks for the engine's configuration and counts.
	Info struct{ Returns[EngineInfo] }
	// Commands lists the table of jobs.
	Commands struct{ Returns[[]string] }
	// Noop does nothing; the watchdog's self-check sends it through the queue.
	Noop struct{ Returns[Nothing] }

	// DiskUsage says what is on the disk, and how much of it could be removed.
	DiskUsage struct{ Returns[DiskUsageInfo] }
	// Prune removes what nothing uses.
	Prune struct {
		Returns[Pruned]
		Class   string // container, image, network, volume
		Filters map[string][]string
	}
	// JobCancel cancels a job.
	JobCancel struct {
		Returns[Nothing]
		ID uint32
	}

	// Events follows events until ctx ends, Until has passed, or Emit fails.
	// Ready, unless nil, is called once it is certain that nothing is missed
	// from then on, before the first Emit.
	Events struct {
		Returns[Nothing]
		Since, Until time.Time
		Filters      map[string][]string
		Ready        func()            `json:"-"`
		Emit         func(Event) error `json:"-"`
	}

	// Create makes the record of a container.
	Create struct {
		Returns[Created]
		Name       string // "" generates one
		Platform   Platform
		Config     ContainerConfig
		HostConfig HostConfig
		MAC        string // hardware address on the default network; "" makes one of the IP address
	}
	// Run makes a container and starts it, as one job that can be waited for.
	Run struct {
		Returns[Created]
		Create Create
		Pull   bool // fetch the image first when the store lacks it
	}
	// Start starts a container that does not run.
	Start struct {
		Returns[Nothing]
		Container string
	}
	// Stop sends the stop signal, waits Timeout, then kills.
	Stop struct {
		Returns[Nothing]
		Container string
		Signal    string
		Timeout   *time.Duration // nil: the container's own, else 10 s; negative: for ever
	}
	// Restart stops a container, if it runs, and starts it.
	Restart struct {
		Returns[Nothing]
		Container string
		Signal    string
		Timeout   *time.Duration
	}
	// Kill sends one signal to the main process.
	Kill struct {
		Returns[Nothing]
		Container string
		Signal    string // "" is KILL; with or without SIG, or a number
	}
	// Delete removes a container.
	Delete struct {
		Returns[Nothing]
		Container string
		Force     bool // kill it first
		Volumes   bool // and its anonymous volumes
	}
	// Destroy removes a container whose turn it is; what [Delete] asks for once
	// a forced one has killed it. Only the daemon submits it.
	Destroy struct {
		Returns[Nothing]
		Container      string
		Force, Volumes bool
	}
	// Rename gives a container another name.
	Rename struct {
		Returns[Nothing]
		Container, Name string
	}
	// ContainerUpdate changes the limits and the restart policy of a container, at
	// once when it runs; its result is warnings for the user. What is zero in
	// Resources, and a nil policy, stays as it is.
	ContainerUpdate struct {
		Returns[[]string]
		Container     string
		Resources     Resources
		RestartPolicy *RestartPolicy
	}
	// Resize sets the size of a container's terminal.
	Resize struct {
		Returns[Nothing]
		Container     string
		Rows, Columns uint
	}
	// Wait follows a container until it meets Condition.
	Wait struct {
		Returns[Exit]
		Container string
		Condition string // not-running, next-exit, removed
		// Ready is called once the wait has begun, so that a caller may then
		// start the container without losing its exit.
		Ready func() `json:"-"`
	}
	// Attach follows a container's streams until they end or ctx does. Open
	// is called once, when the attachment is certain, and gives the caller's
	// ends.
	Attach struct {
		Returns[Nothing]
		Container             string
		Stdin, Stdout, Stderr bool
		Stream                bool                            // false: only the log
		Logs                  bool                            // replay the log first
		DetachKeys            string                          // "" is ctrl-p,ctrl-q
		Open                  func(tty bool) (Streams, error) `json:"-"`
	}
	// Logs follows a container's log. Open as in [Attach]; its writers may hold back
	// what is written until their method Flush() error is called.
	Logs struct {
		Returns[Nothing]
		Container      string
		Stdout, Stderr bool
		Follow         bool
		Timestamps     bool
		Details        bool // the attributes that the log options ask for, too
		Since, Until   time.Time
		Tail           int                             // lines; -1 is all
		Open           func(tty bool) (Streams, error) `json:"-"`
	}
	// Containers lists containers, newest first.
	Containers struct {
		Returns[[]ContainerInfo]
		All     bool
		Limit   int
		Size    bool
		Filters map[string][]string
	}
	// ContainerInspect gives all that is known of a container.
	ContainerInspect struct {
		Returns[ContainerInfo]
		Container string
		Size      bool
	}
	// Top lists a container's processes by the host's ps.
	Top struct {
		Returns[ProcessTable]
		Container string
		Args      []string
	}
	// ContainerStatPath describes a path of a container.
	ContainerStatPath struct {
		Returns[FileStat]
		Container, Path string
	}
	// ContainerCopy writes a tar of Path of a container to the writer that
	// Open gives, once the path is known to exist.
	ContainerCopy struct {
		Returns[Nothing]
		Container, Path string
		Open            func(FileStat) (io.Writer, error) `json:"-"`
	}
	// ContainerExtract unpacks a tar in the directory Path of a container.
	ContainerExtract struct {
		Returns[Nothing]
		Container, Path      string
		NoOverwriteDirNonDir bool
		CopyUIDGID           bool      // all is the container's user's; without one, the owners are those in the archive
		Source               io.Reader `json:"-"`
		// Check is asked for leave before anything is written, with the directory
		// that Path leads to through all links. The service sets it.
		Check func(dir string) error `json:"-"`
		// Owner is the user[:group] that is to have what is unpacked, looked up in the
		// container; "" leaves the archive's owners. The service sets it.
		Owner string `json:"-"`
	}

	// ContainerChanges lists what a container changed in its image's files.
	ContainerChanges struct {
		Returns[[]FileChange]
		Container string
	}
	// Export writes a container's files, without its mounts, as a tar to the
	// writer that Open gives.
	Export struct {
		Returns[Nothing]
		Container string
		Open      func() (io.Writer, error) `json:"-"`
	}
	// Pause freezes all processes of a container.
	Pause struct {
		Returns[Nothing]
		Container string
		Brief     bool `json:"-"` // for a job of the engine, which unpauses it; if not, the next daemon does
	}
	// Unpause thaws them.
	Unpause struct {
		Returns[Nothing]
		Container string
	}
	// Stats follows what a container uses: Emit gets one record now and, unless
	// Once, one every Interval until the container is removed or Emit fails. While
	// it does not run the records are zero.
	Stats struct {
		Returns[Nothing]
		Container string
		Interval  time.Duration // at least 100 ms; 0 is one second
		Once      bool
		Emit      func(ContainerStats) error `json:"-"`
	}
	// ContainerByPID finds the container that a process of the host is in.
	ContainerByPID struct {
		Returns[ContainerInfo]
		PID int
	}
	// OSRelease reads os-release(5) of a container, or of an image.
	OSRelease struct {
		Returns[map[string]string]
		Container, Image string // one of the two
	}
	// RootDirectory opens the root directory of a running container; the
	// caller closes the descriptor.
	RootDirectory struct {
		Returns[*os.File]
		Container string
	}

	// ExecKill sends a signal to the process of an exec session.
	ExecKill struct {
		Returns[Nothing]
		ID     string
		Signal string // as of [Kill]
	}
	// ExecCreate makes an exec session; its result is the session's id.
	ExecCreate struct {
		Returns[string]
		Exec Exec // ContainerID names the container
	}
	// ExecStart starts an exec session and, unless Detach, follows its
	// streams until it ends. Open as in [Attach].
	ExecStart struct {
		Returns[Nothing]
		ID          string
		Detach      bool
		Tty         bool
		ConsoleSize [2]uint
		Open        func(tty bool) (Streams, error) `json:"-"`
	}
	// ExecResize sets the size of an exec session's terminal.
	ExecResize struct {
		Returns[Nothing]
		ID            string
		Rows, Columns uint
	}
	// ExecInspect gives an exec session's record.
	ExecInspect struct {
		Returns[Exec]
		ID string
	}

	// Images lists images.
	Images struct {
		Returns[[]ImageSummary]
		All     bool
		Filters map[string][]string
	}
	// ImageInspect gives all that is known of an image.
	ImageInspect struct {
		Returns[Image]
		Image string
	}
	// History gives the steps of an image's making, newest first.
	History struct {
		Returns[[]HistoryEntry]
		Image string
	}
	// Pull fetches an image from its registry.
	Pull struct {
		Returns[Image]
		Reference string
		Platform  Platform
		Auth      *RegistryAuth `json:"-"`
	}
	// Import makes an image of a root file system's tar (plain, gzip, zstd).
	Import struct {
		Returns[Image]
		Source    io.Reader `json:"-"`
		Reference string
		Message   string
		Platform  Platform
		Changes   []string // Dockerfile instructions
	}
	// Load makes images of a docker-archive or an OCI layout.
	Load struct {
		Returns[[]Image]
		Source io.Reader `json:"-"`
		Quiet  bool
	}
	// Tag gives an image another name.
	Tag struct {
		Returns[Nothing]
		Image, Reference string
	}
	// ImageDelete removes names of an image and, with the last, the image.
	ImageDelete struct {
		Returns[[]ImageDeletion]
		Image   string
		Force   bool
		NoPrune bool
	}

	// Save writes images to the writer that Open gives, once they are known to
	// exist, as an archive that [Load] reads.
	Save struct {
		Returns[Nothing]
		Images   []string
		Format   string // "" is docker, "oci"
		Platform Platform
		Open     func() (io.Writer, error) `json:"-"`
	}
	// Push uploads an image to its registry.
	Push struct {
		Returns[Descriptor] // of what the name means there now
		Reference           string
		Platform            Platform      // zero: all of the image that is here
		Auth                *RegistryAuth `json:"-"`
	}
	// Search asks a registry for images whose name or description has Term.
	Search struct {
		Returns[[]SearchResult]
		Term    string
		Limit   int // 0 is 25
		Filters map[string][]string
		Auth    *RegistryAuth `json:"-"`
	}
	// Auth checks credentials with a registry; its result is what the registry
	// says of it, and a token to use in the password's place if it gave one.
	Auth struct {
		Returns[AuthResult]
		Auth RegistryAuth `json:"-"`
	}
	// ContainerCommit makes an image of a container.
	ContainerCommit struct {
		Returns[Image]
		Container string
		Reference string // "" names nothing
		Author    string
		Message   string
		Pause     bool // while its files are read
		Changes   []string
		Config    *ContainerConfig // merged into the container's; nil: as it is
	}

	// Networks lists networks.
	Networks struct {
		Returns[[]NetworkInfo]
		Filters map[string][]string
	}
	// NetworkInspect gives a network and its endpoints.
	NetworkInspect struct {
		Returns[NetworkInfo]
		Network string
	}

	// VolumeCreate makes a volume, or returns the one of that name.
	VolumeCreate struct {
		Returns[Volume]
		Name    string // "" generates one
		Driver  string // "" is local
		Labels  map[string]string
		Options map[string]string
	}
	// Volumes lists volumes.
	Volumes struct {
		Returns[[]Volume]
		Filters map[string][]string
	}
	// VolumeInspect gives a volume.
	VolumeInspect struct {
		Returns[Volume]
		Volume string
	}
	// VolumeDirectory opens a volume's directory; the caller closes the
	// descriptor.
	VolumeDirectory struct {
		Returns[*os.File]
		Volume string
	}
	// VolumeDelete removes a volume that no container uses.
	VolumeDelete struct {
		Returns[Nothing]
		Volume string
		Force  bool
	}
)

// Jobs that the daemon gives itself.
type (
	// InitNetworkDriver makes the default network and its firewall rules.
	InitNetworkDriver struct{ Returns[Nothing] }
	// ServeAPI serves the listening sockets until the daemon shuts down.
	ServeAPI struct{ Returns[Nothing] }
	// ServeBus connects to the system bus and serves it until the daemon shuts
	// down; without a bus it is skipped.
	ServeBus struct{ Returns[Nothing] }
	// Restore adopts the containers that a predecessor left and cleans up
	// after it.
	Restore struct{ Returns[Nothing] }
	// AcceptConnections opens the gate behind which requests wait.
	AcceptConnections struct{ Returns[Nothing] }
	// AllocateInterface reserves an address for a container.
	AllocateInterface struct {
		Returns[Endpoint]
		Container string
	}
	// ReleaseInterface gives back a container's addresses and ports.
	ReleaseInterface struct {
		Returns[Nothing]
		Container string
	}
	// Exited records that a container's process has ended.
	Exited struct {
		Returns[Nothing]
		Container string
		Exit      Exit
	}
	// ReapplyNetworks programs links and firewall again from the records.
	ReapplyNetworks struct{ Returns[Nothing] }
	// Reload reads the configuration file again.
	Reload struct{ Returns[Nothing] }
)

// JobType returns the request's name in the table of jobs.
func (Version) JobType() string           { return "version" }
func (Info) JobType() string              { return "info" }
func (Commands) JobType() string          { return "commands" }
func (Noop) JobType() string              { return "noop" }
func (Events) JobType() string            { return "events" }
func (Create) JobType() string            { return "create" }
func (Run) JobType() string               { return "run" }
func (Start) JobType() string             { return "start" }
func (Stop) JobType() string              { return "stop" }
func (Restart) JobType() string           { return "restart" }
func (Kill) JobType() string              { return "kill" }
func (Delete) JobType() string            { return "delete" }
func (Destroy) JobType() string           { return "destroy" }
func (Rename) JobType() string            { return "rename" }
func (ContainerUpdate) JobType() string   { return "update" }
func (Resize) JobType() string            { return "resize" }
func (Wait) JobType() string              { return "wait" }
func (Attach) JobType() string            { return "attach" }
func (Logs) JobType() string              { return "logs" }
func (Containers) JobType() string        { return "containers" }
func (ContainerInspect) JobType() string  { return "container_inspect" }
func (Top) JobType() string               { return "top" }
func (ContainerStatPath) JobType() string { return "container_stat_path" }
func (ContainerCopy) JobType() string     { return "container_copy" }
func (ContainerExtract) JobType() string  { return "container_extract" }
func (ExecCreate) JobType() string        { return "exec_create" }
func (ExecStart) JobType() string         { return "exec_start" }
func (ExecResize) JobType() string        { return "exec_resize" }
func (ExecInspect) JobType() string       { return "exec_inspect" }
func (Images) JobType() string            { return "images" }
func (ImageInspect) JobType() string      { return "image_inspect" }
func (History) JobType() string           { return "history" }
func (Pull) JobType() string              { return "pull" }
func (Import) JobType() string            { return "import" }
func (Load) JobType() string              { return "load" }
func (Tag) JobType() string               { return "tag" }
func (ImageDelete) JobType() string       { return "image_delete" }
func (Networks) JobType() string          { return "networks" }
func (NetworkInspect) JobType() string    { return "network_inspect" }
func (VolumeCreate) JobType() string      { return "volume_create" }
func (Volumes) JobType() string           { return "volumes" }
func (VolumeInspect) JobType() string     { return "volume_inspect" }
func (VolumeDelete) JobType() string      { return "volume_delete" }
func (DiskUsage) JobType() string         { return "system_df" }
func (Prune) JobType() string             { return "prune" }
func (JobCancel) JobType() string         { return "job_cancel" }
func (ContainerChanges) JobType() string  { return "container_changes" }
func (Export) JobType() string            { return "export" }
func (Pause) JobType() string             { return "pause" }
func (Unpause) JobType() string           { return "unpause" }
func (Stats) JobType() string             { return "stats" }
func (ContainerByPID) JobType() string    { return "container_by_pid" }
func (OSRelease) JobType() string         { return "os_release" }
func (RootDirectory) JobType() string     { return "root_directory" }
func (ExecKill) JobType() string          { return "exec_kill" }
func (Save) JobType() string              { return "image_export" }
func (Push) JobType() string              { return "push" }
func (Search) JobType() string            { return "search" }
func (Auth) JobType() string              { return "auth" }
func (ContainerCommit) JobType() string   { return "commit" }
func (VolumeDirectory) JobType() string   { return "volume_directory" }
func (InitNetworkDriver) JobType() string { return "init_networkdriver" }
func (ServeAPI) JobType() string          { return "serveapi" }
func (ServeBus) JobType() string          { return "servebus" }
func (Restore) JobType() string           { return "restore" }
func (AcceptConnections) JobType() string { return "acceptconnections" }
func (AllocateInterface) JobType() string { return "allocate_interface" }
func (ReleaseInterface) JobType() string  { return "release_interface" }
func (Exited) JobType() string            { return "exited" }
func (ReapplyNetworks) JobType() string   { return "reapply_networks" }
func (Reload) JobType() string            { return "reload" }

// Created is the result of [Create].
type Created struct {
	ID       string
	Warnings []string
}

// VersionInfo is the result of [Version].
type VersionInfo struct {
	Version, Commit, GoVersion, OS, Arch, KernelVersion string
	APIVersion, MinAPIVersion                           string
	Components                                          map[string]string // name -> version
}

// EngineInfo is the result of [Info].
type EngineInfo struct {
	ID                                        string
	Name                                      string // host name
	Containers, Running, Paused, Stopped      int
	Images                                    int
	StorageDriver, StorageStatus              string
	CgroupVersion                             string // "1", "2"
	CgroupDriver                              string // "systemd", "cgroupfs"
	Launcher                                  string // "systemd", "direct"
	FirewallBackend                           string // "iptables (nf_tables)", …
	KernelVersion, OperatingSystem, OSVersion string
	OSType, Architecture                      string
	NCPU                                      int
	MemTotal                                  int64
	DataRoot                                  string
	Labels                                    []string
	InsecureRegistries                        []string
	SecurityOptions                           []string
	CDISpecDirs                               []string
	DefaultAddressPools                       []string
	Goroutines, FDs                           int
	EventsListeners                           int
	Time                                      time.Time
	Warnings                                  []string
	Debug                                     bool
	Seccomp                                   bool
	AppArmor                                  bool // containers are confined by it unless they ask for something else
	Cgroups                                   CgroupSupport
	IPForwarding                              bool     // of IPv4, now
	LogDriver                                 string   // of containers that do not name one
	LogDrivers                                []string // that containers can name
}

// ImageSummary is one line of [Images].
type ImageSummary struct {
	ID         digest.Digest
	Parent     digest.Digest
	Tags       []string
	Digests    []string
	Created    time.Time
	Size       int64
	SharedSize int64 // bytes of Size that other images have too; only [DiskUsage] tells
	Labels     map[string]string
	Containers int
}

// DiskUsageInfo is the result of [DiskUsage].
type DiskUsageInfo struct {
	LayersSize int64 // bytes of all image layers, each counted once
	Images     []ImageSummary
	Containers []ContainerInfo // with SizeRw and SizeRootFs
	Volumes    []VolumeUsage
}

// VolumeUsage is a volume with what it uses.
type VolumeUsage struct {
	Volume
	Size     int64 // bytes; -1 when it cannot be told
	RefCount int   // containers that mount it
}

// Pruned is the result of [Prune].
type Pruned struct {
	Containers []string // ids
	Images     []ImageDeletion
	Volumes    []string
	Networks   []string
	Reclaimed  int64 // bytes
}

// SearchResult is one line of [Search].
type SearchResult struct {
	Name, Description   string
	Stars               int
	Official, Automated bool
}

// AuthResult is the result of [Auth].
type AuthResult struct {
	Status        string // "Login Succeeded"
	IdentityToken string // "" when the registry gave none
}

// NetworkInfo is a network with its endpoints.
type NetworkInfo struct {
	Network
	Endpoints []Endpoint
	Names     map[string]string // container id -> name
}

// Reporter receives a driver's progress. It may be called from any goroutine
// and does not block.
type Reporter func(Progress)

type reporterKey struct{}

// WithReporter returns a context that carries r to drivers.
func WithReporter(ctx context.Context, r Reporter) context.Context {
	return context.WithValue(ctx, reporterKey{}, r)
}

// Report sends p to the context's reporter, if there is one.
func Report(ctx context.Context, p Progress) {
	if r, ok := ctx.Value(reporterKey{}).(Reporter); ok {
		r(p)
	}
}

// SPDX-License-Identifier: Apache-2.0

package protocol

import "time"

// Op names what a request wants.
type Op string

// The requests. Each is answered by exactly one [Reply] with its Seq; the
// replies need not come in the order of the requests.
const (
	// OpCreated is answered when the container exists and its first process
	// waits, or with the error why it does not.
	OpCreated Op = "created"
	// OpHold hands over descriptors that the holder keeps for its whole life.
	OpHold Op = "hold"
	// OpStart lets the first process execute its program.
	OpStart Op = "start"
	// OpSignal sends Signal to the first process; with Stop, no restart policy
	// applies any more.
	OpSignal Op = "signal"
	// OpResize sets the size of the container's terminal.
	OpResize Op = "resize"
	// OpNetns is answered with a descriptor of the network namespace.
	OpNetns Op = "netns"
	// OpFreeze stops all processes of the container where they are, OpThaw lets
	// them go on. A signal with Stop, and SIGKILL, thaw too.
	OpFreeze Op = "freeze"
	OpThaw   Op = "thaw"
	// OpRoot is answered with a descriptor (O_PATH) of the container's root as
	// the holder has it mounted: without what is mounted in it.
	OpRoot Op = "root"
	// OpUpdate gives the container the limits in update.json, all or nothing.
	OpUpdate Op = "update"
	// OpPolicy gives it the restart policy in Policy.
	OpPolicy Op = "policy"
	// OpAttach adds the pipes in the descriptors, those that With names in the
	// order stdin, stdout, stderr, to the container's streams. With Place it is
	// answered with the place in the log where they begin.
	OpAttach Op = "attach"
	// OpDetach ends the attachment ID without closing the container's stdin.
	OpDetach Op = "detach"
	// OpExec runs a further process. The descriptors are its stdio, all three, or
	// the socket for a pty's master alone, and last a file with its encoded
	// [ExecSpec].
	OpExec Op = "exec"
	// OpExecSignal sends Signal to the process of session ID.
	OpExecSignal Op = "exec-signal"
	// OpExecWait is answered when the process of session ID has ended.
	OpExecWait Op = "exec-wait"
	// OpSubscribe has the connection receive an [Update] now and at each change.
	OpSubscribe Op = "subscribe"
)

// Request is a packet from the daemon.
type Request struct {
	Seq        uint64
	Op         Op
	ID         string `json:",omitempty"`
	Signal     int    `json:",omitempty"`
	Stop       bool   `json:",omitempty"`
	Rows, Cols uint16 `json:",omitempty"`
	With       []bool `json:",omitempty"`
	Place      bool   `json:",omitempty"`

	Policy *Policy `json:",omitempty"`
}

// Policy is a restart policy.
type Policy struct {
	Restart    string // as in [Holder]
	MaxRetries int
}

// Packet is a packet from the holder: a reply, or an update when Update is
// not nil.
type Packet struct {
	Seq    uint64 `json:",omitempty"`
	Error  *Error `json:",omitempty"`
	Pid    int    `json:",omitempty"`
	Exit   *Exit  `json:",omitempty"`
	Place  string `json:",omitempty"` // of the log: containerlog's; "" when it is not known
	Update *State `json:",omitempty"`
}

// Kind classifies an [Error] for the daemon.
type Kind string

// The kinds of errors.
const (
	KindInternal    Kind = ""
	KindStart       Kind = "start"       // the command's own fault
	KindDenied      Kind = "denied"      // the same: it was found but cannot be executed
	KindInvalid     Kind = "invalid"     // the configuration's
	KindUnsupported Kind = "unsupported" // this host cannot
	KindNotRunning  Kind = "not-running"
	KindUnknown     Kind = "unknown" // the holder does not know the request: it is older than the daemon
)

// Error is an error on its way through a socket.
type Error struct {
	Kind    Kind `json:",omitempty"`
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Report is what the monitor tells the holder before it leaves.
type Report struct {
	Pid     int               `json:",omitempty"`
	Cgroups map[string]string `json:",omitempty"` // controller -> directory
	// AppArmor is the profile of a new container, or "unconfined"; "" on a host
	// without AppArmor.
	AppArmor string `json:",omitempty"`
	Error    *Error `json:",omitempty"`
}

// Status is a container's state, in the words of the Docker API.
type Status string

// The states that a holder knows.
const (
	Created    Status = "created"
	Running    Status = "running"
	Paused     Status = "paused"
	Restarting Status = "restarting"
	Exited     Status = "exited"
)

// State is state.json, and an update. Exit is valid when Status is Restarting
// or Exited.
type State struct {
	Status    Status
	Pid       int               `json:",omitempty"` // of the first process, 0 when there is none
	PidStart  uint64            `json:",omitempty"` // its start time in clock ticks, proc_pid_stat(5)
	Holder    int               `json:",omitempty"` // the holder's own pid
	StartedAt time.Time         `json:",omitzero"`
	Exit      *Exit             `json:",omitempty"`
	Restarts  int               `json:",omitempty"`
	Cgroups   map[string]string `json:",omitempty"`
	AppArmor  string            `json:",omitempty"` // as in [Report], of the last run
	Health    *Health           `json:",omitempty"` // nil without a healthcheck
	Probe     *Probe            `json:",omitempty"` // that has just begun or ended; in an update only
	// OOM says that the container has no memory left, and a process of it was
	// killed for that or is about to be; in an update only.
	OOM bool `json:",omitempty"`
}

// Exit is exit.json, and how an exec session's process ended.
type Exit struct {
	Code      int // 128+n after signal n
	OOMKilled bool
	At        time.Time
	Error     string    `json:",omitempty"` // why it could not be started again
	StartedAt time.Time `json:",omitzero"`
	Restarts  int       `json:",omitempty"`
}

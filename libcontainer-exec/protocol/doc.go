// SPDX-License-Identifier: Apache-2.0

// Package protocol is what the daemon, a container's holder and the monitor
// say to each other: the files of a container's runtime directory and the
// messages on its socket.
//
// The directory <exec-root>/containers/<id> holds
//
//	spec.json     what to run; written by the daemon before the holder starts,
//	              and locked by the holder as long as that lives
//	unit.json     the name of the holder's unit, the daemon's; not with the
//	              direct launcher
//	monitor.sock  the holder's socket, SOCK_SEQPACKET, one JSON value a packet
//	state.json    the container's state, replaced by the holder at each change
//	health.json   the latest probes of the healthcheck, which a packet would be
//	              too small for; written before the state that follows from them
//	update.json   limits that the container is to have; the daemon's
//	limits.json   those that it has, once they are not those of the spec
//	exit.json     how the container ended, written before anybody is told
//	monitor.log   what the holder and the monitor had to say on stderr
//	enter.rec     what davit-enter has to know of the container; the monitor's
//	enter         in the holder's mount namespace alone, davit-enter, read-only
//	lc/           libcontainer's own state
//
// It imports nothing but the standard library and x/sys, and not fmt: the
// holder is resident once per container, and each page it touches counts.
package protocol

// Names of files in a container's runtime directory.
const (
	SpecFile    = "spec.json"
	SocketFile  = "monitor.sock"
	UnitFile    = "unit.json"
	StateFile   = "state.json"
	HealthFile  = "health.json"
	UpdateFile  = "update.json"
	LimitsFile  = "limits.json"
	ExitFile    = "exit.json"
	LogFile     = "monitor.log"
	RuncRoot    = "lc"
	EnterFile   = "enter.rec"
	EnterPlace  = "enter"
	ContainersD = "containers" // below the exec root
	// MountsD is below the exec root too, and empty: each holder has a file system
	// of its own there, with what the container mounts that is no path of the
	// host. VolumesD says which holders have a volume there.
	MountsD  = "mounts"
	VolumesD = "volumes"
)

// The environment of a holder: fixed strings and paths of the engine, nothing
// that a user chose (systemd 252 rewrites what it stores of a transient unit).
const (
	EnvExecRoot = "DAVIT_EXEC_ROOT" // the engine's runtime directory
	EnvSocketFD = "DAVIT_SOCKET_FD" // the listening monitor.sock, when the launcher made it
	EnvSeccomp  = "DAVIT_SECCOMP_CACHE"
)

// Descriptors of the monitor when the holder runs it. The three of the
// container's stdio follow FDReport; with a terminal FDStdio is the stream
// socket that receives the pty's master, and the others are not there.
const (
	FDReport = 3 // SOCK_SEQPACKET: one [Report]
	FDStdio  = 4
)

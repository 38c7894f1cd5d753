// SPDX-License-Identifier: Apache-2.0

package davit

import (
	"errors"
	"fmt"
)

// Kind is the class of an error: what a caller can do about it. The front
// doors map it to an HTTP status and to a bus error name, in one switch each.
type Kind uint8

// The kinds. An error that carries none is [Internal].
const (
	Internal       Kind = iota // a fault of the engine or the host
	Invalid                    // the request itself is wrong
	Unauthorized               // a registry wants (other) credentials
	Denied                     // the caller may not do this
	NotFound                   // the thing named does not exist
	Conflict                   // the thing's state, or another thing, forbids it
	NotModified                // it already was so
	Unavailable                // shutting down, or not ready yet
	Cancelled                  // the job was cancelled
	NotImplemented             // a valid request that this engine or host cannot serve
	Remote                     // a registry failed or lied
)

// Code names one error exactly. It is the last element of the bus error name
// (org.davit.Engine1.NoSuchContainer) and stays the same across releases.
type Code string

// The codes that handlers and drivers give. The kind of each is in codeKinds.
const (
	NoSuchContainer      Code = "NoSuchContainer"
	NoSuchImage          Code = "NoSuchImage"
	NoSuchNetwork        Code = "NoSuchNetwork"
	NoSuchVolume         Code = "NoSuchVolume"
	NoSuchExec           Code = "NoSuchExec"
	NoSuchFile           Code = "NoSuchFile"
	NoSuchJob            Code = "NoSuchJob"
	NoSuchJobType        Code = "NoSuchJobType"
	AmbiguousName        Code = "AmbiguousName"
	InvalidName          Code = "InvalidName"
	InvalidConfiguration Code = "InvalidConfiguration"
	InvalidArchive       Code = "InvalidArchive"
	NameConflict         Code = "NameConflict"
	ContainerRunning     Code = "ContainerRunning"
	ContainerNotRunning  Code = "ContainerNotRunning"
	ContainerPaused      Code = "ContainerPaused"
	ContainerBusy        Code = "ContainerBusy"  // its files are being copied
	UpdateConflict       Code = "UpdateConflict" // what is to be changed does not go with what stays
	ImageInUse           Code = "ImageInUse"
	NetworkInUse         Code = "NetworkInUse"
	VolumeInUse          Code = "VolumeInUse"
	PortInUse            Code = "PortInUse"
	AddressPoolExhausted Code = "AddressPoolExhausted"
	AlreadySo            Code = "AlreadySo" // kind NotModified, job result "skipped"
	JobNotCancellable    Code = "JobNotCancellable"
	JobCanceled          Code = "JobCanceled"
	RegistryUnauthorized Code = "RegistryUnauthorized"
	RegistryUnreachable  Code = "RegistryUnreachable"
	DigestMismatch       Code = "DigestMismatch"
	UnitFailed           Code = "UnitFailed"
	MonitorUnreachable   Code = "MonitorUnreachable" // it lives and does not answer
	StartFailed          Code = "StartFailed"        // the container's command could not be started
	NoSpace              Code = "NoSpace"
	ShuttingDown         Code = "ShuttingDown"
	NotSupported         Code = "NotSupported"
	AccessDenied         Code = "AccessDenied"
	// AuthenticationRequired: the caller's user would have to authenticate, and
	// the caller did not say that it waits for that.
	AuthenticationRequired Code = "AuthenticationRequired"
	NoAuthority            Code = "NoAuthority" // the host has no polkit
	Failed                 Code = "Failed"
)

var codeKinds = map[Code]Kind{
	NoSuchContainer: NotFound, NoSuchImage: NotFound, NoSuchNetwork: NotFound, NoSuchVolume: NotFound,
	NoSuchExec: NotFound, NoSuchFile: NotFound, NoSuchJob: NotFound, NoSuchJobType: NotFound,
	AmbiguousName: Invalid, InvalidName: Invalid, InvalidConfiguration: Invalid, InvalidArchive: Invalid,
	NameConflict: Conflict, ContainerRunning: Conflict, ContainerNotRunning: Conflict, ContainerPaused: Conflict, ContainerBusy: Conflict, UpdateConflict: Conflict,
	ImageInUse: Conflict, NetworkInUse: Conflict, VolumeInUse: Conflict, PortInUse: Conflict,
	AddressPoolExhausted: Unavailable, AlreadySo: NotModified, JobNotCancellable: Conflict, JobCanceled: Cancelled,
	RegistryUnauthorized: Unauthorized, RegistryUnreachable: Remote, DigestMismatch: Remote,
	MonitorUnreachable: Unavailable, UnitFailed: Internal, StartFailed: Invalid, NoSpace: Internal, ShuttingDown: Unavailable, NotSupported: NotImplemented,
	AccessDenied: Denied, AuthenticationRequired: Denied, NoAuthority: Unavailable, Failed: Internal,
}

// Error is an error with a [Code]. Its text is meant for the user: lower
// case, naming the object, without a trailing full stop.
type Error struct {
	code Code
	err  error
}

// Errorf returns an [Error] of the given code; %w wraps as in [fmt.Errorf].
func Errorf(code Code, format string, args ...any) error {
	return &Error{code: code, err: fmt.Errorf(format, args...)}
}

// Error returns the message.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns what the message was made from.
func (e *Error) Unwrap() error { return e.err }

// ErrorCode returns the code as a string. Errors of packages that may not
// import this one carry their code by the same method.
func (e *Error) ErrorCode() string { return string(e.code) }

// Skipped tells the engine that the job found its work already done.
func (e *Error) Skipped() bool { return e.code == AlreadySo }

// CodeOf returns the code of the outermost error in err's chain that carries
// one, and [Failed] when none does.
func CodeOf(err error) Code {
	var coder interface{ ErrorCode() string }
	if errors.As(err, &coder) {
		return Code(coder.ErrorCode())
	}
	return Failed
}

// KindOf returns the kind of err's code.
func KindOf(err error) Kind { return codeKinds[CodeOf(err)] }

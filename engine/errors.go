// SPDX-License-Identifier: Apache-2.0

package engine

import "fmt"

// codedError is an error whose code the front doors understand; the method
// is the same as that of the module's other errors.
type codedError struct{ code, text string }

func (e *codedError) Error() string     { return e.text }
func (e *codedError) ErrorCode() string { return e.code }

var (
	// ErrShuttingDown refuses jobs from outside once the shutdown has begun.
	ErrShuttingDown error = &codedError{"ShuttingDown", "the engine is shutting down"}
	// ErrDenied refuses a caller when nobody was set to decide.
	ErrDenied error = &codedError{"AccessDenied", "permission denied: this needs root"}
	// ErrNotCancellable refuses to cancel a job that is past its point of no
	// return, or of a type that cannot be cancelled.
	ErrNotCancellable error = &codedError{"JobNotCancellable", "the job can no longer be cancelled"}
	// ErrCanceled is the error of a job that was cancelled.
	ErrCanceled error = &codedError{"JobCanceled", "the job was cancelled"}
)

// UnknownStatus is the exit status that stands for an unknown type of job, as
// in a shell.
const UnknownStatus = 127

// UnknownTypeError is the error of a request that has no handler.
type UnknownTypeError struct{ Type string }

// Error names the type.
func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("%s: no such type of job (list them with the commands job)", e.Type)
}

// ErrorCode returns NoSuchJobType.
func (e *UnknownTypeError) ErrorCode() string { return "NoSuchJobType" }

// ExitStatus returns [UnknownStatus].
func (e *UnknownTypeError) ExitStatus() int { return UnknownStatus }

// NoSuchJobError is the error of an id that no job has, or has any longer.
type NoSuchJobError struct{ ID uint32 }

// Error names the id.
func (e *NoSuchJobError) Error() string { return fmt.Sprintf("no such job: %d", e.ID) }

// ErrorCode returns NoSuchJob.
func (e *NoSuchJobError) ErrorCode() string { return "NoSuchJob" }

// skipped is implemented by errors which say that there was nothing to do.
type skipped interface{ Skipped() bool }

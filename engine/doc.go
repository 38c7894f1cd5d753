// SPDX-License-Identifier: Apache-2.0

// Package engine runs jobs. A job is the unit of work of the daemon: the
// engine schedules it by the name of its type, knows who asked for it, queues
// it behind the jobs on the same subject, reports its progress, cancels it,
// undoes its finished steps when it fails, and keeps its result for a while.
//
// The engine knows no container. The daemon registers a handler for each type
// of request with [Register]; registering does not run anything.
package engine

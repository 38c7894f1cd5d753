// SPDX-License-Identifier: Apache-2.0

// Package davit holds the nouns of the Davit container engine: the records of
// containers, images, networks and volumes, the requests that jobs carry, and
// the kinds of errors. It does no I/O and imports no other folder of the
// module; a type is here when two folders say its name.
package davit

// Release is the version of the engine, set at link time with
// -ldflags "-X github.com/davit-engine/davit.Release=…".
var Release = "0.1.0-dev"

// Commit is the source revision that the binary was built from, set like
// [Release].
var Commit = "unknown"

// BusName is the well-known name of the engine on the system bus, and the
// prefix of its interfaces and errors.
const BusName = "org.davit.Engine1"

// API versions of the Docker Engine API that the REST socket speaks.
const (
	APIVersion    = "1.56"
	MinAPIVersion = "1.40"
)

// SPDX-License-Identifier: Apache-2.0

// Package conformance compares the programs of our binding of libseccomp with
// those of the upstream one. It is a module of its own because it needs both.
package conformance

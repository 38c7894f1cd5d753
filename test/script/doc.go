// SPDX-License-Identifier: Apache-2.0

// Package script drives the real binaries with the real docker CLI: each
// script of testdata is a dialogue with one daemon in a network namespace of
// its own.
package script

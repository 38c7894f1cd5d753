// SPDX-License-Identifier: Apache-2.0

// Package client drives a davitd with the Go client of the Docker API, one test
// for each thing that containers and volumes are asked for. It starts a daemon
// of its own, or uses the one of DAVIT_TEST_SOCKET: a booted guest's, by the
// compiled tests (go test -c).
package client

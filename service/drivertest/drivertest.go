// SPDX-License-Identifier: Apache-2.0

// Package drivertest holds, for each interface that the service declares of
// its drivers, a suite that checks what the interface's comment says. The real
// driver sits it, and the fake of package fake. Only tests import it.
package drivertest

import (
	"testing"
	"time"

	"github.com/davit-engine/davit"
)

// patience is how long a suite waits for what a real driver does on its own.
const patience = 20 * time.Second

// wantCode fails the test unless err has the code.
func wantCode(t *testing.T, err error, want davit.Code, doing string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s succeeded, want an error with code %s", doing, want)
	} else if got := davit.CodeOf(err); got != want {
		t.Errorf("%s: code %s, want %s: %v", doing, got, want, err)
	}
}

// must fails the test at once when err is one.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// result returns what a call that must not fail returned:
// result(call())(t).
func result[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package testutil has what the tests of many packages do in the same way:
// wait for something, compare with a golden file, ask for root. Only tests
// import it.
package testutil

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files, and what is generated, anew")

// Update tells whether the tests were asked to write what they compare with.
func Update() bool { return *update }

// Golden compares got with the file of that name in testdata, which
// go test -update writes anew.
func Golden(t testing.TB, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if Update() {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", path, diff)
	}
}

// Eventually polls until a condition holds, and ends the test when that takes
// longer than within. It is for what others do and tell nobody of; where there
// is a channel, that is to be waited on.
func Eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// RequireRoot skips a test that needs what only root may do.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("RequireRoot: needs root")
	}
}

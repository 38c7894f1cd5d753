// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"

	"go.uber.org/goleak"
)

// A handler that does not end is what some tests are about.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/davit-engine/davit/engine.slowEngine.func3"))
}

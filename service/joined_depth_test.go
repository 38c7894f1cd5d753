// SPDX-License-Identifier: Apache-2.0

package service

import (
	"strconv"
	"testing"
)

// TestJoinDepth has sixty containers that each join the three before: as many
// ways lead to the first as nobody can walk.
func TestJoinDepth(t *testing.T) {
	const last = 60
	asked := 0
	joined := func(id string) (out []string) {
		asked++
		n, err := strconv.Atoi(id)
		if err != nil || asked > last+1 {
			t.Fatalf("asked about %q, the %d. time", id, asked)
		}
		for i := max(0, n-3); i < n; i++ {
			out = append(out, strconv.Itoa(i))
		}
		return out
	}
	known := map[string]int{}
	if depth := joinDepth(strconv.Itoa(last), joined, known); depth != last || known["7"] != 7 {
		t.Errorf("depth %d, of the seventh %d", depth, known["7"])
	}
}

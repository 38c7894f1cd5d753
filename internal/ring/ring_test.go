// SPDX-License-Identifier: Apache-2.0

package ring_test

import (
	"slices"
	"testing"

	"github.com/davit-engine/davit/internal/ring"
)

func TestLog(t *testing.T) {
	l := ring.New[int](3)
	start := l.Listen(1)
	_, next, _, changed := l.After(start)
	for i := range 5 {
		l.Add(i)
	}
	<-changed
	if batch, n, lost, _ := l.After(next); !slices.Equal(batch, []int{2, 3, 4}) || n != 5 || !lost {
		t.Errorf("after %d: %v, next %d, lost %v", next, batch, n, lost)
	}
	if batch, n, lost, _ := l.After(3); !slices.Equal(batch, []int{3, 4}) || n != 5 || lost {
		t.Errorf("after 3: %v, next %d, lost %v", batch, n, lost)
	}
	if batch, _, lost, _ := l.After(5); len(batch) != 0 || lost {
		t.Errorf("after 5: %v, lost %v", batch, lost)
	}
	if l.Listen(-1); l.Listeners() != 0 {
		t.Error("listeners are miscounted")
	}
}

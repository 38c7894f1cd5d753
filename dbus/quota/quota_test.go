// SPDX-License-Identifier: Apache-2.0

package quota

import "testing"

func TestTake(t *testing.T) {
	q := New(5, 2)
	var of [3]func()
	for i, uid := range []uint32{1, 1, 2} {
		if of[i] = q.Take(uid); of[i] == nil {
			t.Fatalf("nothing is left for user %d", uid)
		}
	}
	if q.Take(1) != nil {
		t.Error("a user has more than a user may")
	}
	for range 2 {
		if q.Take(0) == nil {
			t.Error("nothing is left for root")
		}
	}
	if q.Take(2) != nil || q.Take(0) != nil {
		t.Error("there is more than there is")
	}
	of[0]()
	if q.Take(1) == nil {
		t.Error("what was given back is gone")
	}
	of[2]()
	if _, known := q.users[2]; known {
		t.Error("a user who has nothing is remembered")
	}
}

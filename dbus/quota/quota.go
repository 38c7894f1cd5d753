// SPDX-License-Identifier: Apache-2.0

// Package quota shares what there is only so much of among users.
package quota

import "sync"

// Quota counts what users have. Its methods may be called from any goroutine.
type Quota struct {
	limit, user int
	mu          sync.Mutex
	all         int
	users       map[uint32]int
}

// New returns a quota of limit things of all users together, of which one who
// is not root has at most user.
func New(limit, user int) *Quota { return &Quota{limit: limit, user: user, users: map[uint32]int{}} }

// Take takes one for a user. It is given back by release, which is called once;
// nil: there is none for the user.
func (q *Quota) Take(uid uint32) (release func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all >= q.limit || (uid != 0 && q.users[uid] >= q.user) {
		return nil
	}
	q.all++
	q.users[uid]++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.all--
		if q.users[uid]--; q.users[uid] == 0 {
			delete(q.users, uid)
		}
	}
}

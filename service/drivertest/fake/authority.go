// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// Authority is a fake access.Authority that goes by the rules of
// contrib/polkit. Who is in which group it knows by uid.
type Authority struct {
	mu     sync.Mutex
	groups map[uint32]string
	no     []string
	state  error
	asked  []string
}

// NewAuthority returns an authority that refuses the actions no to everybody.
func NewAuthority(no ...string) *Authority {
	return &Authority{groups: map[uint32]string{}, no: no}
}

// Join puts a user in a group.
func (a *Authority) Join(uid uint32, group string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.groups[uid] = group
}

// Fail makes each question fail with err.
func (a *Authority) Fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state = err
}

// Asked returns the actions that were asked about, and forgets them.
func (a *Authority) Asked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.asked
	a.asked = nil
	return out
}

// Check implements access.Authority.
func (a *Authority) Check(ctx context.Context, c engine.Caller, action string, _ map[string]string) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, action)
	group, known := a.groups[c.UID]
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case a.state != nil:
		return false, a.state
	case !known:
		return false, davit.Errorf(davit.AccessDenied, "there is no process of uid %d", c.UID)
	case !slices.Contains(davit.Actions(), action):
		return false, fmt.Errorf("action %s is not registered", action)
	case slices.Contains(a.no, action):
		return false, nil
	case group == "davit" && action != davit.ActionRunPrivileged,
		group == davit.ObserversGroup && (action == davit.ActionInspect || action == davit.ActionReadLogs):
		return true, nil
	}
	return false, davit.Errorf(davit.AuthenticationRequired, "the user would have to authenticate")
}

// ErrHangs is what the fake says where polkit says nothing.
var ErrHangs = errors.New("polkit did not answer")

// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/access"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

// The host of the tests: who is in which group.
const (
	member, observer, nobody = 1001, 1002, 1003
	gidMembers, gidObservers = 501, 502
)

type accounts struct{ err error }

func (a accounts) Group(name string) (uint32, bool, error) {
	gid, ok := map[string]uint32{"davit": gidMembers, davit.ObserversGroup: gidObservers}[name]
	return gid, ok, a.err
}

func (a accounts) Groups(uid uint32) ([]uint32, error) {
	return map[uint32][]uint32{member: {100, gidMembers}, observer: {gidObservers}, nobody: {65534}}[uid], a.err
}

func rest(uid uint32, gids ...uint32) engine.Caller {
	if gids == nil {
		gids = []uint32{}
	}
	return engine.Caller{Transport: engine.REST, Door: davit.DoorAPI, UID: uid, GIDs: gids, PID: 1}
}

func onBus(uid uint32) engine.Caller {
	return engine.Caller{Transport: engine.Bus, UID: uid, Name: ":1.1"}
}

func through(door string, uid uint32) engine.Caller {
	c := rest(uid)
	c.Door = door
	return c
}

// granted lists what the policy lets a caller do: every permission and "root",
// which is what has none.
func granted(t *testing.T, p *access.Policy, c engine.Caller) string {
	t.Helper()
	var out []string
	told := "job web needs "
	if p.Authorize(t.Context(), c, engine.Access{Action: davit.ActionInspect}) != nil {
		told = "job needs " // and not what it is about
	}
	for _, action := range append(davit.Actions(), "") {
		err := p.Authorize(t.Context(), c, engine.Access{Action: action, Details: map[string]string{"type": "job", "subject": "web"}})
		switch code := davit.CodeOf(err); {
		case err == nil:
			out = append(out, map[bool]string{true: "root", false: action}[action == ""])
		case davit.KindOf(err) != davit.Denied:
			t.Errorf("%s: code %s is not a refusal: %v", action, code, err)
		case !strings.Contains(err.Error(), told) || !strings.Contains(err.Error(), map[bool]string{true: "root", false: davit.BusName + "." + action}[action == ""]):
			t.Errorf("%s: the message does not say what is needed: %v", action, err)
		}
	}
	switch len(out) {
	case len(davit.Actions()) + 1:
		return "all"
	case len(davit.Actions()) - 1:
		if !slices.Contains(out, davit.ActionRunPrivileged) && !slices.Contains(out, "root") {
			return "all but run-privileged"
		}
	}
	return strings.Join(out, " ")
}

func TestPolicy(t *testing.T) {
	const split, looks = "all but run-privileged", "inspect read-logs"
	polkit := func() access.Authority {
		a := fake.NewAuthority()
		a.Join(member, "davit")
		a.Join(observer, davit.ObserversGroup)
		a.Join(nobody, "")
		return a
	}
	broken := func(err error) access.Authority {
		a := fake.NewAuthority()
		a.Fail(err)
		return a
	}
	absent := broken(davit.Errorf(davit.NoAuthority, "none"))
	hangs := broken(errors.New("timed out"))
	for _, tc := range []struct {
		name      string
		mode      string
		authority access.Authority
		accounts  accounts
		caller    engine.Caller
		want      string
	}{
		{"root on a socket", "auto", hangs, accounts{}, rest(0), "all"},
		{"root on the bus", "group", nil, accounts{}, onBus(0), "all"},
		{"certificate", "auto", hangs, accounts{}, through(davit.DoorTLS, engine.NoUID), "all"},
		{"unknown user", "docker", polkit(), accounts{}, rest(engine.NoUID), ""},
		{"unknown user on the bus", "auto", polkit(), accounts{}, onBus(engine.NoUID), ""},

		{"read-only: root", "docker", polkit(), accounts{}, through(davit.DoorReadOnly, 0), looks},
		{"read-only: nobody", "auto", hangs, accounts{}, through(davit.DoorReadOnly, nobody), looks},
		{"read-only: member", "auto", polkit(), accounts{}, through(davit.DoorReadOnly, member), looks},
		{"read-only: unknown", "auto", polkit(), accounts{}, through(davit.DoorReadOnly, engine.NoUID), looks},

		{"polkit: member", "auto", polkit(), accounts{}, rest(member), split},
		{"polkit: member on the bus", "", polkit(), accounts{}, onBus(member), split},
		{"polkit: observer", "auto", polkit(), accounts{}, rest(observer), looks},
		{"polkit: nobody", "auto", polkit(), accounts{}, onBus(nobody), ""},
		{"polkit: says no to a member", "auto", polkit(), accounts{}, rest(nobody, gidMembers), ""},

		{"no polkit: member", "auto", absent, accounts{}, rest(member, gidMembers), split},
		{"no polkit: member on the bus", "auto", absent, accounts{}, onBus(member), split},
		{"no polkit: observer", "auto", absent, accounts{}, rest(observer, gidObservers), looks},
		{"no polkit: nobody", "auto", absent, accounts{}, onBus(nobody), ""},
		{"no polkit: left the group", "auto", absent, accounts{}, rest(member), ""}, // the kernel knows better than the records
		{"nil polkit", "auto", nil, accounts{}, onBus(observer), looks},

		{"polkit fails: member", "auto", hangs, accounts{}, rest(member, gidMembers), ""},
		{"polkit fails: observer", "auto", hangs, accounts{}, onBus(observer), ""},

		{"group: polkit is not asked", "group", hangs, accounts{}, rest(member, gidMembers), split},
		{"group: observer on the bus", "group", hangs, accounts{}, onBus(observer), looks},
		{"group: nobody", "group", polkit(), accounts{}, rest(nobody, 100), ""},
		{"group: groups unknown", "group", nil, accounts{errors.New("no records")}, onBus(member), ""},

		{"docker: whoever opens the socket", "docker", hangs, accounts{}, rest(nobody), "all"},
		{"docker: member on the bus", "docker", hangs, accounts{}, onBus(member), "all"},
		{"docker: observer on the bus", "docker", hangs, accounts{}, onBus(observer), ""},
		{"docker: nobody on the bus", "docker", polkit(), accounts{}, onBus(nobody), ""},
		{"docker: groups unknown", "docker", nil, accounts{errors.New("no records")}, onBus(member), ""},
		{"docker: another socket", "docker", nil, accounts{}, through("metrics", nobody), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := access.NewPolicy(access.Options{
				Config: access.Config{Mode: tc.mode, Members: "davit"}, Authority: tc.authority, Accounts: tc.accounts,
			})
			if got := granted(t, p, tc.caller); got != tc.want {
				t.Errorf("may %q, want %q", got, tc.want)
			}
		})
	}
}

// TestNoMembersGroup gives nobody anything when there is no such group.
func TestNoMembersGroup(t *testing.T) {
	for _, group := range []string{"", "no-such"} {
		p := access.NewPolicy(access.Options{Config: access.Config{Mode: access.Group, Members: group}, Accounts: accounts{}})
		if got := granted(t, p, rest(member, 0, gidMembers)); got != "" {
			t.Errorf("group %q: may %q", group, got)
		}
	}
}

func TestSetChangesAtOnce(t *testing.T) {
	p := access.NewPolicy(access.Options{Config: access.Config{Mode: access.Group, Members: "davit"}, Accounts: accounts{}})
	before := granted(t, p, rest(nobody))
	p.Set(access.Config{Mode: access.Docker, Members: "davit"})
	if after := granted(t, p, rest(nobody)); before != "" || after != "all" {
		t.Errorf("nobody may %q, then %q", before, after)
	}
}

// TestMessages checks that a refusal says what is needed, why, and the way out.
func TestMessages(t *testing.T) {
	wait := fake.NewAuthority()
	wait.Fail(davit.Errorf(davit.AuthenticationRequired, "a password"))
	crashed := fake.NewAuthority()
	crashed.Fail(errors.New("it crashed"))
	a := engine.Access{Action: davit.ActionRunPrivileged, Details: map[string]string{"type": "create", "subject": "web", "reason": "it is privileged"}}
	for _, tc := range []struct {
		name      string
		authority access.Authority
		caller    engine.Caller
		code      davit.Code
		want      []string
	}{
		{"member", nil, rest(member, gidMembers), davit.AccessDenied, []string{"create web needs org.davit.Engine1.run-privileged (it is privileged)", "ask root"}},
		{"nobody", nil, rest(nobody), davit.AccessDenied, []string{"run-privileged", "uid 1003", `group "davit"`}},
		{"password", wait, rest(member), davit.AuthenticationRequired, []string{"run-privileged", "authenticate"}},
		{"crash", crashed, rest(member, gidMembers), davit.AccessDenied, []string{"polkit could not be asked", "it crashed"}},
	} {
		p := access.NewPolicy(access.Options{Config: access.Config{Members: "davit"}, Authority: tc.authority, Accounts: accounts{}})
		err := p.Authorize(t.Context(), tc.caller, a)
		if davit.CodeOf(err) != tc.code {
			t.Errorf("%s: code %s, want %s", tc.name, davit.CodeOf(err), tc.code)
		}
		for _, part := range tc.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", tc.name, err, part)
			}
		}
		for _, secret := range []string{"web", "it is privileged"} {
			if told := strings.Contains(err.Error(), secret); told != (tc.name == "member") {
				t.Errorf("%s: %q tells %q: %v", tc.name, err, secret, told)
			}
		}
	}
}

// TestCallerLeaves tells a caller who left from one who was refused.
func TestCallerLeaves(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := access.NewPolicy(access.Options{Config: access.Config{Members: "davit"}, Authority: fake.NewAuthority(), Accounts: accounts{}})
	err := p.Authorize(ctx, onBus(member), engine.Access{Action: davit.ActionInspect})
	if davit.KindOf(err) != davit.Cancelled {
		t.Errorf("got %v", err)
	}
}

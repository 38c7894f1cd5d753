// SPDX-License-Identifier: Apache-2.0

// Package access decides who may do what. [Policy] answers for a caller and a
// permission; [Rules] say which permission a request needs, and above all
// which requests equal being root on the host.
package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// The modes: values of the configuration's key "authorization".
const (
	Auto   = "auto"   // polkit, and where there is none [Group]
	Group  = "group"  // members may do all but what equals root; observers may look
	Docker = "docker" // members may do everything, as those of Docker's group
)

// CheckMode refuses a value that is no mode.
func CheckMode(mode string) error {
	if slices.Contains([]string{Auto, Group, Docker}, mode) {
		return nil
	}
	return fmt.Errorf("invalid authorization %q: use %s, %s or %s", mode, Auto, Group, Docker)
}

// Config is what a [Policy] goes by.
type Config struct {
	Mode    string // Auto, Group or Docker; "" is Auto
	Members string // name of the group that may manage; "" is no group
	// BindAllow are the directories that callers without run-privileged may
	// mount into containers, with all below them.
	BindAllow []string
}

// Authority is polkit, or what stands for it. Check tells whether the policy of
// the host allows the action, a name of [davit.Actions], to the caller. It
// fails with
//   - NoAuthority when the host has none: only then somebody else is asked;
//   - AuthenticationRequired when the user would have to authenticate and the
//     caller cannot wait for it;
//   - any other error when there is no answer, which is not taken for a yes.
//
// It returns when ctx ends.
type Authority interface {
	Check(ctx context.Context, c engine.Caller, action string, details map[string]string) (allowed bool, err error)
}

// Accounts knows the host's groups.
type Accounts interface {
	// Group returns the number of a group; ok is false when there is none of
	// the name.
	Group(name string) (gid uint32, ok bool, err error)
	// Groups returns the groups of a user, the primary one included.
	Groups(uid uint32) ([]uint32, error)
}

// Options of a [Policy].
type Options struct {
	Config    Config
	Authority Authority // nil: there is none
	Accounts  Accounts
	// HostProc is the directory in /proc of a process that sees the mounts that
	// monitors see: of PID 1 when that starts them, because the daemon's own
	// sandbox hides, moves and remounts. "" is /proc/self.
	HostProc string
}

// Policy is the engine's authorizer. Its methods may be called from any
// goroutine.
type Policy struct {
	authority Authority
	accounts  Accounts
	hostProc  string
	config    atomic.Pointer[Config]
}

// NewPolicy returns a policy.
func NewPolicy(o Options) *Policy {
	p := &Policy{authority: o.Authority, accounts: o.Accounts, hostProc: cmp.Or(o.HostProc, "/proc/self")}
	p.Set(o.Config)
	return p
}

// Set changes what the policy goes by, for requests from now on.
func (p *Policy) Set(c Config) {
	if c.Mode == "" {
		c.Mode = Auto
	}
	c.BindAllow = slices.Clone(c.BindAllow)
	p.config.Store(&c)
}

// observed is what needs nothing but the right to look.
var observed = []string{davit.ActionInspect, davit.ActionReadLogs}

// Authorize returns nil to allow. Its errors have the code AccessDenied or
// AuthenticationRequired, say which permission is missing and how to get it.
// Only who may look at the engine is told what the request is about and why it
// needs so much: both were found out for him, a name that begins so, say, or
// what a container mounts, and everybody on the bus can ask.
func (p *Policy) Authorize(ctx context.Context, c engine.Caller, a engine.Access) error {
	cfg := p.config.Load()
	err := p.decide(ctx, cfg, c, a)
	r, refused := errors.AsType[*refusal](err)
	if !refused {
		return err
	}
	if !p.mayLook(ctx, cfg, c, r) {
		a.Details = map[string]string{"type": a.Details["type"]}
	}
	return davit.Errorf(r.code, "%s%w", need(a), err)
}

// mayLook tells whether somebody who was refused may be told of what. Nobody
// types a password for that, and an authority that did not answer is not asked
// again.
func (p *Policy) mayLook(ctx context.Context, cfg *Config, c engine.Caller, r *refusal) bool {
	c.Interactive = false
	return r.cause == nil && p.decide(ctx, cfg, c, engine.Access{Action: davit.ActionInspect}) == nil
}

// refusal is the part of an error behind what was asked for.
type refusal struct {
	code  davit.Code
	text  string
	cause error // that there was no answer; nil: the answer is no
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.cause }

func (p *Policy) decide(ctx context.Context, cfg *Config, c engine.Caller, a engine.Access) error {
	switch {
	case c.Door == davit.DoorTLS:
		return nil // the client's certificate was verified before the request was read
	case c.Door == davit.DoorReadOnly:
		// Whoever could open the socket may look, and nobody more, root included:
		// it may have been handed to a container.
		if slices.Contains(observed, a.Action) {
			return nil
		}
		return denied("this socket is read-only: use the other one")
	case c.UID == engine.NoUID:
		return denied("the caller's user is not known")
	case c.UID == 0:
		return nil
	case cfg.Mode == Docker:
		return p.allOrNothing(cfg, c)
	case a.Action == "":
		return denied("ask root")
	case cfg.Mode == Group || p.authority == nil:
		return p.byGroup(cfg, c, a)
	}
	allowed, err := p.authority.Check(ctx, c, a.Action, a.Details)
	switch code := davit.CodeOf(err); {
	case err == nil && allowed:
		return nil
	case err == nil:
		return denied(fmt.Sprintf("polkit refuses it to uid %d; ask root, or for a rule in /etc/polkit-1/rules.d", c.UID))
	case code == davit.NoAuthority:
		return p.byGroup(cfg, c, a)
	case code == davit.AuthenticationRequired:
		return &refusal{code: code, text: ", for which polkit wants the user to authenticate, and this caller cannot wait for that: ask root, or use davitctl on a terminal"}
	case ctx.Err() != nil:
		return davit.Errorf(davit.JobCanceled, "the caller left while polkit was asked: %w", errors.Join(err, ctx.Err()))
	}
	// A polkit that crashed, hangs or talks nonsense is not an absent one.
	return &refusal{davit.AccessDenied, fmt.Sprintf(", and polkit could not be asked: %v; only root may until it answers", err), err}
}

// allOrNothing is Docker's rule: who can open the socket may do everything. On
// the bus, which everybody can call, the group takes the socket's place.
func (p *Policy) allOrNothing(cfg *Config, c engine.Caller) error {
	if c.Door == davit.DoorAPI {
		return nil
	}
	member, err := p.member(c, cfg.Members)
	switch {
	case err != nil:
		return unknownGroups(err)
	case !member:
		return denied(fmt.Sprintf("ask root to put uid %d in group %q", c.UID, cfg.Members))
	}
	return nil
}

// byGroup is the rule without polkit; contrib/polkit's rules are the same.
func (p *Policy) byGroup(cfg *Config, c engine.Caller, a engine.Access) error {
	member, err := p.member(c, cfg.Members)
	if err != nil {
		return unknownGroups(err)
	}
	if member {
		if a.Action == davit.ActionRunPrivileged {
			return denied(fmt.Sprintf("group %s has everything else; ask root", cfg.Members))
		}
		return nil
	}
	if slices.Contains(observed, a.Action) {
		observer, err := p.member(c, davit.ObserversGroup)
		if err != nil {
			return unknownGroups(err)
		}
		if observer {
			return nil
		}
	}
	return denied(fmt.Sprintf("ask root to put uid %d in group %q", c.UID, cfg.Members))
}

// member tells whether the caller is in the group: by what the transport tells,
// which is what the kernel knew when it connected, else by the host's records.
func (p *Policy) member(c engine.Caller, group string) (bool, error) {
	if group == "" {
		return false, nil
	}
	gid, ok, err := p.accounts.Group(group)
	if err != nil || !ok {
		return false, err
	}
	groups := c.GIDs
	if groups == nil {
		if groups, err = p.accounts.Groups(c.UID); err != nil {
			return false, err
		}
	}
	return slices.Contains(groups, gid), nil
}

func unknownGroups(err error) error {
	return &refusal{davit.AccessDenied, fmt.Sprintf(", and the caller's groups cannot be told: %v", err), err}
}

// denied refuses, and says the way out.
func denied(way string) error { return &refusal{code: davit.AccessDenied, text: ": " + way} }

// need says what was asked for, and what that needs.
func need(a engine.Access) string {
	what := "this"
	if t := a.Details["type"]; t != "" {
		what = t
		if s := a.Details["subject"]; s != "" {
			what += " " + s
		}
	}
	if a.Action == "" {
		return fmt.Sprintf("permission denied: %s needs root", what)
	}
	text := fmt.Sprintf("permission denied: %s needs %s.%s", what, davit.BusName, a.Action)
	if why := a.Details["reason"]; why != "" {
		text += " (" + why + ")"
	}
	return text
}

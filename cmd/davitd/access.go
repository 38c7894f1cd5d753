// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/polkit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service/access"
)

// guard makes the policy that decides about callers from outside.
func (d *daemon) guard(launcher string) error {
	authority := polkit.New(polkit.Options{})
	o := access.Options{Config: accessConfig(&d.config), Authority: authority, Accounts: accounts{}}
	o.HostProc = hostProc(launcher)
	d.policy = access.NewPolicy(o)
	d.eng.SetAuthorizer(d.policy)
	return d.eng.OnShutdown(engine.Networks, "polkit", func(context.Context) error { return authority.Close() })
}

// hostProc is the directory of a process that sees the host as monitors do: who
// starts them.
func hostProc(launcher string) string {
	if launcher == "systemd" {
		return "/proc/1"
	}
	return "/proc/self"
}

func accessConfig(c *davit.Config) access.Config {
	return access.Config{Mode: c.Authorization, Members: c.Group, BindAllow: c.BindAllow}
}

// accounts are the host's, by its files (passwd(5), group(5)): a daemon without
// cgo has no other way. It matters only to callers on the bus; of one on a
// socket the kernel tells the groups.
type accounts struct{}

// Group returns the number of a group, which may be given itself.
func (accounts) Group(name string) (uint32, bool, error) {
	g, err := user.LookupGroup(name)
	var unknown user.UnknownGroupError
	if errors.As(err, &unknown) {
		gid, err := strconv.ParseUint(name, 10, 31)
		return uint32(gid), err == nil, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("cannot look up group %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(gid), err == nil, err
}

// Groups returns the groups of a user; of one that is not known, none.
func (accounts) Groups(uid uint32) ([]uint32, error) {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	var unknown user.UnknownUserIdError
	if errors.As(err, &unknown) {
		return nil, nil
	}
	var ids []string
	if err == nil {
		ids, err = u.GroupIds()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up the groups of uid %d: %w", uid, err)
	}
	var out []uint32
	for _, id := range ids {
		gid, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("cannot look up the groups of uid %d: %w", uid, err)
		}
		out = append(out, uint32(gid))
	}
	return out, nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/davit-engine/davit"
)

// configuration is the daemon's part in a reload.
type configuration struct{ d *daemon }

// Reloading tells systemd.
func (c configuration) Reloading() (end func(error)) { return c.d.life.reloading(c.d.doing) }

// Load reads flags and file again.
func (c configuration) Load() (davit.Config, error) {
	next, err := c.d.line.load()
	if err == nil {
		err = checkIdleExit(&next, c.d.activated)
	}
	if err != nil {
		return next, davit.Errorf(davit.InvalidConfiguration, "%w", err)
	}
	return next, nil
}

// Apply has each part follow, or takes back what the first ones did.
func (c configuration) Apply(next davit.Config) error {
	before := *c.d.live.Load()
	if err := c.d.follow(&next); err != nil {
		return errors.Join(err, c.d.follow(&before))
	}
	c.d.live.Store(&next)
	c.d.activity.wake()
	return nil
}

// follow has the parts that remember something of the configuration go by c.
func (d *daemon) follow(c *davit.Config) error {
	d.policy.Set(accessConfig(c))
	return errors.Join(
		setLevel(d.level, c.EffectiveLogLevel()),
		d.registry.SetInsecure(c.InsecureRegistries),
	)
}

// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/parameters"
	"github.com/davit-engine/davit/dbus/refusal"
)

// runContainer translates RunContainer(image, name, argv, properties, flags),
// the analogue of systemd-run(1), with systemd's names where it has them.
func runContainer(c *call) ([]any, error) {
	create := davit.Create{Name: arg[string](c, 1)}
	create.Config.Image = arg[string](c, 0)
	create.Config.Cmd = arg[[]string](c, 2)
	if err := checkFlags(arg[uint64](c, 4), 0); err != nil {
		return nil, err
	}
	if create.Config.Image == "" {
		return nil, refusal.InvalidArgs("no image is named")
	}
	if err := parameters.Run(&create, arg[map[string]godbus.Variant](c, 3)); err != nil {
		return nil, err
	}
	return c.submit(davit.Run{Create: create, Pull: true})
}

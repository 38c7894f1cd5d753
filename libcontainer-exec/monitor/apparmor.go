// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"

	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// appArmorProfile is what a new container is confined by; "" is to stay as the
// monitor is, which is unconfined. It is looked for at each start, as profiles
// come and go while a container is stopped; sys is /sys.
func appArmorProfile(sys string, s *protocol.Security) (string, error) {
	switch {
	case s.AppArmor == protocol.Unconfined, s.AppArmor == "" && s.Privileged:
		return "", nil
	case s.AppArmor == "" && !linux.AppArmorLoaded(sys, protocol.DefaultAppArmor):
		return "", nil // the daemon warns of it
	case s.AppArmor == "":
		return protocol.DefaultAppArmor, nil
	case !linux.AppArmorLoaded(sys, s.AppArmor):
		return "", fail(protocol.KindInvalid, fmt.Errorf("AppArmor profile %q is not loaded", s.AppArmor))
	}
	return s.AppArmor, nil
}

// appArmorInForce is what is told of the profile of a new container.
func appArmorInForce(sys, profile string) string {
	if profile == "" && linux.AppArmorEnabled(sys) {
		return protocol.Unconfined
	}
	return profile
}

// privilegedProfile is the profile of a privileged exec session in a container
// whose own is applied. It leaves the default profile, but not one that the user
// chose, just as a privileged container does.
func privilegedProfile(s *protocol.Security, applied string) string {
	if s.AppArmor == "" && applied != "" {
		return protocol.Unconfined
	}
	return applied
}

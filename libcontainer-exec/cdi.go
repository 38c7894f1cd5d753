// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// cdiDriver is the driver of a device request that names devices of the
// Container Device Interface (github.com/cncf-tags/container-device-interface).
const cdiDriver = "cdi"

// cdiEdits looks the requested CDI devices up in the specifications below dirs
// and returns what they add to a runtime spec, as a part of one; nil when there
// is nothing to add. It is done here and not by the monitor, which starts faster
// without the parser; a restart by policy finds the devices that the start did.
func cdiEdits(requests []davit.DeviceRequest, dirs []string) (json.RawMessage, error) {
	var names []string
	for _, r := range requests {
		if r.Driver != cdiDriver {
			return nil, davit.Errorf(davit.InvalidConfiguration, "could not select device driver %q with capabilities: %v", r.Driver, r.Capabilities)
		}
		names = append(names, r.DeviceIDs...)
	}
	if len(names) == 0 {
		return nil, nil
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, fmt.Errorf("cannot read the CDI specifications: %w", err)
	}
	edits := &specs.Spec{}
	if unresolved, err := cache.InjectDevices(edits, names...); err != nil {
		for _, broken := range cache.GetErrors() { // it may be in one of these
			err = errors.Join(append([]error{err}, broken...)...)
		}
		return nil, davit.Errorf(davit.InvalidConfiguration, "CDI device injection failed: %w (of %v, looked for in %v)", err, slices.Concat(unresolved), dirs)
	}
	text, err := json.Marshal(edits)
	if err != nil {
		return nil, fmt.Errorf("cannot write what CDI devices add: %w", err)
	}
	return text, nil
}

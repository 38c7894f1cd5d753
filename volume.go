// SPDX-License-Identifier: Apache-2.0

package davit

import "time"

// Volume is the record of a volume of the local driver.
type Volume struct {
	Name       string
	Driver     string
	Mountpoint string
	Created    time.Time
	Labels     map[string]string `json:",omitempty"`
	Options    map[string]string `json:",omitempty"`
	Anonymous  bool              `json:",omitempty"`
}

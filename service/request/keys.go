// SPDX-License-Identifier: Apache-2.0

package request

import (
	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/detachkeys"
)

// DetachKeys reads the sequence that ends an attachment.
func DetachKeys(keys string) ([]byte, error) {
	out, err := detachkeys.Parse(keys)
	if err != nil {
		return nil, davit.Errorf(davit.InvalidConfiguration, "%w", err)
	}
	return out, nil
}

// SPDX-License-Identifier: Apache-2.0

// Package detachkeys reads the key sequences that end an attachment to a
// terminal, in the notation of the docker CLI's --detach-keys.
package detachkeys

import (
	"fmt"
	"strings"
)

// Default is ctrl-p ctrl-q.
func Default() []byte { return []byte{16, 17} }

// Parse reads a comma-separated sequence of single characters and ctrl-X,
// where X is a letter or one of @ [ \ ] ^ _, and DEL. An empty one is [Default].
func Parse(keys string) ([]byte, error) {
	if keys == "" {
		return Default(), nil
	}
	var out []byte
	for _, k := range strings.Split(keys, ",") {
		ctrl, isCtrl := strings.CutPrefix(k, "ctrl-")
		switch {
		case len(k) == 1:
			out = append(out, k[0])
		case k == "DEL":
			out = append(out, 127)
		case isCtrl && len(ctrl) == 1 && ctrl[0] >= 'a' && ctrl[0] <= 'z':
			out = append(out, ctrl[0]-'a'+1)
		case isCtrl && len(ctrl) == 1 && strings.Contains("@[\\]^_", ctrl):
			out = append(out, ctrl[0]-'@')
		default:
			return nil, fmt.Errorf("invalid detach keys (%s): each must be a character, DEL, or ctrl- and a letter or one of @ [ \\ ] ^ _", keys)
		}
	}
	return out, nil
}

// SPDX-License-Identifier: Apache-2.0

package body

import (
	"runtime"
	"slices"
	"strings"

	"github.com/davit-engine/davit"
)

// architectures are uname(2)'s names of what Go calls otherwise.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386", "i686": "386"}

// Platform parses os, os/arch, os/arch/variant or arch.
func Platform(s string) (davit.Platform, error) {
	if s == "" {
		return davit.Platform{}, nil
	}
	parts := strings.Split(strings.ToLower(s), "/")
	if len(parts) > 3 || slices.Contains(parts, "") {
		return davit.Platform{}, invalid("invalid platform %q: want os/arch or os/arch/variant", s)
	}
	if len(parts) == 1 && parts[0] != "linux" {
		parts = []string{"linux", parts[0]}
	}
	p := davit.Platform{OS: parts[0], Architecture: runtime.GOARCH}
	if len(parts) > 1 {
		p.Architecture = parts[1]
		if a, ok := architectures[p.Architecture]; ok {
			p.Architecture = a
		}
	}
	if len(parts) > 2 {
		p.Variant = parts[2]
	}
	return p, nil
}

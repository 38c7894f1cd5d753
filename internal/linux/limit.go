// SPDX-License-Identifier: Apache-2.0

package linux

import "strings"

// LimitNames are the resources of setrlimit(2), as Docker calls them.
func LimitNames() []string {
	return strings.Fields("as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack")
}

// SPDX-License-Identifier: Apache-2.0

package davit

import "time"

// Event tells of something that happened, in the words of the Docker API
// (GET /events).
type Event struct {
	Type       string // container, image, network, volume, daemon
	Action     string // start, die, pull…
	ActorID    string
	Attributes map[string]string
	Time       time.Time
}

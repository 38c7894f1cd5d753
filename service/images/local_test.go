// SPDX-License-Identifier: Apache-2.0

package images

import "testing"

func TestMatchReference(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"busybox", "busybox:latest", true},
		{"busybox:*", "busybox:1.14", true},
		{"busybox:1.1", "busybox:1.14", false},
		{"*", "busybox:latest", true},
		{"*", "example.com/app:v1", false},
		{"example.com/*", "example.com/app:v1", true},
		{"example.com:5000/app", "example.com:5000/app:v1", true},
		{"busy*", "busybox@sha256:00", true},
		{"[", "busybox:latest", false},
	} {
		if got := matchReference(c.pattern, c.name); got != c.want {
			t.Errorf("%s matches %s: %v", c.pattern, c.name, got)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service"
)

// TestAppArmor has a host whose profiles come and go: what a start has, what is
// refused before anything is made, and what is told of it.
func TestAppArmor(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		loaded := []string{davit.AppArmorDefault, "mine"}
		d := h.build(func(o *service.Options) {
			o.Facts.AppArmor = true
			o.AppArmor = func(profile string) bool { return slices.Contains(loaded, profile) }
		})
		if err := d.svc.Boot(d.context(), nil, func(string) {}); err != nil {
			t.Fatal(err)
		}
		opt := func(value string) func(*davit.Create) {
			return func(q *davit.Create) { q.HostConfig.SecurityOpt = []string{"apparmor=" + value} }
		}
		d.run("default")
		d.run("named", opt("mine"))
		d.run("unconfined", opt("unconfined"))
		d.run("privileged", func(q *davit.Create) { q.HostConfig.Privileged = true })
		for name, want := range map[string]string{"default": "davit-default", "named": "mine", "unconfined": "unconfined", "privileged": "unconfined"} {
			if got := d.inspect(name).State.AppArmor; got != want {
				t.Errorf("%s: profile %q, want %q", name, got, want)
			}
		}
		info := do(d, davit.Info{})
		if !info.AppArmor || !slices.Contains(info.SecurityOptions, "name=apparmor") {
			t.Errorf("AppArmor is not told of: %v", info.SecurityOptions)
		}
		before := h.text()
		if err := refused(d, request("other", opt("other")), davit.InvalidConfiguration); err != nil && !strings.Contains(err.Error(), `"other"`) {
			t.Errorf("the refusal does not name the profile: %v", err)
		}
		h.unchanged(before, "after a refusal")
		loaded = nil
		info = do(d, davit.Info{})
		if info.AppArmor || slices.Contains(info.SecurityOptions, "name=apparmor") || !slices.Contains(info.Warnings, "WARNING: "+davit.AppArmorMissing) {
			t.Errorf("nothing tells that the profile is gone: %v, %v", info.SecurityOptions, info.Warnings)
		}
		d.run("late")
		if got := d.inspect("late").State.AppArmor; got != davit.AppArmorUnconfined {
			t.Errorf("without a profile it is %q", got)
		}
	})
}

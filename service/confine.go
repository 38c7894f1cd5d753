// SPDX-License-Identifier: Apache-2.0

package service

import "github.com/davit-engine/davit"

// checkProfile refuses an AppArmor profile that is not loaded, before anything
// is made. That the host has AppArmor was checked.
func (s *Service) checkProfile(h *davit.HostConfig) error {
	o, err := davit.ParseSecurityOpt(h.SecurityOpt)
	if err != nil {
		return err
	}
	if o.AppArmor == "" || o.AppArmor == davit.AppArmorUnconfined || s.loaded(o.AppArmor) {
		return nil
	}
	return invalid("cannot use AppArmor profile %q: it is not loaded; load it with apparmor_parser -r, or use apparmor=unconfined", o.AppArmor)
}

// profileOf is the AppArmor profile that a start now has, in the words of
// [davit.State]. The monitor has the last word: it looks when it applies it.
func (s *Service) profileOf(h *davit.HostConfig) string {
	o, err := davit.ParseSecurityOpt(h.SecurityOpt)
	switch {
	case err != nil || !s.facts.AppArmor:
		return ""
	case o.AppArmor != "":
		return o.AppArmor
	case h.Privileged || !s.loaded(davit.AppArmorDefault):
		return davit.AppArmorUnconfined
	}
	return davit.AppArmorDefault
}

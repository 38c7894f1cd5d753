// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/moby/sys/capability"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// recordForEntering writes what davit-enter has to know of a container that has
// just been made. It is all that libcontainer would know itself, and the same.
func recordForEntering(dir string, spec *protocol.Spec, process *specs.Process, made *libcontainer.State, f filter) error {
	s, err := enterSpec(spec, process, &made.Config)
	if err != nil {
		return err
	}
	s.Cgroups = slices.Compact(slices.Sorted(maps.Values(made.CgroupPaths)))
	if f.kept != nil {
		if s.Filter, s.FilterFlags, err = f.kept.Loadable(); err != nil {
			return err
		}
	}
	p, err := s.Encode()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, protocol.EnterFile), p, 0o600); err != nil {
		return fmt.Errorf("cannot record the container for exec sessions: %w", err)
	}
	return nil
}

// enterSpec has everything but the cgroups and the filter.
func enterSpec(spec *protocol.Spec, process *specs.Process, config *configs.Config) (*protocol.EnterSpec, error) {
	c := &spec.Container
	s := &protocol.EnterSpec{
		NoNewPrivs: c.Security.NoNewPrivileges, Umask: c.Umask, OomScore: config.OomScoreAdj, Keyring: "_ses." + spec.ID,
		Label: process.ApparmorProfile, AllLabel: privilegedProfile(&c.Security, process.ApparmorProfile),
		User: c.User, Cwd: workingDir(c.Cwd), Groups: c.GroupAdd, Env: environment(c, false), TtyEnv: environment(c, true),
		Unified: unifiedCgroups(), Tolerant: config.RootlessCgroups,
	}
	for _, ns := range config.Namespaces {
		s.Namespaces |= ns.Syscall()
	}
	for _, r := range process.Rlimits {
		s.Limits = append(s.Limits, [3]uint64{uint64(rlimitNumber(r.Type)), r.Soft, r.Hard})
	}
	privileged := c.Security
	privileged.Privileged = true
	var err error
	if s.Caps, err = capabilityMask(c.Security); err != nil {
		return nil, err
	}
	s.AllCaps, err = capabilityMask(privileged)
	return s, err
}

// capabilityMask has a bit for each capability of a container's root.
func capabilityMask(s protocol.Security) (uint64, error) {
	list, err := capabilityList(s)
	if err != nil {
		return 0, err
	}
	var mask uint64
	for _, c := range capability.ListKnown() {
		if slices.Contains(list, capabilityName(c)) {
			mask |= 1 << uint(c)
		}
	}
	return mask, nil
}

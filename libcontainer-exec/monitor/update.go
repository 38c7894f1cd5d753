// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// update gives a container that runs the limits of the update file. When one of
// them cannot be set libcontainer sets those back that were before.
func update(req Request) error {
	spec, err := readSpec(req.Dir)
	if err != nil {
		return err
	}
	if err := protocol.ReadFile(filepath.Join(req.Dir, protocol.UpdateFile), &spec.Container.Resources); err != nil {
		return fmt.Errorf("cannot read the new limits: %w", err)
	}
	limits, err := resources(&spec.Container)
	if err != nil {
		return err
	}
	if !unifiedCgroups() && !hierarchiesWritable() {
		if err := checkLimits(limits); err != nil {
			return err
		}
	}
	container, err := libcontainer.Load(filepath.Join(req.Dir, protocol.RuncRoot), spec.ID)
	if err != nil {
		return fmt.Errorf("cannot load container: %w", err)
	}
	config := container.Config()
	group, set := *config.Cgroups, *config.Cgroups.Resources
	group.Resources, config.Cgroups = &set, &group // libcontainer still needs those that were before
	all, err := hostSets(container, &set)
	if err != nil {
		return err
	}
	setLimits(&set, limits, all)
	if err := container.Set(config); err != nil {
		return fmt.Errorf("cannot set the limits: %w", err)
	}
	return nil
}

// readSpec reads what a container is to be, with the limits that an update gave
// it.
func readSpec(dir string) (*protocol.Spec, error) {
	var spec protocol.Spec
	if err := protocol.ReadFile(filepath.Join(dir, protocol.SpecFile), &spec); err != nil {
		return nil, fmt.Errorf("cannot read the container's spec: %w", err)
	}
	var limits protocol.Resources
	switch err := protocol.ReadFile(filepath.Join(dir, protocol.LimitsFile), &limits); {
	case err == nil:
		spec.Container.Resources = limits
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("cannot read the container's limits: %w", err)
	}
	return &spec, nil
}

// sets are all the processors and memory nodes that a container can have.
type sets struct{ cpus, mems string }

// hostSets reads them, if the container has some of them only. Cgroup v1 refuses
// what the cgroup above has not; v2 takes it, and looks at what there is when
// the limits above change.
func hostSets(c *libcontainer.Container, has *cgroups.Resources) (all sets, err error) {
	if has.CpusetCpus == "" && has.CpusetMems == "" {
		return sets{}, nil
	}
	dir, cpus, mems := cgroupRoot, "cpuset.cpus.effective", "cpuset.mems.effective"
	if !unifiedCgroups() {
		state, err := c.State()
		if err != nil {
			return sets{}, fmt.Errorf("cannot tell the container's cgroups: %w", err)
		}
		dir, cpus, mems = filepath.Dir(state.CgroupPaths["cpuset"]), "cpuset.cpus", "cpuset.mems"
	}
	for _, f := range []struct {
		name string
		to   *string
	}{{cpus, &all.cpus}, {mems, &all.mems}} {
		p, err := os.ReadFile(filepath.Join(dir, f.name))
		if err != nil {
			return sets{}, fmt.Errorf("cannot tell what the container's processors can be: %w", err)
		}
		*f.to = strings.TrimSpace(string(p))
	}
	return all, nil
}

// setLimits converts limits for a cgroup that exists, which has the limits in
// to. What there was and is no longer is set to what a new cgroup has.
func setLimits(to *cgroups.Resources, from *specs.LinuxResources, all sets) {
	to.SkipDevices = true // they cannot change, and writing them anew is not atomic
	unlimited := int64(-1)
	to.PidsLimit = &unlimited
	if from.Pids != nil {
		to.PidsLimit = from.Pids.Limit
	}
	noReservation := int64(-1) // as cgroup v1 has it
	if unifiedCgroups() {
		noReservation = 1 // less than a page is none; 0 would not be written
	}
	m := orEmpty(from.Memory)
	replace(&to.Memory, m.Limit, -1)
	replace(&to.MemorySwap, m.Swap, -1)
	replace(&to.MemoryReservation, m.Reservation, noReservation)
	c := orEmpty(from.CPU)
	replace(&to.CpuShares, c.Shares, 1024)
	switch {
	case c.Shares != nil:
		to.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*c.Shares)
	case to.CpuShares != 0:
		to.CpuWeight = 100
	}
	replace(&to.CpuQuota, c.Quota, -1)
	replace(&to.CpuPeriod, c.Period, 100_000)
	replace(&to.CpuRtRuntime, c.RealtimeRuntime, 0) // none is no runtime: it can be set to that
	replace(&to.CpuRtPeriod, c.RealtimePeriod, 1_000_000)
	replaceSet(&to.CpusetCpus, c.Cpus, all.cpus)
	replaceSet(&to.CpusetMems, c.Mems, all.mems)
	replace(&to.BlkioWeight, orEmpty(from.BlockIO).Weight, 100) // BFQ's
}

func orEmpty[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}

// replace sets a limit that is given. One that there was and is not given
// becomes none.
func replace[T comparable](to, given *T, none T) {
	var unset T
	if given != nil {
		*to = *given
	} else if *to != unset {
		*to = none
	}
}

func replaceSet(to *string, given, all string) {
	if given != "" || *to == "" {
		*to = given
	} else {
		*to = all
	}
}

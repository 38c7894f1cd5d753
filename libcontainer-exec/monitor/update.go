// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	setLimits(&set, limits)
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

// setLimits converts limits for a cgroup that exists. No limit leaves what there
// is, but for the number of processes, which can be unlimited again.
func setLimits(to *cgroups.Resources, from *specs.LinuxResources) {
	to.SkipDevices = true // they cannot change, and writing them anew is not atomic
	unlimited := int64(-1)
	to.PidsLimit = &unlimited
	if from.Pids != nil {
		to.PidsLimit = from.Pids.Limit
	}
	if m := from.Memory; m != nil {
		assign(&to.Memory, m.Limit)
		assign(&to.MemorySwap, m.Swap)
		assign(&to.MemoryReservation, m.Reservation)
	}
	if c := from.CPU; c != nil {
		assign(&to.CpuShares, c.Shares)
		if c.Shares != nil {
			to.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*c.Shares)
		}
		assign(&to.CpuQuota, c.Quota)
		assign(&to.CpuPeriod, c.Period)
		assign(&to.CpuRtRuntime, c.RealtimeRuntime)
		assign(&to.CpuRtPeriod, c.RealtimePeriod)
		to.CpusetCpus, to.CpusetMems = c.Cpus, c.Mems
	}
	if b := from.BlockIO; b != nil {
		assign(&to.BlkioWeight, b.Weight)
	}
}

func assign[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

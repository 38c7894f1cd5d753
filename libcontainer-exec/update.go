// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// Update changes the container's limits, and its restart policy, while it runs:
// those of its cgroup, those of its unit, and what its holder knows. When one of
// them fails the others are as they were.
func (p *Process) Update(ctx context.Context, r davit.Resources, policy *davit.RestartPolicy) error {
	if err := p.update(ctx, convertResources(&r), policy); err != nil {
		return fmt.Errorf("cannot update container %s: %w", p.name, err)
	}
	return nil
}

func (p *Process) update(ctx context.Context, after protocol.Resources, policy *davit.RestartPolicy) error {
	before, err := p.limits()
	if err != nil {
		return err
	}
	same := reflect.DeepEqual(before, after)
	if !same {
		if err := p.replaceLimits(ctx, &before, &after); err != nil {
			return err
		}
	}
	if policy == nil {
		return nil
	}
	// It comes last because it has no undo: what was before is not known here.
	err = p.setPolicy(ctx, policy)
	if err != nil && !same {
		err = errors.Join(err, p.replaceLimits(context.WithoutCancel(ctx), &after, &before))
	}
	return err
}

// replaceLimits changes those of the cgroup and of the unit, or none.
func (p *Process) replaceLimits(ctx context.Context, before, after *protocol.Resources) error {
	if err := p.setLimits(ctx, after); err != nil {
		return err
	}
	p.rt.mu.Lock()
	unit := p.rt.units[p.id]
	p.rt.mu.Unlock()
	if err := p.rt.launcher.limit(ctx, unit, before, after); err != nil {
		return errors.Join(err, p.setLimits(context.WithoutCancel(ctx), before))
	}
	return nil
}

// limits reads those that the next run of the container would have.
func (p *Process) limits() (protocol.Resources, error) {
	var r protocol.Resources
	err := protocol.ReadFile(filepath.Join(p.dir, protocol.LimitsFile), &r)
	if !errors.Is(err, os.ErrNotExist) {
		return r, err
	}
	var spec protocol.Spec
	err = protocol.ReadFile(filepath.Join(p.dir, protocol.SpecFile), &spec)
	if errors.Is(err, os.ErrNotExist) {
		err = errGone
	}
	return spec.Container.Resources, err
}

// setLimits has the holder apply limits.
func (p *Process) setLimits(ctx context.Context, r *protocol.Resources) error {
	if err := protocol.WriteFile(filepath.Join(p.dir, protocol.UpdateFile), r); errors.Is(err, os.ErrNotExist) {
		return errGone // with its directory
	} else if err != nil {
		return err
	}
	_, err := p.call(ctx, &protocol.Request{Op: protocol.OpUpdate})
	return err
}

// setPolicy has the holder apply a restart policy.
func (p *Process) setPolicy(ctx context.Context, policy *davit.RestartPolicy) error {
	_, err := p.call(ctx, &protocol.Request{
		Op: protocol.OpPolicy, Policy: &protocol.Policy{Restart: policy.Name, MaxRetries: policy.MaximumRetryCount},
	})
	return err
}

// SPDX-License-Identifier: Apache-2.0

package parameters

import (
	"math"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/refusal"
)

// Update reads the properties of a container's Update: those of RunContainer
// that can be changed, and CPUShares. UINT64_MAX takes a limit away where that
// can be done.
func Update(update *davit.ContainerUpdate, values map[string]godbus.Variant) error {
	var memory, tasks, cpu, shares uint64
	var restart string
	o := Of(values)
	Take(o, "MemoryMax", &memory)
	Take(o, "TasksMax", &tasks)
	Take(o, "CPUQuotaPerSecUSec", &cpu)
	Take(o, "CPUShares", &shares)
	Take(o, "Restart", &restart)
	if err := o.Finish(); err != nil {
		return err
	}
	r := &update.Resources
	for _, l := range []struct {
		name   string
		value  uint64
		factor int64
		to     *int64
	}{
		{"MemoryMax", memory, 1, &r.Memory},
		{"CPUQuotaPerSecUSec", cpu, 1000, &r.NanoCPUs},
		{"CPUShares", shares, 1, &r.CPUShares},
	} {
		if l.value == math.MaxUint64 {
			return refusal.InvalidArgs("%s: this limit can be changed, but not be taken away", l.name)
		}
		var err error
		if *l.to, err = limit(l.name, l.value, l.factor); err != nil {
			return err
		}
	}
	if tasks != 0 {
		pids, err := limit("TasksMax", tasks, 1)
		if err != nil {
			return err
		}
		r.PidsLimit = &pids // 0 is none
	}
	if restart == "" {
		return nil
	}
	policy, err := restartPolicy(restart)
	update.RestartPolicy = &policy
	return err
}

// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/davit-engine/davit/libcontainer-exec/monitor/filtercache"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// filterLabel is the label of libcontainer's configuration that tells an exec
// session which kept filter is the container's: its profile may be a stub.
const filterLabel = "davit.filter="

// filter is a container's seccomp filter on its way to libcontainer.
type filter struct {
	cache *filtercache.Cache // nil: nothing is kept
	key   string
	kept  *filtercache.Kept // nil: libcontainer has the whole profile
}

// newFilter finds the filter of a profile, which may be nil. Without a cache
// a start is only slower.
func newFilter(dir string, profile *specs.LinuxSeccomp) filter {
	if dir == "" || profile == nil {
		return filter{}
	}
	cache, err := filtercache.Open(dir)
	var key string
	if err == nil {
		key, err = filtercache.Key(profile)
	}
	if err != nil {
		warn(err)
		return filter{}
	}
	return filter{cache, key, cache.Find(key)}
}

// amid is the filter of a container with these namespaces. Where others see its
// init they are not to be trusted with what it compiles: that is not kept.
func (f filter) amid(ns *protocol.Namespaces) filter {
	if f.kept == nil && ns.Pid != "" {
		return filter{}
	}
	return f
}

// configure makes libcontainer's configuration, with the stub where the program
// is there: the whole profile is then not even converted.
func (f filter) configure(oci *specs.Spec, convert func(*specs.Spec) (*configs.Config, error)) (*configs.Config, error) {
	if f.kept != nil {
		oci.Linux.Seccomp = nil
	}
	config, err := convert(oci)
	if err != nil {
		return config, err
	}
	// Annotations become labels: none of the user's is to name another's filter.
	config.Labels = slices.DeleteFunc(config.Labels, func(l string) bool { return strings.HasPrefix(l, filterLabel) })
	if f.cache == nil {
		return config, nil
	}
	if f.kept != nil {
		config.Seccomp = f.kept.Stub
	}
	config.Labels = append(config.Labels, filterLabel+f.key)
	return config, nil
}

// start starts a process with the filter. The first of a new container leaves
// one that is not kept yet; an exec session's shares its pid namespace with
// processes that are not to be trusted with what others will be given.
func (f filter) start(c *libcontainer.Container, p *libcontainer.Process) error {
	if f.cache == nil || f.kept == nil && !p.Init {
		return c.Start(p)
	}
	var passed *filtercache.Passed
	var err error
	if f.kept != nil {
		passed, err = filtercache.Give(f.kept)
	} else {
		passed, err = filtercache.Ask()
	}
	if err != nil {
		return err // the configuration counts on it
	}
	defer passed.File.Close()
	// libcontainer names init after this process.
	os.Args[0], p.ExtraFiles = passed.Name, []*os.File{passed.File}
	err = c.Start(p)
	if err == nil && f.kept == nil {
		if err := f.keep(c, passed); err != nil {
			warn(err)
		}
	}
	return err
}

func (f filter) keep(c *libcontainer.Container, passed *filtercache.Passed) error {
	program, err := passed.Program()
	if err != nil || program == nil {
		return err
	}
	config := c.Config()
	return f.cache.Put(f.key, config.Seccomp, program)
}

// sessionFilter is the filter of an exec session in the container. It is found
// by its label, and made anew from the spec when it is kept no longer.
func sessionFilter(c *libcontainer.Container, spec *protocol.Spec, dir string) (filter, error) {
	config := c.Config()
	if config.Seccomp == nil {
		return filter{}, nil
	}
	var f filter
	for _, label := range config.Labels {
		if key, ok := strings.CutPrefix(label, filterLabel); ok {
			f.key = key
		}
	}
	if f.key == "" {
		return filter{}, nil // the profile is whole
	}
	if cache, err := filtercache.Open(dir); dir != "" && err == nil {
		f.cache, f.kept = cache, cache.Find(f.key)
	}
	if f.kept != nil {
		*config.Seccomp = *f.kept.Stub
		return f, nil
	}
	return rebuildFilter(config.Seccomp, spec, dir)
}

// rebuildFilter replaces what may be a stub.
func rebuildFilter(old *configs.Seccomp, spec *protocol.Spec, dir string) (filter, error) {
	caps, err := capabilities(spec.Container.Security, 0)
	if err != nil {
		return filter{}, err
	}
	profile, err := seccompProfile(spec.Container.Security, &specs.Spec{Process: &specs.Process{Capabilities: caps}})
	if err != nil {
		return filter{}, err
	}
	if profile == nil {
		return filter{}, errors.New("the container has a seccomp filter, and its spec has none")
	}
	f := newFilter(dir, profile) // by this version's key
	if f.kept != nil {
		*old = *f.kept.Stub
		return f, nil
	}
	full, err := specconv.SetupSeccomp(profile)
	if err != nil {
		return filter{}, fmt.Errorf("cannot use the container's seccomp profile: %w", err)
	}
	*old = *full
	return f, nil
}

func warn(err error) { fmt.Fprintln(os.Stderr, "davit-monitor:", err) }

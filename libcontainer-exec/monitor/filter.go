// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"os"

	"github.com/davit-engine/davit/libcontainer-exec/monitor/filtercache"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// filter is a container's seccomp filter on its way to libcontainer.
type filter struct {
	kept *filtercache.Kept // nil: there is none
}

// newFilter finds the compiled filter of a profile, which may be nil, or compiles
// it. Without a cache in dir a start is only slower.
func newFilter(dir string, profile *specs.LinuxSeccomp) (filter, error) {
	if profile == nil {
		return filter{}, nil
	}
	key, err := filtercache.Key(profile)
	if err != nil {
		return filter{}, err
	}
	cache, err := filtercache.Open(dir)
	if err != nil {
		warn(err)
	} else if kept := cache.Find(key); kept != nil {
		return filter{kept}, nil
	}
	full, err := specconv.SetupSeccomp(profile)
	if err != nil || full == nil {
		return filter{}, useless(err)
	}
	kept, err := filtercache.Compile(full)
	if err != nil {
		return filter{}, useless(err)
	}
	if cache != nil {
		if err := cache.Put(key, kept); err != nil {
			warn(err)
		}
	}
	return filter{kept}, nil
}

func useless(err error) error {
	if err == nil {
		return nil
	}
	return fail(protocol.KindInvalid, fmt.Errorf("cannot use the container's seccomp profile: %w", err))
}

// configure makes libcontainer's configuration, with a stub of the profile: the
// whole is then not even converted.
func (f filter) configure(oci *specs.Spec, convert func(*specs.Spec) (*configs.Config, error)) (*configs.Config, error) {
	oci.Linux.Seccomp = nil
	config, err := convert(oci)
	if err == nil && f.kept != nil {
		config.Seccomp = f.kept.Stub
	}
	return config, err
}

// start starts a container's first process with the filter.
func (f filter) start(c *libcontainer.Container, p *libcontainer.Process) error {
	if f.kept == nil {
		return c.Start(p)
	}
	passed, err := filtercache.Give(f.kept)
	if err != nil {
		return err // the configuration counts on it
	}
	defer passed.File.Close()
	// libcontainer names init after this process.
	os.Args[0], p.ExtraFiles = passed.Name, []*os.File{passed.File}
	return c.Start(p)
}

func warn(err error) { fmt.Fprintln(os.Stderr, "davit-monitor:", err) }

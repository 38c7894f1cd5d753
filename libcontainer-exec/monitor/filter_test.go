// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestUserNamesNoFilter gives a container the annotation that an exec session
// would find its filter by.
func TestUserNamesNoFilter(t *testing.T) {
	others := filterLabel + strings.Repeat("ab", 32)
	convert := func(*specs.Spec) (*configs.Config, error) {
		return &configs.Config{Labels: []string{others, "mine=1"}}, nil
	}
	for name, f := range map[string]filter{"without a cache": {}, "with one": newFilter(t.TempDir(), &specs.LinuxSeccomp{})} {
		config, err := f.configure(&specs.Spec{Linux: &specs.Linux{}}, convert)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(config.Labels, others) || !slices.Contains(config.Labels, "mine=1") {
			t.Errorf("%s: labels %q", name, config.Labels)
		}
	}
}

// TestSharedPidsKeepNoFilter has a container's init compile a filter where
// another container's processes see it.
func TestSharedPidsKeepNoFilter(t *testing.T) {
	f := newFilter(t.TempDir(), &specs.LinuxSeccomp{})
	if f.cache == nil {
		t.Fatal("there is no cache")
	}
	if f.amid(&protocol.Namespaces{Network: protocol.Host}).cache == nil {
		t.Error("a container with processes of its own does not keep its filter")
	}
	for _, pid := range []string{protocol.Host, "0123"} {
		if f.amid(&protocol.Namespaces{Pid: pid}).cache != nil {
			t.Errorf("a container in the pid namespace of %s keeps its filter", pid)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package request turns what users ask of a new container into what its record
// says, and refuses what cannot be.
package request

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/journal"
	"github.com/davit-engine/davit/internal/linux"
	"github.com/davit-engine/davit/internal/logconfig"
)

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// CheckPlatform refuses an image of another platform than the one asked for.
// To the docker CLI the error means that the image is missing, and it pulls.
func CheckPlatform(img *davit.Image, want davit.Platform, ref string) error {
	differs := func(got, want string) bool { return want != "" && got != want }
	if differs(img.OS, want.OS) || differs(img.Architecture, want.Architecture) || differs(img.Variant, want.Variant) {
		return davit.Errorf(davit.NoSuchImage, "image with reference %s was found but does not provide the specified platform (%s/%s)", ref, want.OS, want.Architecture)
	}
	return nil
}

// maxName leaves room for the rest of a unit's name, which has 255 characters
// (systemd.unit(5)).
const maxName = 200

// CheckName refuses what is no name of a container, or too long for a unit.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return davit.Errorf(davit.InvalidName, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	if len(name) > maxName {
		return davit.Errorf(davit.InvalidName, "Invalid container name (%s…): it has %d characters, and at most %d are allowed", name[:20], len(name), maxName)
	}
	return nil
}

// Check refuses what cannot work, before anything is made. It brings limits
// into the form in which they are kept and returns warnings of what the host
// cannot do.
func Check(r *davit.Container, host *davit.HostFacts) (warnings []string, err error) {
	h := &r.HostConfig
	if warnings, err = Limits(&h.Resources, host, false); err != nil {
		return nil, err
	}
	for _, check := range []func(*davit.HostConfig, *davit.HostFacts) error{checkNetwork, checkRestart, checkSecurity, checkDevices, checkHosts, checkOther} {
		if err := check(h, host); err != nil {
			return nil, err
		}
	}
	if dir := r.Config.WorkingDir; dir != "" && !strings.HasPrefix(dir, "/") {
		return nil, invalid("the working directory '%s' is invalid, it needs to be an absolute path", dir)
	}
	if err := errors.Join(checkHostname("hostname", r.Config.Hostname), checkHostname("domain name", r.Config.Domainname)); err != nil {
		return nil, err
	}
	if err := errors.Join(CheckTexts(&r.Config), CheckLog(h.LogConfig), checkHealthcheck(r.Config.Healthcheck)); err != nil {
		return nil, err
	}
	if r.Config.StopSignal != "" {
		if _, err := Signal(r.Config.StopSignal); err != nil {
			return nil, err
		}
	}
	if h.CgroupnsMode == "private" && !host.Cgroups.Namespaces {
		warnings = append(warnings, "Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded.")
		h.CgroupnsMode = "host"
	}
	return warnings, nil
}

func checkNetwork(h *davit.HostConfig, _ *davit.HostFacts) error {
	switch _, joins := Joined(h.NetworkMode); {
	case joins, slices.Contains([]string{"bridge", "none", "host"}, h.NetworkMode):
		return nil
	}
	// Not NoSuchNetwork: to a create, the docker CLI takes a 404 for a missing
	// image, and pulls it.
	return invalid("network %s not found: this version has bridge, host and none", h.NetworkMode)
}

func checkRestart(h *davit.HostConfig, _ *davit.HostFacts) error {
	switch p := h.RestartPolicy; p.Name {
	case "", "no":
	case "on-failure":
		if p.MaximumRetryCount < 0 {
			return invalid("invalid restart policy: maximum retry count cannot be negative")
		}
	case "always", "unless-stopped":
		if p.MaximumRetryCount != 0 {
			return invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'")
		}
	default:
		return invalid("invalid restart policy: unknown policy %q; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", p.Name)
	}
	if h.AutoRemove && h.RestartPolicy.Name != "" && h.RestartPolicy.Name != "no" {
		return invalid("can't create 'AutoRemove' container with restart policy")
	}
	return nil
}

func checkOther(h *davit.HostConfig, _ *davit.HostFacts) error {
	switch {
	case h.ShmSize < 0:
		return invalid("SHM size can not be less than 0")
	case len(h.StorageOpt) > 0:
		return invalid("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
	}
	return nil
}

// CheckTexts refuses what execve(2) cannot be given. The texts may be secrets,
// and errors reach the log: they tell the place alone.
func CheckTexts(c *davit.ContainerConfig) error {
	for i, kv := range c.Env {
		if kv == "" || kv[0] == '=' {
			return invalid("invalid environment variable: number %d of %d has no name before its =", i+1, len(c.Env))
		}
	}
	for _, field := range []struct {
		name  string
		texts []string
	}{
		{"Env", c.Env},
		{"Entrypoint", c.Entrypoint},
		{"Cmd", c.Cmd},
		{"WorkingDir", []string{c.WorkingDir}},
		{"User", []string{c.User}},
		{"Hostname", []string{c.Hostname}},
		{"Domainname", []string{c.Domainname}},
	} {
		for i, text := range field.texts {
			if strings.ContainsRune(text, 0) {
				return invalid("invalid configuration: text %d of %s contains a NUL byte", i+1, field.name)
			}
		}
	}
	return nil
}

// CompleteLog fills in the daemon's driver, and of its options those that the
// container does not give, if it logs by the same driver. The launcher is how
// monitors are started: with "systemd" each container is a unit, whose log is
// the journal, where there is one.
func CompleteLog(c, daemon davit.LogConfig, launcher string) davit.LogConfig {
	units := launcher == "systemd" && !linux.Missing("/proc/self", journal.SocketPath)
	auto := daemon.Type == logconfig.Auto
	if auto {
		daemon.Type = logconfig.Choose(units, daemon.Config)
	}
	if c.Type == "" && auto {
		daemon.Type = logconfig.Choose(units, MergeMap(daemon.Config, c.Config))
	}
	if c.Type == "" {
		c.Type = daemon.Type
	}
	if c.Type == daemon.Type {
		c.Config = MergeMap(daemon.Config, c.Config)
	}
	return c
}

// CheckLog refuses a log driver that there is not, and options that it has not.
func CheckLog(c davit.LogConfig) error {
	if c.Type == logconfig.Auto {
		c.Type = logconfig.Choose(true, c.Config)
	}
	if !slices.Contains(logconfig.Drivers(), c.Type) {
		return davit.Errorf(davit.NotSupported, "log driver %q is not supported: use %s", c.Type, strings.Join(logconfig.Drivers(), ", "))
	}
	if _, err := logconfig.Parse(c.Type, c.Config); err != nil {
		return invalid("%w", err)
	}
	return nil
}

// Signal reads a signal's name, with or without SIG, or its number.
func Signal(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		if n < 1 || n > 64 {
			return 0, invalid("invalid signal: %s", name)
		}
		return n, nil
	}
	if n, ok := linux.SignalNumber(name); ok {
		return n, nil
	}
	return 0, invalid("invalid signal: %s", name)
}

func invalid(format string, args ...any) error {
	return davit.Errorf(davit.InvalidConfiguration, format, args...)
}

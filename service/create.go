// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/internal/petname"
)

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// create makes the record of a container, its writable layer and its volumes.
func (s *Service) create(ctx context.Context, j *engine.Job, q davit.Create) (davit.Created, error) {
	var none davit.Created
	name := strings.TrimPrefix(q.Name, "/")
	if name != "" {
		if err := checkName(name); err != nil {
			return none, err
		}
	}
	img, err := s.Images.Get(q.Config.Image)
	if err != nil {
		return none, err
	}
	if err := checkPlatform(&img, q.Platform, q.Config.Image); err != nil {
		return none, err
	}
	rec := davit.Container{
		ID: newID(), Name: name, Created: time.Now().UTC(), ImageID: img.ID, ImageRef: q.Config.Image,
		Config: mergeConfig(q.Config, img.Config), HostConfig: q.HostConfig, State: davit.State{Status: davit.StatusCreated},
	}
	warnings, err := s.completeConfig(&rec)
	if err != nil {
		return none, err
	}
	c := newContainer(rec)
	err = j.Step(ctx, "reserve name", func(context.Context) error { return s.reserve(c) },
		func(context.Context) error { s.unreserve(c); return nil })
	if err != nil {
		return none, err
	}
	j.Annotate(c.attrs()...)
	if err := s.makeContainer(ctx, j, c, img); err != nil {
		return none, err
	}
	s.publish(c)
	s.emitContainer("create", c, nil)
	return davit.Created{ID: c.id, Warnings: warnings}, nil
}

// checkPlatform refuses an image of another platform than the one asked for.
// To the docker CLI the error means that the image is missing, and it pulls.
func checkPlatform(img *davit.Image, want davit.Platform, ref string) error {
	differs := func(got, want string) bool { return want != "" && got != want }
	if differs(img.OS, want.OS) || differs(img.Architecture, want.Architecture) || differs(img.Variant, want.Variant) {
		return davit.Errorf(davit.NoSuchImage, "image with reference %s was found but does not provide the specified platform (%s/%s)", ref, want.OS, want.Architecture)
	}
	return nil
}

// maxName leaves room for the rest of a unit's name, which has 255 characters
// (systemd.unit(5)).
const maxName = 200

func checkName(name string) error {
	if !validName.MatchString(name) {
		return davit.Errorf(davit.InvalidName, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	if len(name) > maxName {
		return davit.Errorf(davit.InvalidName, "Invalid container name (%s…): it has %d characters, and at most %d are allowed", name[:20], len(name), maxName)
	}
	return nil
}

// makeContainer makes what a container is on disk; the record comes last and
// makes it true.
func (s *Service) makeContainer(ctx context.Context, j *engine.Job, c *container, img davit.Image) error {
	err := j.Step(ctx, "make directory",
		func(context.Context) error { return os.MkdirAll(s.dir(c.id), 0o700) },
		func(context.Context) error { return os.RemoveAll(s.dir(c.id)) })
	if err != nil {
		return err
	}
	err = j.Step(ctx, "make writable layer",
		func(context.Context) error { return s.Rootfs.Create(c.id, img) },
		func(context.Context) error { return s.Rootfs.Remove(c.id) })
	if err != nil {
		return err
	}
	if err := s.makeVolumes(ctx, j, c); err != nil {
		return err
	}
	return j.Step(ctx, "write record", func(context.Context) error { return s.State.PutContainer(&c.rec) }, nil)
}

// reserve takes the container's name, making one up when it has none.
func (s *Service) reserve(c *container) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.rec.Name != "" {
		if holder, taken := s.names[c.rec.Name]; taken {
			return nameConflict(c.rec.Name, holder)
		}
		s.names[c.rec.Name] = c.id
		return nil
	}
	for try := range 10 {
		name := petname.New()
		if try > 4 {
			name += "_" + c.id[:4]
		}
		if _, taken := s.names[name]; !taken {
			c.rec.Name = name
			s.names[name] = c.id
			return nil
		}
	}
	c.rec.Name = davit.ShortID(c.id)
	s.names[c.rec.Name] = c.id
	return nil
}

func nameConflict(name, holder string) error {
	return davit.Errorf(davit.NameConflict, "Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, holder)
}

func (s *Service) unreserve(c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[c.rec.Name] == c.id {
		delete(s.names, c.rec.Name)
	}
}

// publish makes the container visible.
func (s *Service) publish(c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[c.id] = c
}

// mergeConfig completes what the user gave by what the image has.
func mergeConfig(user, img davit.ContainerConfig) davit.ContainerConfig {
	c := user
	if c.User == "" {
		c.User = img.User
	}
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = img.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = img.Entrypoint
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" { // --entrypoint ""
		c.Entrypoint = nil
	}
	if c.WorkingDir == "" {
		c.WorkingDir = img.WorkingDir
	}
	if c.StopSignal == "" {
		c.StopSignal = img.StopSignal
	}
	if c.StopTimeout == nil {
		c.StopTimeout = img.StopTimeout
	}
	if c.Healthcheck == nil {
		c.Healthcheck = img.Healthcheck
	}
	c.Env = mergeEnv(img.Env, user.Env)
	c.ExposedPorts = mergeMap(img.ExposedPorts, user.ExposedPorts)
	c.Volumes = mergeMap(img.Volumes, user.Volumes)
	c.Labels = mergeMap(img.Labels, user.Labels)
	return c
}

// mergeEnv returns the image's variables overridden by the user's, each in
// its first place.
func mergeEnv(img, user []string) []string {
	out := slices.Clone(user)
	set := map[string]bool{}
	for _, kv := range user {
		k, _, _ := strings.Cut(kv, "=")
		set[k] = true
	}
	for _, kv := range img {
		if k, _, _ := strings.Cut(kv, "="); !set[k] {
			out = append(out, kv)
		}
	}
	return out
}

func mergeMap[V any](base, over map[string]V) map[string]V {
	if len(base)+len(over) == 0 {
		return nil
	}
	out := make(map[string]V, len(base)+len(over))
	for _, m := range []map[string]V{base, over} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// withDefaults adds the limits that were not given, by name.
func withDefaults(given []davit.Ulimit, defaults map[string]davit.Ulimit) []davit.Ulimit {
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		if !slices.ContainsFunc(given, func(u davit.Ulimit) bool { return strings.EqualFold(u.Name, name) }) {
			given = append(given, defaults[name])
		}
	}
	return given
}

// completeConfig checks the configuration and fills in the defaults. It
// returns warnings for the user.
func (s *Service) completeConfig(r *davit.Container) ([]string, error) {
	if r.HostConfig.NetworkMode == "" || r.HostConfig.NetworkMode == "default" {
		r.HostConfig.NetworkMode = "bridge"
	}
	if r.HostConfig.LogConfig.Type == "" {
		r.HostConfig.LogConfig = davit.LogConfig{Type: s.cfg().LogDriver, Config: mergeMap(s.cfg().LogOpts, r.HostConfig.LogConfig.Config)}
	}
	r.HostConfig.Ulimits = withDefaults(r.HostConfig.Ulimits, s.cfg().DefaultUlimits)
	argv := slices.Concat(r.Config.Entrypoint, r.Config.Cmd)
	if len(argv) == 0 {
		return nil, invalid("no command specified")
	}
	r.Path, r.Args = argv[0], argv[1:]
	if r.Config.Hostname == "" && r.HostConfig.NetworkMode != "host" {
		r.Config.Hostname = davit.ShortID(r.ID)
	}
	if r.HostConfig.ShmSize == 0 {
		r.HostConfig.ShmSize = 64 << 20
	}
	if s.Network == nil && r.HostConfig.NetworkMode == "bridge" {
		return nil, davit.Errorf(davit.NotSupported, "networking is disabled (--bridge=none): use --network none or host")
	}
	if err := s.checkHostConfig(r); err != nil {
		return nil, err
	}
	if _, err := portRequests(r, s.cfg().IP); err != nil {
		return nil, err
	}
	var warnings []string
	if r.HostConfig.NetworkMode == "host" && len(r.HostConfig.PortBindings) > 0 {
		warnings = append(warnings, "Published ports are discarded when using host network mode")
	}
	if h := r.Config.Healthcheck; h != nil && len(h.Test) > 0 && h.Test[0] != "NONE" {
		warnings = append(warnings, "The healthcheck is kept but not run: this version has none")
	}
	return warnings, s.resolveMounts(r)
}

// minMemory is the least that a start succeeds with: the first process of a
// container is runc's own until it executes the program.
const minMemory = 6 << 20

// checkHostConfig refuses what cannot work, before anything is made.
func (s *Service) checkHostConfig(r *davit.Container) error {
	h := &r.HostConfig
	switch h.NetworkMode {
	case "bridge", "none", "host":
	default:
		// Not NoSuchNetwork: to a create, the docker CLI takes a 404 for a missing
		// image, and pulls it.
		return invalid("network %s not found: this version has bridge, host and none", h.NetworkMode)
	}
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
	switch {
	case h.AutoRemove && h.RestartPolicy.Name != "" && h.RestartPolicy.Name != "no":
		return invalid("can't create 'AutoRemove' container with restart policy")
	case h.Memory > 0 && h.Memory < minMemory:
		return invalid("minimum memory limit allowed is 6MB")
	case h.MemorySwap > 0 && h.Memory == 0:
		return invalid("you should always set the memory limit when using memoryswap limit")
	case h.MemorySwap > 0 && h.MemorySwap < h.Memory:
		return invalid("minimum memoryswap limit should be larger than memory limit")
	case h.NanoCPUs > 0 && (h.CPUQuota != 0 || h.CPUPeriod != 0):
		return invalid("conflicting options: nano CPUs and CPU period or quota cannot both be set")
	case h.NanoCPUs < 0 || h.NanoCPUs > int64(s.facts.NCPU)*1e9:
		return invalid("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", s.facts.NCPU, s.facts.NCPU)
	case h.ShmSize < 0:
		return invalid("SHM size can not be less than 0")
	case h.LogConfig.Type != "json-file" && h.LogConfig.Type != "none":
		return davit.Errorf(davit.NotSupported, "log driver %q is not supported: use json-file or none", h.LogConfig.Type)
	case r.Config.WorkingDir != "" && !strings.HasPrefix(r.Config.WorkingDir, "/"):
		return invalid("the working directory '%s' is invalid, it needs to be an absolute path", r.Config.WorkingDir)
	}
	if err := errors.Join(checkTexts(&r.Config), checkLogOptions(h.LogConfig)); err != nil {
		return err
	}
	if r.Config.StopSignal != "" {
		if _, err := parseSignal(r.Config.StopSignal); err != nil {
			return err
		}
	}
	return nil
}

// checkTexts refuses what execve(2) cannot be given. The texts may be secrets,
// and errors reach the log: they tell the place alone.
func checkTexts(c *davit.ContainerConfig) error {
	for i, kv := range c.Env {
		if kv == "" || kv[0] == '=' {
			return invalid("invalid environment variable: number %d of %d has no name before its =", i+1, len(c.Env))
		}
	}
	for _, field := range []struct {
		name  string
		texts []string
	}{
		{"Env", c.Env}, {"Entrypoint", c.Entrypoint}, {"Cmd", c.Cmd},
		{"WorkingDir", []string{c.WorkingDir}}, {"User", []string{c.User}},
		{"Hostname", []string{c.Hostname}}, {"Domainname", []string{c.Domainname}},
	} {
		for i, text := range field.texts {
			if strings.ContainsRune(text, 0) {
				return invalid("invalid configuration: text %d of %s contains a NUL byte", i+1, field.name)
			}
		}
	}
	return nil
}

// logOptions are the options of the json-file driver.
var logOptions = []string{"max-size", "max-file"}

func checkLogOptions(c davit.LogConfig) error {
	for key, value := range c.Config {
		switch {
		case !slices.Contains(logOptions, key):
			return invalid("unknown log opt '%s' for %s log driver: use %s", key, c.Type, strings.Join(logOptions, " or "))
		case key == "max-file":
			if n, err := strconv.Atoi(value); err != nil || n < 1 {
				return invalid("invalid log opt max-file=%s: it must be a number from 1", value)
			}
		case key == "max-size":
			if !validSize.MatchString(value) {
				return invalid("invalid log opt max-size=%s: it must be a number with k, m or g", value)
			}
		}
	}
	return nil
}

// validSize is a size as the docker CLI takes it: 10m, 1.5g, 512kb, -1.
var validSize = regexp.MustCompile(`^(-1|[0-9]+(\.[0-9]+)?\s?[kKmMgGtT]?[iI]?[bB]?)$`)

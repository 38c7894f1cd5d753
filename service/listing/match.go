// SPDX-License-Identifier: Apache-2.0

package listing

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/filter"
	"github.com/davit-engine/davit/service/request"
	"github.com/opencontainers/go-digest"
)

// test tells whether a container is meant.
type test func(*davit.Container) bool

// makers make the test of each filter of GET /containers/json, of its values.
// Another filter is an error. So is a value that no container could ever have:
// it was meant to be something else.
var makers = map[string]func(*Lister, []string) (test, error){
	"id":         each(func(r *davit.Container, v string) bool { return strings.HasPrefix(r.ID, v) }),
	"label":      every(func(r *davit.Container, v string) bool { return filter.Label(r.Config.Labels, v) }),
	"annotation": every(func(r *davit.Container, v string) bool { return filter.Label(r.HostConfig.Annotations, v) }),
	"volume": each(func(r *davit.Container, v string) bool {
		return slices.ContainsFunc(r.Listed(), func(m davit.Mount) bool { return m.Name == v || m.Target == v || m.Source == v })
	}),
	"status": oneOf("status", allStatuses, func(r *davit.Container, v string) bool { return string(r.State.Status) == v }),
	"health": oneOf("health", allHealths, func(r *davit.Container, v string) bool { return r.State.Health.String() == v }),
	// Isolations are Windows's; elsewhere all containers have the default.
	"isolation": oneOf("isolation", []string{"default", "process", "hyperv"}, func(_ *davit.Container, v string) bool { return v == "default" }),
	// Tasks are a swarm's, and there is none.
	"is-task":  oneOf("is-task", []string{"true", "false", "1", "0"}, func(_ *davit.Container, v string) bool { return !filter.True(v) }),
	"name":     byName,
	"exited":   byExit,
	"ancestor": byAncestor,
	"network":  byNetwork,
	"before":   byAge(func(r, than *davit.Container) bool { return r.Created.Before(than.Created) }),
	"since":    byAge(func(r, than *davit.Container) bool { return r.Created.After(than.Created) }),
	"publish":  byPort("publish", published),
	"expose":   byPort("expose", exposed),
}

var (
	allStatuses = []string{"created", "running", "paused", "restarting", "removing", "exited", "dead"}
	allHealths  = []string{"none", "starting", "healthy", "unhealthy"}
)

// matcher makes one test of all filters: keys add up.
func (s *Lister) matcher(filters map[string][]string) (test, error) {
	var tests []test
	for key, values := range filters {
		maker := makers[key]
		if maker == nil {
			return nil, davit.Errorf(davit.InvalidConfiguration, "invalid filter '%s'", key)
		}
		if len(values) == 0 {
			continue
		}
		t, err := maker(s, values)
		if err != nil {
			return nil, err
		}
		tests = append(tests, t)
	}
	return func(r *davit.Container) bool {
		return !slices.ContainsFunc(tests, func(t test) bool { return !t(r) })
	}, nil
}

// each makes a filter whose values are alternatives.
func each(match func(r *davit.Container, v string) bool) func(*Lister, []string) (test, error) {
	return func(_ *Lister, values []string) (test, error) {
		return func(r *davit.Container) bool {
			return slices.ContainsFunc(values, func(v string) bool { return match(r, v) })
		}, nil
	}
}

// every makes a filter whose values add up.
func every(match func(r *davit.Container, v string) bool) func(*Lister, []string) (test, error) {
	return func(_ *Lister, values []string) (test, error) {
		return func(r *davit.Container) bool {
			return !slices.ContainsFunc(values, func(v string) bool { return !match(r, v) })
		}, nil
	}
}

// oneOf makes a filter that has few values.
func oneOf(key string, known []string, match func(r *davit.Container, v string) bool) func(*Lister, []string) (test, error) {
	return func(s *Lister, values []string) (test, error) {
		for _, v := range values {
			if !slices.Contains(known, v) {
				return nil, davit.Errorf(davit.InvalidConfiguration, "invalid filter '%s=%s': use %s", key, v, strings.Join(known, ", "))
			}
		}
		return each(match)(s, values)
	}
}

// byName takes regular expressions, of the name as users know it and as the API
// spells it. What is no expression is a plain text.
func byName(_ *Lister, values []string) (test, error) {
	patterns := make([]*regexp.Regexp, len(values))
	for i, v := range values {
		re, err := regexp.Compile(v)
		if err != nil {
			re = regexp.MustCompile(regexp.QuoteMeta(v))
		}
		patterns[i] = re
	}
	return func(r *davit.Container) bool {
		return slices.ContainsFunc(patterns, func(re *regexp.Regexp) bool { return re.MatchString(r.Name) || re.MatchString("/"+r.Name) })
	}, nil
}

// byExit takes exit codes of containers that have run and do not.
func byExit(_ *Lister, values []string) (test, error) {
	codes := make([]int, len(values))
	for i, v := range values {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, davit.Errorf(davit.InvalidConfiguration, "invalid filter 'exited=%s': it is a number", v)
		}
		codes[i] = n
	}
	return func(r *davit.Container) bool {
		return !r.State.Running() && !r.State.StartedAt.IsZero() && slices.Contains(codes, r.State.ExitCode)
	}, nil
}

// byAncestor takes images, and means containers of them and of images that were
// made of them. An image that is not there has none.
func byAncestor(s *Lister, values []string) (test, error) {
	images, err := s.Images.List()
	if err != nil {
		return nil, err
	}
	meant := map[digest.Digest]bool{}
	for _, v := range values {
		if img, err := s.Images.Get(v); err == nil {
			meant[img.ID] = true
		}
	}
	parents := make(map[digest.Digest]digest.Digest, len(images))
	for i := range images {
		parents[images[i].ID] = images[i].Parent
	}
	return func(r *davit.Container) bool {
		for id, steps := r.ImageID, 0; id != "" && steps <= len(parents); id, steps = parents[id], steps+1 {
			if meant[id] {
				return true
			}
		}
		return false
	}, nil
}

// byNetwork takes names of networks, and ids or what they begin with.
func byNetwork(s *Lister, values []string) (test, error) {
	names := slices.Clone(values)
	for _, n := range s.Host.Networks() {
		if slices.ContainsFunc(values, func(v string) bool { return v != "" && strings.HasPrefix(n.ID, v) }) {
			names = append(names, n.Name)
		}
	}
	return func(r *davit.Container) bool {
		return slices.Contains(names, r.HostConfig.NetworkMode) ||
			slices.ContainsFunc(r.Endpoints, func(ep davit.Endpoint) bool { return slices.Contains(names, ep.NetworkName) })
	}, nil
}

func byAge(is func(r, than *davit.Container) bool) func(*Lister, []string) (test, error) {
	return func(s *Lister, values []string) (test, error) {
		others := make([]davit.Container, len(values))
		for i, v := range values {
			var err error
			if others[i], err = s.Host.Find(v); err != nil {
				return nil, err
			}
		}
		return func(r *davit.Container) bool {
			return slices.ContainsFunc(others, func(o davit.Container) bool { return is(r, &o) })
		}, nil
	}
}

// portRange is "80", "80/udp" or "80-90/tcp" of a filter.
type portRange struct {
	first, last uint16
	proto       string
}

func byPort(key string, has func(*davit.Container, portRange) bool) func(*Lister, []string) (test, error) {
	return func(_ *Lister, values []string) (test, error) {
		ranges := make([]portRange, len(values))
		for i, v := range values {
			var ok bool
			if ranges[i], ok = parsePorts(v); !ok {
				return nil, davit.Errorf(davit.InvalidConfiguration, "invalid filter '%s=%s': it is a port, or a range of them, and a protocol: 80, 80-90/udp", key, v)
			}
		}
		return func(r *davit.Container) bool {
			return slices.ContainsFunc(ranges, func(p portRange) bool { return has(r, p) })
		}, nil
	}
}

func parsePorts(v string) (p portRange, ok bool) {
	span, proto, found := strings.Cut(v, "/")
	if !found {
		proto = "tcp"
	}
	first, last, isRange := strings.Cut(span, "-")
	if !isRange {
		last = first
	}
	lo, err1 := strconv.ParseUint(first, 10, 16)
	hi, err2 := strconv.ParseUint(last, 10, 16)
	p = portRange{uint16(lo), uint16(hi), strings.ToLower(proto)}
	return p, err1 == nil && err2 == nil && lo <= hi && slices.Contains([]string{"tcp", "udp", "sctp"}, p.proto)
}

func (p portRange) has(port uint16, proto string) bool {
	return p.proto == proto && p.first <= port && port <= p.last
}

// published tells whether a port of the host is the container's now.
func published(r *davit.Container, p portRange) bool {
	return slices.ContainsFunc(r.Endpoints, func(ep davit.Endpoint) bool {
		return slices.ContainsFunc(ep.Ports, func(m davit.PortMapping) bool { return p.has(m.HostPort, m.Proto) })
	})
}

// exposed tells whether the container was said to listen on a port, or has one
// published.
func exposed(r *davit.Container, p portRange) bool {
	for key := range r.Config.ExposedPorts {
		if port, proto, err := request.Port(key); err == nil && p.has(port, proto) {
			return true
		}
	}
	for key := range r.HostConfig.PortBindings {
		if port, proto, err := request.Port(key); err == nil && p.has(port, proto) {
			return true
		}
	}
	return false
}

// SPDX-License-Identifier: Apache-2.0

package image

import (
	"encoding/json"
	"errors"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit"
)

// applyChanges applies Dockerfile instructions to a config, as docker import
// --change does. Only those that change nothing but the config are allowed.
// An entry point takes away the command that belonged to the one before it.
func applyChanges(c *davit.ContainerConfig, changes []string) error {
	keepCmd := false
	for _, change := range changes {
		for line := range strings.Lines(change) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			word, rest := cutWord(line)
			apply, ok := instructions()[strings.ToUpper(word)]
			if !ok {
				return davit.Errorf(davit.InvalidConfiguration, "%s is not a valid change command", word)
			}
			if rest == "" {
				return davit.Errorf(davit.InvalidConfiguration, "the change %q is incomplete: %s needs an argument", line, strings.ToUpper(word))
			}
			if err := apply(c, rest); err != nil {
				return davit.Errorf(davit.InvalidConfiguration, "the change %q is not valid: %w", line, err)
			}
			switch strings.ToUpper(word) {
			case "CMD":
				keepCmd = true
			case "ENTRYPOINT":
				if !keepCmd {
					c.Cmd = nil
				}
			}
		}
	}
	return nil
}

// instructions is the table of what a change may be, by its first word.
func instructions() map[string]func(*davit.ContainerConfig, string) error {
	return map[string]func(*davit.ContainerConfig, string) error{
		"CMD": func(c *davit.ContainerConfig, s string) error {
			c.Cmd = command(s)
			return nil
		},
		"ENTRYPOINT": func(c *davit.ContainerConfig, s string) error {
			c.Entrypoint = command(s)
			return nil
		},
		"ENV":   changeEnv,
		"LABEL": changeLabel,
		"USER": func(c *davit.ContainerConfig, s string) (err error) {
			c.User, err = oneWord(c, s)
			return err
		},
		"STOPSIGNAL": func(c *davit.ContainerConfig, s string) (err error) {
			c.StopSignal, err = oneWord(c, s)
			return err
		},
		"WORKDIR": func(c *davit.ContainerConfig, s string) error {
			dir, err := oneWord(c, s)
			if !path.IsAbs(dir) {
				dir = path.Join("/", c.WorkingDir, dir)
			}
			c.WorkingDir = path.Clean(dir)
			return err
		},
		"VOLUME":      changeVolume,
		"EXPOSE":      changeExpose,
		"HEALTHCHECK": changeHealthcheck,
		"ONBUILD":     changeOnbuild,
	}
}

// command reads the JSON form of a command, or makes one of the shell form.
func command(s string) []string {
	if args, ok := jsonForm(s); ok {
		return args
	}
	return []string{"/bin/sh", "-c", s}
}

func jsonForm(s string) (args []string, ok bool) {
	if !strings.HasPrefix(s, "[") || json.Unmarshal([]byte(s), &args) != nil {
		return nil, false
	}
	return args, true
}

func changeEnv(c *davit.ContainerConfig, s string) error {
	pairs, err := pairs(c, s)
	for _, p := range pairs {
		i := slices.IndexFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, p[0]+"=") })
		if i < 0 {
			c.Env = append(c.Env, "")
			i = len(c.Env) - 1
		}
		c.Env[i] = p[0] + "=" + p[1]
	}
	return err
}

func changeLabel(c *davit.ContainerConfig, s string) error {
	pairs, err := pairs(c, s)
	for _, p := range pairs {
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels[p[0]] = p[1]
	}
	return err
}

// pairs reads key=value… or the older form "key value".
func pairs(c *davit.ContainerConfig, s string) ([][2]string, error) {
	if first, rest := cutWord(s); !strings.Contains(first, "=") {
		if rest == "" {
			return nil, errors.New("want key=value")
		}
		value, err := expand(c, rest)
		return [][2]string{{first, value}}, err
	}
	words, err := words(c, s)
	if err != nil {
		return nil, err
	}
	var all [][2]string
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok || key == "" {
			return nil, errors.New("want key=value")
		}
		all = append(all, [2]string{key, value})
	}
	return all, nil
}

func changeVolume(c *davit.ContainerConfig, s string) error {
	paths, ok := jsonForm(s)
	if !ok {
		var err error
		if paths, err = words(c, s); err != nil {
			return err
		}
	}
	for _, p := range paths {
		if p == "" {
			return errors.New("a path is empty")
		}
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		c.Volumes[p] = struct{}{}
	}
	return nil
}

var exposePattern = regexp.MustCompile(`^(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?$`)

func changeExpose(c *davit.ContainerConfig, s string) error {
	ports, err := words(c, s)
	if err != nil {
		return err
	}
	for _, p := range ports {
		m := exposePattern.FindStringSubmatch(strings.ToLower(p))
		if m == nil {
			return errors.New("want port[-port][/tcp|udp|sctp]")
		}
		first, err := strconv.ParseUint(m[1], 10, 16)
		if err != nil {
			return err
		}
		last := first
		if m[2] != "" {
			if last, err = strconv.ParseUint(m[2], 10, 16); err != nil {
				return err
			}
		}
		if first == 0 || last < first {
			return errors.New("the range of ports is not valid")
		}
		proto := m[3]
		if proto == "" {
			proto = "tcp"
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = map[string]struct{}{}
		}
		for n := first; n <= last; n++ {
			c.ExposedPorts[strconv.FormatUint(n, 10)+"/"+proto] = struct{}{}
		}
	}
	return nil
}

func changeHealthcheck(c *davit.ContainerConfig, s string) error {
	var h davit.Healthcheck
	durations := map[string]*time.Duration{
		"--interval": &h.Interval, "--timeout": &h.Timeout, "--start-period": &h.StartPeriod, "--start-interval": &h.StartInterval,
	}
	for strings.HasPrefix(s, "--") {
		var flag string
		flag, s = cutWord(s)
		name, value, _ := strings.Cut(flag, "=")
		var err error
		if d, ok := durations[name]; ok {
			*d, err = time.ParseDuration(value)
			if err == nil && *d != 0 && *d < time.Millisecond {
				err = errors.New("a duration is shorter than 1ms")
			}
		} else if name == "--retries" {
			h.Retries, err = strconv.Atoi(value)
		} else {
			err = errors.New("unknown flag " + name)
		}
		if err != nil {
			return err
		}
	}
	switch word, rest := cutWord(s); {
	case strings.EqualFold(word, "NONE") && rest == "":
		h = davit.Healthcheck{Test: []string{"NONE"}}
	case strings.EqualFold(word, "CMD") && rest != "":
		if args, ok := jsonForm(rest); ok {
			h.Test = append([]string{"CMD"}, args...)
		} else {
			h.Test = []string{"CMD-SHELL", rest}
		}
	default:
		return errors.New("want NONE or CMD command")
	}
	c.Healthcheck = &h
	return nil
}

func changeOnbuild(c *davit.ContainerConfig, s string) error {
	switch word, _ := cutWord(s); strings.ToUpper(word) {
	case "ONBUILD", "FROM", "MAINTAINER":
		return errors.New(strings.ToUpper(word) + " is not allowed as an ONBUILD trigger")
	}
	c.OnBuild = append(c.OnBuild, s)
	return nil
}

func oneWord(c *davit.ContainerConfig, s string) (string, error) {
	w, err := words(c, s)
	if err == nil && len(w) != 1 {
		err = errors.New("want one argument")
	}
	if err != nil {
		return "", err
	}
	return w[0], nil
}

func cutWord(s string) (word, rest string) {
	word, rest, _ = strings.Cut(s, " ")
	if i := strings.IndexByte(word, '\t'); i >= 0 {
		word, rest = word[:i], s[i+1:]
	}
	return word, strings.TrimSpace(rest)
}

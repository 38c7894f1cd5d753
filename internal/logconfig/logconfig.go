// SPDX-License-Identifier: Apache-2.0

// Package logconfig reads the options of the log drivers, as users give them
// with --log-opt, and says what follows of them for one container. The options
// and their meaning are Docker's (https://docs.docker.com/engine/logging/).
package logconfig

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The drivers.
const (
	JSONFile = "json-file"
	Local    = "local"
	Journald = "journald"
	None     = "none"
)

// Auto stands for the driver that suits the host: see [Choose].
const Auto = "auto"

// Choose returns what a driver called "" or [Auto] is: journald where each
// container is a unit, unless the options ask for what only a file has; else
// json-file.
func Choose(units bool, config map[string]string) string {
	if units {
		if _, err := Parse(Journald, config); err == nil {
			return Journald
		}
	}
	return JSONFile
}

// Drivers returns the names of all drivers.
func Drivers() []string { return []string{JSONFile, Local, Journald, None} }

// What a driver does that is not told.
const (
	// Docker's json-file grows without bounds, which fills disks; its
	// documentation advises everybody to set these.
	jsonSize, jsonFiles = 10_000_000, 3

	localSize, localFiles = 20 << 20, 5

	defaultBuffer = 1 << 20
)

// generic options are those of all drivers but none.
var generic = []string{"max-buffer-size", "mode"}

// own options are those of one driver.
var own = map[string][]string{
	JSONFile: {"compress", "env", "env-regex", "labels", "labels-regex", "max-file", "max-size", "tag"},
	Local:    {"compress", "max-file", "max-size"},
	Journald: {"env", "env-regex", "labels", "labels-regex", "tag"},
}

// Options are the options of a driver, read.
type Options struct {
	MaxSize  int64 // bytes; 0 is unlimited
	MaxFiles int
	Compress bool
	Buffer   int // bytes; 0: who writes waits

	labels, env           []string
	labelsRegex, envRegex *regexp.Regexp // nil: none
	tag                   tag            // nil: none
}

// Parse reads the options of a driver. Its errors name the option and the way
// out; that a driver does not exist is one.
func Parse(driver string, config map[string]string) (*Options, error) {
	if !slices.Contains(Drivers(), driver) {
		return nil, fmt.Errorf("logger: no log driver named '%s' is registered: use %s", driver, or(Drivers()))
	}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if driver == None {
			return nil, fmt.Errorf("unknown log opt '%s' for none log driver: it has none", key)
		}
		if known := slices.Concat(own[driver], generic); !slices.Contains(known, key) {
			slices.Sort(known)
			return nil, fmt.Errorf("unknown log opt '%s' for %s log driver: use %s", key, driver, or(known))
		}
	}
	o := &Options{}
	if err := o.readMode(config); err != nil {
		return nil, err
	}
	if err := o.readFiles(driver, config); err != nil {
		return nil, err
	}
	return o, o.readAttributes(driver, config)
}

func or(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func (o *Options) readMode(config map[string]string) error {
	size, sized := config["max-buffer-size"]
	switch mode := config["mode"]; mode {
	case "", "blocking":
		if sized {
			return errors.New("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
		}
		return nil
	case "non-blocking":
		o.Buffer = defaultBuffer
	default:
		return fmt.Errorf("logger: logging mode not supported: %s: use blocking or non-blocking", mode)
	}
	if !sized {
		return nil
	}
	n, err := parseSize(size, 1024)
	if err != nil || n < 1 || n > 1<<30 {
		return fmt.Errorf("invalid log opt max-buffer-size=%s: it must be a size of at most 1g, such as 4m", size)
	}
	o.Buffer = int(n)
	return nil
}

// readFiles reads what the drivers that write files have.
func (o *Options) readFiles(driver string, config map[string]string) error {
	unit := int64(1024)
	switch driver {
	case JSONFile:
		o.MaxSize, o.MaxFiles, unit = jsonSize, jsonFiles, 1000 // decimal here and binary there: Docker's way
	case Local:
		o.MaxSize, o.MaxFiles, o.Compress = localSize, localFiles, true
	default:
		return nil
	}
	if text, ok := config["max-size"]; ok {
		n, err := parseSize(text, unit)
		switch {
		case text == "-1":
			n = 0
		case err != nil || n < 1:
			return fmt.Errorf("invalid log opt max-size=%s: it must be a positive number with k, m or g, or -1 for unlimited", text)
		}
		o.MaxSize = n
	}
	if text, ok := config["max-file"]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("invalid log opt max-file=%s: it must be a number from 1", text)
		}
		o.MaxFiles = n
	}
	never := o.MaxFiles < 2 || o.MaxSize == 0
	text, ok := config["compress"]
	if !ok {
		o.Compress = o.Compress && !never
		return nil
	}
	compress, err := strconv.ParseBool(text)
	switch {
	case err != nil:
		return fmt.Errorf("invalid log opt compress=%s: it must be true or false", text)
	case compress && never:
		return errors.New("compress cannot be true when max-file is less than 2 or max-size is not set")
	}
	o.Compress = compress
	return nil
}

func (o *Options) readAttributes(driver string, config map[string]string) error {
	list := func(key string) []string {
		if config[key] == "" {
			return nil
		}
		return strings.Split(config[key], ",")
	}
	o.labels, o.env = list("labels"), list("env")
	for _, x := range []struct {
		key string
		to  **regexp.Regexp
	}{{"labels-regex", &o.labelsRegex}, {"env-regex", &o.envRegex}} {
		if config[x.key] == "" {
			continue
		}
		re, err := regexp.Compile(config[x.key])
		if err != nil {
			return fmt.Errorf("invalid log opt %s=%s: %w", x.key, config[x.key], err)
		}
		*x.to = re
	}
	text := config["tag"]
	if text == "" && driver == Journald {
		text = "{{.ID}}"
	}
	var err error
	if o.tag, err = parseTag(text); err != nil {
		return fmt.Errorf("invalid log opt tag=%s: %w", text, err)
	}
	return nil
}

var size = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([kKmMgGtTpP]?)[iI]?[bB]?$`)

// parseSize reads a number of bytes with a unit, as "10m" or "1.5 GB".
func parseSize(text string, unit int64) (int64, error) {
	m := size.FindStringSubmatch(text)
	if m == nil {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, err
	}
	factor := int64(1)
	if m[2] != "" {
		for range strings.Index("kmgtp", strings.ToLower(m[2])) + 1 {
			factor *= unit
		}
	}
	if n *= float64(factor); n >= 1<<62 {
		return 0, strconv.ErrRange
	}
	return int64(n), nil
}

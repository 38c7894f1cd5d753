// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"math"
	"os"
	"strconv"
	"strings"
)

// Number reads a file of one number. Its word for no limit, max, is the
// largest one.
func Number(file string) (uint64, error) {
	p, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return number(file, strings.TrimSpace(string(p)))
}

func number(file, s string) (uint64, error) {
	if s == "max" {
		return math.MaxUint64, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, &os.PathError{Op: "parse", Path: file, Err: err}
	}
	return n, nil
}

// Keyed reads a file of lines of a key and a number.
func Keyed(file string) (map[string]uint64, error) {
	p, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	out := map[string]uint64{}
	for line := range strings.Lines(string(p)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		if out[key], err = number(file, value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

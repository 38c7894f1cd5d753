// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/request"
)

// checkUlimit refuses what no container could be started with.
func checkUlimit(name string, u davit.Ulimit) error {
	if u.Name != name {
		return fmt.Errorf("invalid default-ulimits: the Name of %q is %q: it must be the same", name, u.Name)
	}
	if err := request.CheckUlimits(u); err != nil {
		return fmt.Errorf("invalid default-ulimits: %w", err)
	}
	return nil
}

// ulimits is the flag default-ulimit.
type ulimits struct{ to *map[string]davit.Ulimit }

// Set reads name=soft[:hard].
func (u ulimits) Set(text string) error {
	name, values, ok := strings.Cut(text, "=")
	first, second, both := strings.Cut(values, ":")
	soft, err := strconv.ParseInt(first, 10, 64)
	hard := soft
	if both && err == nil {
		hard, err = strconv.ParseInt(second, 10, 64)
	}
	if !ok || err != nil {
		return fmt.Errorf("%q must be name=soft[:hard], such as nofile=1024:4096", text)
	}
	if *u.to == nil {
		*u.to = map[string]davit.Ulimit{}
	}
	(*u.to)[name] = davit.Ulimit{Name: name, Soft: soft, Hard: hard}
	return nil
}

// String is for the help text.
func (u ulimits) String() string {
	if u.to == nil {
		return ""
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(*u.to)) {
		l := (*u.to)[name]
		out = append(out, fmt.Sprintf("%s=%d:%d", name, l.Soft, l.Hard))
	}
	return strings.Join(out, ",")
}

// Type is for the help text.
func (ulimits) Type() string { return "name=soft[:hard]" }

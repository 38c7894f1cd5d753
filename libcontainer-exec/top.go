// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/cgroup"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// Top runs the host's ps with args, "-ef" by default, and returns the lines of
// the container's processes.
func (r *Runtime) Top(ctx context.Context, id string, args []string) (davit.ProcessTable, error) {
	var state protocol.State
	if err := protocol.ReadFile(filepath.Join(r.dir(id), protocol.StateFile), &state); err != nil {
		return davit.ProcessTable{}, davit.Errorf(davit.ContainerNotRunning, "cannot list the processes of container %s: %w", davit.ShortID(id), err)
	}
	if state.Pid == 0 {
		return davit.ProcessTable{}, davit.Errorf(davit.ContainerNotRunning, "container %s is not running", davit.ShortID(id))
	}
	pids := []int{state.Pid}
	for _, dir := range state.Cgroups {
		pids = append(pids, cgroup.Procs(dir)...)
	}
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "ps", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return davit.ProcessTable{}, davit.Errorf(davit.NotSupported, "cannot list processes: ps is not installed (package procps)")
	}
	if err != nil {
		return davit.ProcessTable{}, davit.Errorf(davit.InvalidConfiguration, "cannot list processes: ps: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return filterPS(string(out), pids)
}

// filterPS keeps the rows whose column PID is one of pids. The last column
// takes what is left of a line, spaces and all.
func filterPS(out string, pids []int) (davit.ProcessTable, error) {
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	table := davit.ProcessTable{Titles: strings.Fields(lines[0])}
	column := slices.Index(table.Titles, "PID")
	if column < 0 {
		return davit.ProcessTable{}, davit.Errorf(davit.InvalidConfiguration, "cannot list processes: the output of ps must have a column PID")
	}
	for _, line := range lines[1:] {
		cells := splitColumns(line, len(table.Titles))
		if len(cells) <= column {
			continue
		}
		pid, err := strconv.Atoi(cells[column])
		if err != nil {
			return davit.ProcessTable{}, fmt.Errorf("cannot read the output of ps: %w", err)
		}
		if slices.Contains(pids, pid) {
			table.Processes = append(table.Processes, cells)
		}
	}
	return table, nil
}

func splitColumns(line string, n int) []string {
	cells := make([]string, 0, n)
	rest := strings.TrimLeft(line, " \t")
	for len(cells) < n-1 && rest != "" {
		end := strings.IndexAny(rest, " \t")
		if end < 0 {
			end = len(rest)
		}
		cells = append(cells, rest[:end])
		rest = strings.TrimLeft(rest[end:], " \t")
	}
	if rest != "" {
		cells = append(cells, rest)
	}
	return cells
}

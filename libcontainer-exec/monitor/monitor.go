// SPDX-License-Identifier: Apache-2.0

// Package monitor makes a container with libcontainer, and leaves: its first
// process is inherited by the holder, which runs the monitor and is its child
// subreaper. It is the only package that links libcontainer.
package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Request says what to do. The directory is the container's runtime directory.
type Request struct {
	Dir    string
	Update bool // limit the container anew, and do not create it
	// Enter is what a holder of before davit-enter asks for: it is refused.
	Enter  bool
	Cgroup string // of the container to create, absolute below the hierarchies' roots
	Netns  string // path of a network namespace to join; "" makes one
	// Filters is the directory of compiled seccomp filters, "" for none.
	Filters string
}

// Run does the request and reports to the holder on descriptor
// [protocol.FDReport]. The error is that of reporting: what the request failed
// with goes to the holder, who knows whom it concerns.
func Run(req Request) error {
	conn, err := protocol.NewConn(protocol.FDReport)
	if err != nil {
		return fmt.Errorf("cannot use the report socket: %w", err)
	}
	defer conn.Close()
	var report protocol.Report
	switch {
	case req.Update:
		err = update(req)
	case req.Enter:
		err = fail(protocol.KindUnsupported, errors.New("this container was started by an earlier version of the engine: restart it to run further programs in it"))
	default:
		report, err = create(req)
	}
	if err != nil {
		report = protocol.Report{Error: wireError(err)}
	}
	if err := conn.Send(report); err != nil {
		return fmt.Errorf("cannot report to the holder: %w", err)
	}
	return nil
}

// failure is an error with the kind that the daemon is to see.
type failure struct {
	kind protocol.Kind
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(kind protocol.Kind, err error) error { return &failure{kind, err} }

func wireError(err error) *protocol.Error {
	e := &protocol.Error{Message: err.Error()}
	if f, ok := errors.AsType[*failure](err); ok {
		e.Kind = f.kind
	}
	return e
}

// create makes the container: afterwards its first process waits on exec.fifo.
func create(req Request) (protocol.Report, error) {
	spec, err := readSpec(req.Dir)
	if err != nil {
		return protocol.Report{}, err
	}
	if err := prepareSources(spec, req.Dir); err != nil {
		return protocol.Report{}, err
	}
	join := &joining{dir: req.Dir}
	defer join.close()
	oci, err := ociSpec(spec, req, join)
	if err != nil {
		return protocol.Report{}, err
	}
	filter, err := newFilter(req.Filters, oci.Linux.Seccomp)
	if err != nil {
		return protocol.Report{}, err
	}
	config, err := filter.configure(oci, func(oci *specs.Spec) (*configs.Config, error) {
		return libcontainerConfig(oci, spec.ID, req.Cgroup, makesDevices(spec.Container.Security) || grantsNodes(spec.Container.DeviceRules))
	})
	if err != nil {
		return protocol.Report{}, err
	}
	container, err := libcontainer.Create(filepath.Join(req.Dir, protocol.RuncRoot), spec.ID, config)
	if err != nil {
		return protocol.Report{}, fail(protocol.KindInvalid, fmt.Errorf("cannot create container: %w", err))
	}
	process, err := newProcess(oci.Process, spec.Holder.Tty)
	if err != nil {
		return protocol.Report{}, err
	}
	process.Init = true
	if err := filter.start(container, process); err != nil {
		return protocol.Report{}, errors.Join(createError(oci, err), container.Destroy())
	}
	pid, err := process.Pid()
	if err != nil {
		return protocol.Report{}, err
	}
	state, err := container.State()
	if err != nil {
		return protocol.Report{}, fmt.Errorf("cannot read the new container's state: %w", err)
	}
	if err := recordForEntering(req.Dir, spec, oci.Process, state, filter); err != nil {
		return protocol.Report{}, err
	}
	return protocol.Report{Pid: pid, Cgroups: state.CgroupPaths, AppArmor: appArmorInForce("/sys", oci.Process.ApparmorProfile)}, nil
}

// stdio opens the descriptors that the holder passed for the process.
func stdio(process *libcontainer.Process, tty bool) error {
	open := func(fd int, name string) (*os.File, error) {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return nil, fmt.Errorf("cannot use descriptor %d for %s: %w", fd, name, err)
		}
		return os.NewFile(uintptr(fd), name), nil
	}
	var err error
	if tty {
		process.ConsoleSocket, err = open(protocol.FDStdio, "console")
		return err
	}
	var files [3]*os.File
	for i, name := range [...]string{"stdin", "stdout", "stderr"} {
		if files[i], err = open(protocol.FDStdio+i, name); err != nil {
			return err
		}
	}
	process.Stdin, process.Stdout, process.Stderr = files[0], files[1], files[2]
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// agentPatience bounds how long the agent may take to register with polkit.
const agentPatience = 5 * time.Second

// agent is a pkttyagent(1) that asks on the terminal for what polkit wants to
// know. nil is none.
type agent struct{ cmd *exec.Cmd }

// startAgent starts one when it can be of use: for a user who is not root, on
// a terminal. With --fallback it leaves the asking to the agent of a desktop.
// Where it is missing, or does not start, nobody asks, and the engine refuses.
func startAgent(ctx context.Context, std stdio) *agent {
	if _, tty := terminal(std.in); !tty || os.Geteuid() == 0 {
		return nil
	}
	path, err := exec.LookPath("pkttyagent")
	if err != nil {
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer r.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, "--notify-fd", "3", "--fallback")
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err = cmd.Start()
	_ = w.Close() // the agent has it
	if err != nil {
		return nil
	}
	// It closes the descriptor when it is registered.
	if err := r.SetReadDeadline(time.Now().Add(agentPatience)); err == nil {
		_, _ = r.Read(make([]byte, 1)) // whatever ends the wait
	}
	return &agent{cmd}
}

// stop ends the agent and waits for it: it gives the terminal back.
func (a *agent) stop() {
	if a == nil {
		return
	}
	_ = a.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	_ = a.cmd.Process.Signal(syscall.SIGCONT)
	kill := time.AfterFunc(agentPatience, func() { _ = a.cmd.Process.Kill() })
	defer kill.Stop()
	_ = a.cmd.Wait() // it was told to end
}

// SPDX-License-Identifier: Apache-2.0

// Davit-monitor creates a container with libcontainer, and leaves. The holder runs it; nobody else has a use for it.
//
//	davit-monitor create DIR CGROUP [NETNS]
//	davit-monitor update DIR
//	davit-monitor compress FILE
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/davit-engine/davit/internal/containerlog/gzipped"
	"github.com/davit-engine/davit/libcontainer-exec/monitor"
	"github.com/davit-engine/davit/libcontainer-exec/monitor/filtercache"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	_ "github.com/opencontainers/cgroups/devices" // device rules; without it they fail at run time
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // the C part, which runs before Go does
)

// libcontainer starts a container by executing /proc/self/exe with the
// argument init; it must not return to main then.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		if err := filtercache.Load(os.Args[0]); err != nil {
			refuse(err)
		}
		libcontainer.Init()
	}
}

// refuse ends init with a reason, in the way in which libcontainer's own comes to
// the monitor. Standard error is the container's already.
func refuse(err error) {
	if fd, convErr := strconv.Atoi(os.Getenv("_LIBCONTAINER_LOGPIPE")); convErr == nil {
		line, _ := json.Marshal(map[string]string{"level": "error", "msg": err.Error()}) // of strings
		_, _ = os.NewFile(uintptr(fd), "log").Write(append(line, '\n'))
	}
	os.Exit(1)
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "compress" {
		fail(gzipped.Replace(os.Args[2])) // a rotated log
		return
	}
	req, ok := parse(os.Args[1:])
	if !ok {
		fmt.Fprintln(os.Stderr, "usage: davit-monitor create DIR CGROUP [NETNS] | update DIR | compress FILE (davit-holder runs it)")
		os.Exit(2)
	}
	req.Filters = os.Getenv(protocol.EnvSeccomp)
	fail(monitor.Run(req))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "davit-monitor:", err)
		os.Exit(1)
	}
}

func parse(args []string) (monitor.Request, bool) {
	switch {
	case len(args) == 3 && args[0] == "exec":
		return monitor.Request{Dir: args[1], Enter: true}, true // an old holder's
	case len(args) == 2 && args[0] == "update":
		return monitor.Request{Dir: args[1], Update: true}, true
	case len(args) == 3 && args[0] == "create":
		return monitor.Request{Dir: args[1], Cgroup: args[2]}, true
	case len(args) == 4 && args[0] == "create":
		return monitor.Request{Dir: args[1], Cgroup: args[2], Netns: args[3]}, true
	}
	return monitor.Request{}, false
}

// SPDX-License-Identifier: Apache-2.0

// Package localmount mounts what volumes of the local driver with options are:
// mount(2)'s type, device and options, as mount(8) writes them. See README.md
// beside it for who mounts where, and how two containers get the same one.
package localmount

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The options that the local driver has.
const (
	optType   = "type"
	optDevice = "device"
	optO      = "o"
	optSize   = "size"
)

// Check refuses options that the local driver has not, or not so.
func Check(options map[string]string) error {
	for name := range options {
		switch name {
		case optType, optDevice, optO:
		case optSize:
			return errors.New("quota size requested but no quota support: the option \"size\" limits a tmpfs as o=size=…")
		default:
			return fmt.Errorf("invalid option: %q", name)
		}
	}
	for _, needs := range [][2]string{{optDevice, optType}, {optType, optDevice}, {optO, optDevice}, {optO, optType}} {
		if options[needs[0]] != "" && options[needs[1]] == "" {
			return fmt.Errorf("missing required option: %q", needs[1])
		}
	}
	for name, value := range options {
		if strings.ContainsRune(value, 0) {
			return fmt.Errorf("invalid option %q: it contains a NUL byte", name)
		}
	}
	_, err := parse(options[optO])
	return err
}

// flags are the options of mount(8) that are flags of mount(2); clear is the
// flag that an option takes back.
var flags = map[string]struct{ set, clear uintptr }{
	"defaults": {}, "async": {0, unix.MS_SYNCHRONOUS}, "sync": {unix.MS_SYNCHRONOUS, 0}, "dirsync": {unix.MS_DIRSYNC, 0},
	"atime": {0, unix.MS_NOATIME}, "noatime": {unix.MS_NOATIME, 0}, "diratime": {0, unix.MS_NODIRATIME}, "nodiratime": {unix.MS_NODIRATIME, 0},
	"relatime": {unix.MS_RELATIME, 0}, "norelatime": {0, unix.MS_RELATIME}, "strictatime": {unix.MS_STRICTATIME, 0}, "nostrictatime": {0, unix.MS_STRICTATIME},
	"dev": {0, unix.MS_NODEV}, "nodev": {unix.MS_NODEV, 0}, "exec": {0, unix.MS_NOEXEC}, "noexec": {unix.MS_NOEXEC, 0},
	"suid": {0, unix.MS_NOSUID}, "nosuid": {unix.MS_NOSUID, 0}, "ro": {unix.MS_RDONLY, 0}, "rw": {0, unix.MS_RDONLY},
	"mand": {unix.MS_MANDLOCK, 0}, "nomand": {0, unix.MS_MANDLOCK}, "iversion": {unix.MS_I_VERSION, 0}, "noiversion": {0, unix.MS_I_VERSION},
	"bind": {unix.MS_BIND, 0}, "rbind": {unix.MS_BIND | unix.MS_REC, 0},
}

// elsewhere are options that mean another mount than the new one.
var elsewhere = []string{"remount", "move", "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"}

// call is what mount(2) is called with, beside type, device and target.
type call struct {
	flags uintptr
	data  []string
}

func parse(o string) (c call, err error) {
	for _, option := range strings.Split(o, ",") {
		if slices.Contains(elsewhere, option) {
			return c, fmt.Errorf("invalid option %q: a volume is a mount of its own; propagation is an option of --mount", option)
		}
		switch f, isFlag := flags[option]; {
		case isFlag:
			c.flags = c.flags&^f.clear | f.set
		case option != "":
			c.data = append(c.data, option)
		}
	}
	return c, nil
}

// resolve gives the name of a server the address that the kernel wants, as
// mount.nfs(8) and mount.cifs(8) do.
func resolve(data []string) ([]string, error) {
	out := slices.Clone(data)
	for i, option := range out {
		host, is := strings.CutPrefix(option, "addr=")
		if !is || net.ParseIP(host) != nil {
			continue
		}
		addr, err := net.ResolveIPAddr("ip", host)
		if err != nil {
			return nil, fmt.Errorf("error resolving passed in network volume address: %w", err)
		}
		out[i] = "addr=" + addr.String()
	}
	return out, nil
}

// shown is the options as an error may tell them.
func shown(data []string) string {
	out := slices.Clone(data)
	for i, option := range out {
		if key, _, valued := strings.Cut(option, "="); valued && slices.Contains([]string{"password", "pass", "password2"}, key) {
			out[i] = key + "=********"
		}
	}
	return strings.Join(out, ",")
}

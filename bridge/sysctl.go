// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// setSysctls sets the parameters that the network depends on (ip-sysctl).
func (d *Driver) setSysctls() error {
	if err := d.setForwarding(); err != nil {
		return err
	}
	if d.cfg.IPTables {
		// Connections to 127.0.0.1 are sent on to containers, and their answers
		// come in by the bridge. The INPUT rule of nat keeps all others out.
		if err := (sysctl{"net", "ipv4", "conf", d.cfg.Link, "route_localnet"}).set("1"); err != nil {
			return fmt.Errorf("%w: published ports could not be reached by 127.0.0.1", err)
		}
	}
	// A container must not make itself the host's router (CVE-2020-13401).
	err := sysctl{"net", "ipv6", "conf", d.cfg.Link, "accept_ra"}.set("0")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: containers could send the host router advertisements", err)
	}
	return nil
}

func (d *Driver) setForwarding() error {
	forwarding := sysctl{"net", "ipv4", "ip_forward"}
	now, err := forwarding.get()
	switch {
	case err == nil && now == "1":
		return nil
	case !d.cfg.IPForward:
		d.log.Warn("net.ipv4.ip_forward is off: containers reach nothing beyond the host, and their published ports are reached from the host alone")
		return nil
	}
	if err := forwarding.set("1"); err != nil {
		return fmt.Errorf("%w: containers could not be reached, nor reach others; set it yourself, or set \"ip-forward\": false", err)
	}
	d.log.Warn("set net.ipv4.ip_forward: the host now forwards between all its networks, as far as its rules let it (iptables -P FORWARD DROP stops that)")
	return nil
}

// sysctl is the path of a kernel parameter: a link's name may contain dots.
type sysctl []string

func (s sysctl) file() string { return filepath.Join(append([]string{"/proc/sys"}, s...)...) }

func (s sysctl) get() (string, error) {
	raw, err := os.ReadFile(s.file())
	return strings.TrimSpace(string(raw)), err
}

// set writes the value if it is another now: in a container or a sandbox
// /proc/sys may be read-only and right.
func (s sysctl) set(value string) error {
	now, err := s.get()
	if err == nil && now == value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(s.file(), []byte(value), 0)
	}
	if err != nil {
		return fmt.Errorf("cannot set %s to %s: %w", strings.Join(s, "."), value, err)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

// Package dns says where containers resolve names: it makes their
// resolv.conf(5) from the host's.
package dns

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/davit-engine/davit"
)

// maxFile bounds what is read of a host's file, and maxItems what is kept of
// each kind: libc uses three servers and, before glibc 2.26, six domains.
const (
	maxFile  = 64 << 10
	maxItems = 32
	maxItem  = 255
)

// Files are the host's files that a container's resolv.conf is made from.
type Files struct {
	Hosts  string // /etc/hosts
	Host   string // /etc/resolv.conf
	Uplink string // what systemd-resolved writes of its upstream servers (systemd-resolved.service(8))
}

// HostFiles returns the files' usual places.
func HostFiles() Files {
	return Files{Hosts: "/etc/hosts", Host: "/etc/resolv.conf", Uplink: "/run/systemd/resolve/resolv.conf"}
}

// Conf is what resolv.conf(5) says.
type Conf struct {
	Servers []netip.Addr
	Search  []string
	Options []string
}

// Parse reads a resolv.conf as libc does: unknown lines and addresses are
// skipped, of several search or domain lines the last counts.
func Parse(r io.Reader) (Conf, error) {
	var c Conf
	lines := bufio.NewScanner(io.LimitReader(r, maxFile))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || strings.HasPrefix(words[0], "#") || strings.HasPrefix(words[0], ";") {
			continue
		}
		switch words[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(words[1]); err == nil && len(c.Servers) < maxItems {
				c.Servers = append(c.Servers, addr.Unmap())
			}
		case "search", "domain":
			c.Search = keepItems(words[1:])
		case "options":
			c.Options = keepItems(append(c.Options, words[1:]...))
		}
	}
	// A line of more than 64 KiB, or a device that fails: what was read counts
	// no more than the rest.
	if err := lines.Err(); err != nil {
		return Conf{}, fmt.Errorf("cannot read resolv.conf: %w", err)
	}
	return c, nil
}

// keepItems drops what could not be written into a line again.
func keepItems(words []string) []string {
	var kept []string
	for _, w := range words {
		if strings.HasPrefix(w, "#") || strings.HasPrefix(w, ";") {
			break
		}
		if validItem(w) && len(kept) < maxItems {
			kept = append(kept, w)
		}
	}
	return kept
}

// Nameservers lists every server that the host may ask, systemd-resolved's
// upstream servers included.
func (f Files) Nameservers() ([]netip.Addr, error) {
	host, err := readFile(f.Host)
	if err != nil {
		return nil, err
	}
	uplink, err := readFile(f.Uplink)
	return append(host.Servers, uplink.Servers...), err
}

// reachable returns the host's configuration without the servers that a
// container on an IPv4 network cannot reach: those on the host's loopback
// (when there are only such, systemd-resolved's upstream file is used in
// place of the host's), and IPv6 ones.
func (f Files) reachable() (Conf, error) {
	conf, err := readFile(f.Host)
	if err != nil {
		return Conf{}, err
	}
	if allLoopback(conf.Servers) {
		uplink, err := readFile(f.Uplink)
		if err != nil {
			return Conf{}, err
		}
		// The options of the stub's file (edns0, trust-ad) hold for the stub only.
		conf.Servers, conf.Options = uplink.Servers, uplink.Options
		if len(uplink.Search) > 0 {
			conf.Search = uplink.Search
		}
	}
	var usable []netip.Addr
	for _, s := range conf.Servers {
		if s.Is4() && !s.IsLoopback() && !s.IsUnspecified() {
			usable = append(usable, s)
		}
	}
	conf.Servers = usable
	return conf, nil
}

func allLoopback(servers []netip.Addr) bool {
	for _, s := range servers {
		if !s.IsLoopback() {
			return false
		}
	}
	return len(servers) > 0
}

// Make returns the resolv.conf of a container: the host's, and instead of its
// servers, search domains or options those that are given. A search of "."
// means no search domains. Wrong values fail with
// [davit.InvalidConfiguration].
func (f Files) Make(servers, search, options []string) ([]byte, error) {
	conf, err := f.reachable()
	if err != nil {
		return nil, err
	}
	if len(servers) > 0 {
		if conf.Servers, err = parseServers(servers); err != nil {
			return nil, err
		}
	}
	if len(search) > 0 {
		if conf.Search, err = checkItems("dns search domain", search); err != nil {
			return nil, err
		}
		if len(search) == 1 && search[0] == "." {
			conf.Search = nil
		}
	}
	if len(options) > 0 {
		if conf.Options, err = checkItems("dns option", options); err != nil {
			return nil, err
		}
	}
	return conf.text(), nil
}

// Raw returns the host's hosts(5) and resolv.conf(5) as they are; one that does
// not exist is empty.
func (f Files) Raw() (hosts, resolv []byte, err error) {
	for _, file := range []struct {
		name string
		text *[]byte
	}{{f.Hosts, &hosts}, {f.Host, &resolv}} {
		*file.text, err = os.ReadFile(file.name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("cannot read the host's resolver configuration: %w", err)
		}
	}
	return hosts, resolv, nil
}

func (c Conf) text() []byte {
	var b bytes.Buffer
	b.WriteString("# Made by Davit for this container from the host's resolv.conf and the --dns options.\n")
	for _, s := range c.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(c.Servers) == 0 {
		b.WriteString("# The host has no name server that a container could reach: give one with --dns,\n" +
			"# or with \"dns\" in /etc/davit/daemon.json.\n")
	}
	if len(c.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(c.Search, " "))
	}
	if len(c.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(c.Options, " "))
	}
	return b.Bytes()
}

func parseServers(servers []string) ([]netip.Addr, error) {
	if len(servers) > maxItems {
		return nil, davit.Errorf(davit.InvalidConfiguration, "%d dns servers are given, more than %d", len(servers), maxItems)
	}
	addrs := make([]netip.Addr, 0, len(servers))
	for _, s := range servers {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return nil, davit.Errorf(davit.InvalidConfiguration, "dns server %.64q is not an IP address", s)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

func checkItems(what string, items []string) ([]string, error) {
	if len(items) > maxItems {
		return nil, davit.Errorf(davit.InvalidConfiguration, "more than %d of %s are given", maxItems, what)
	}
	for _, item := range items {
		if !validItem(item) {
			return nil, davit.Errorf(davit.InvalidConfiguration, "%s %.64q is empty, too long, or has a character that resolv.conf cannot hold", what, item)
		}
	}
	return items, nil
}

// validItem says whether s is one word of a line: a space or a line break in
// it would let a caller add lines of its own.
func validItem(s string) bool {
	if s == "" || len(s) > maxItem || s[0] == '#' || s[0] == ';' {
		return false
	}
	for _, r := range s {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	return true
}

// readFile parses a file; one that does not exist is empty.
func readFile(name string) (Conf, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Conf{}, nil
	}
	if err != nil {
		return Conf{}, fmt.Errorf("cannot open the host's resolver configuration: %w", err)
	}
	defer f.Close()
	return Parse(f)
}

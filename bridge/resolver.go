// SPDX-License-Identifier: Apache-2.0

package bridge

import "github.com/davit-engine/davit/bridge/dns"

// Resolver implements service.Resolver: it makes the resolv.conf(5) of
// containers from the host's.
type Resolver struct{ files dns.Files }

// NewResolver returns a resolver that reads the host's files each time.
func NewResolver() *Resolver { return &Resolver{files: dns.HostFiles()} }

// ResolvConf returns a container's resolv.conf. Name servers on the host's
// loopback are left out; when the host has no others a comment says so: no
// server of a third party is put in their place. A search of "." means none.
func (r *Resolver) ResolvConf(servers, search, options []string) ([]byte, error) {
	return r.files.Make(servers, search, options)
}

// HostFiles returns the host's hosts(5) and resolv.conf(5), empty where there is
// none.
func (r *Resolver) HostFiles() (hosts, resolv []byte, err error) { return r.files.Raw() }

// SPDX-License-Identifier: Apache-2.0

// Package ipam hands out the addresses of one network.
package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

// The errors of a [Pool], found with [errors.Is].
var (
	ErrExhausted = errors.New("no address is free")
	ErrInUse     = errors.New("address is in use")
	ErrOutside   = errors.New("address is not one of the network's host addresses")
)

// Pool holds which addresses of a prefix are in use. The network's own
// address, its broadcast address and the gateway are never handed out. An
// address that was given back is handed out again only after all others, so
// that a neighbour which still holds it in a cache does not reach a stranger.
// All methods may be called from any goroutine.
type Pool struct {
	prefix netip.Prefix

	mu   sync.Mutex
	used map[netip.Addr]bool // true: reserved for good
	last netip.Addr
}

// New returns the pool of the prefix. The gateway must be a host address of it.
func New(prefix netip.Prefix, gateway netip.Addr) (*Pool, error) {
	prefix = prefix.Masked()
	p := &Pool{prefix: prefix, last: gateway, used: map[netip.Addr]bool{
		prefix.Addr(): true, Last(prefix): true,
	}}
	if !prefix.Contains(gateway) || p.used[gateway] {
		return nil, fmt.Errorf("cannot use gateway %s in %s: %w", gateway, prefix, ErrOutside)
	}
	p.used[gateway] = true
	return p, nil
}

// Next takes the next free address, or fails with [ErrExhausted].
func (p *Pool) Next() (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	addr := p.last
	// Of len(used)+1 different addresses one is free, if the prefix has so many.
	for range len(p.used) + 1 {
		addr = addr.Next()
		if !p.prefix.Contains(addr) {
			addr = p.prefix.Addr()
		}
		if _, busy := p.used[addr]; !busy {
			p.used[addr] = false
			p.last = addr
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("cannot take an address of %s: %w", p.prefix, ErrExhausted)
}

// Claim takes a particular address: that of a container which a predecessor
// of the daemon started. It fails with [ErrInUse] or [ErrOutside].
func (p *Pool) Claim(addr netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	reserved, busy := p.used[addr]
	switch {
	case !p.prefix.Contains(addr) || reserved:
		return fmt.Errorf("cannot claim %s in %s: %w", addr, p.prefix, ErrOutside)
	case busy:
		return fmt.Errorf("cannot claim %s in %s: %w", addr, p.prefix, ErrInUse)
	}
	p.used[addr] = false
	return nil
}

// Release gives an address back. Releasing a free or reserved one does nothing.
func (p *Pool) Release(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reserved := p.used[addr]; !reserved {
		delete(p.used, addr)
	}
}

// Last returns the highest address of a prefix; in IPv4 it is the broadcast
// address (RFC 919).
func Last(prefix netip.Prefix) netip.Addr {
	raw := prefix.Masked().Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 1 << (7 - bit%8)
	}
	addr, _ := netip.AddrFromSlice(raw)
	return addr
}

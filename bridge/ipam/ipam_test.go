// SPDX-License-Identifier: Apache-2.0

package ipam_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/davit-engine/davit/bridge/ipam"
	"github.com/google/go-cmp/cmp"
)

func pool(t *testing.T, prefix, gateway string) *ipam.Pool {
	t.Helper()
	p, err := ipam.New(netip.MustParsePrefix(prefix), netip.MustParseAddr(gateway))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// all takes every address that the pool has.
func all(t *testing.T, p *ipam.Pool) []string {
	t.Helper()
	var got []string
	for {
		addr, err := p.Next()
		if errors.Is(err, ipam.ErrExhausted) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, addr.String())
	}
}

func TestEveryAddressOnce(t *testing.T) {
	for _, c := range []struct {
		prefix, gateway string
		want            []string
	}{
		{"10.0.0.0/30", "10.0.0.1", []string{"10.0.0.2"}},
		{"10.0.0.0/29", "10.0.0.1", []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}},
		{"10.0.0.0/29", "10.0.0.4", []string{"10.0.0.5", "10.0.0.6", "10.0.0.1", "10.0.0.2", "10.0.0.3"}},
		{"10.0.0.9/29", "10.0.0.14", []string{"10.0.0.9", "10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13"}},
		{"255.255.255.248/29", "255.255.255.249", []string{"255.255.255.250", "255.255.255.251", "255.255.255.252", "255.255.255.253", "255.255.255.254"}},
	} {
		if diff := cmp.Diff(c.want, all(t, pool(t, c.prefix, c.gateway))); diff != "" {
			t.Errorf("%s with gateway %s (-want +got):\n%s", c.prefix, c.gateway, diff)
		}
	}
	if n := len(all(t, pool(t, "172.17.0.0/16", "172.17.0.1"))); n != 65533 {
		t.Errorf("a /16 has %d addresses for containers", n)
	}
}

func TestWrongGateways(t *testing.T) {
	for _, c := range [][2]string{{"10.0.0.0/29", "10.0.0.0"}, {"10.0.0.0/29", "10.0.0.7"}, {"10.0.0.0/29", "10.0.1.1"}, {"10.0.0.0/31", "10.0.0.1"}} {
		if _, err := ipam.New(netip.MustParsePrefix(c[0]), netip.MustParseAddr(c[1])); !errors.Is(err, ipam.ErrOutside) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// TestFreedAddressComesLast: an address is not used again at once.
func TestFreedAddressComesLast(t *testing.T) {
	p := pool(t, "10.0.0.0/29", "10.0.0.1")
	for i, want := range []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"} {
		got, err := p.Next()
		if err != nil || got.String() != want {
			t.Errorf("%d: got %v, %v, want %s", i, got, err, want)
		}
		p.Release(got)
	}
}

func TestClaim(t *testing.T) {
	p := pool(t, "10.0.0.0/29", "10.0.0.1")
	for _, c := range []struct {
		addr string
		want error
	}{
		{"10.0.0.2", nil},
		{"10.0.0.2", ipam.ErrInUse},
		{"10.0.0.6", nil},
		{"10.0.0.0", ipam.ErrOutside},
		{"10.0.0.1", ipam.ErrOutside},
		{"10.0.0.7", ipam.ErrOutside},
		{"10.0.0.8", ipam.ErrOutside},
		{"8.8.8.8", ipam.ErrOutside},
		{"::1", ipam.ErrOutside},
	} {
		if err := p.Claim(netip.MustParseAddr(c.addr)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.addr, err, c.want)
		}
	}
	// Reserved and foreign addresses do not come back by a release.
	for _, addr := range []string{"10.0.0.0", "10.0.0.1", "10.0.0.7", "8.8.8.8"} {
		p.Release(netip.MustParseAddr(addr))
	}
	if diff := cmp.Diff([]string{"10.0.0.3", "10.0.0.4", "10.0.0.5"}, all(t, p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := p.Claim(netip.Addr{}); !errors.Is(err, ipam.ErrOutside) {
		t.Errorf("no address: %v", err)
	}
}

// TestManyAtOnce: of what runs side by side nobody gets another's address.
func TestManyAtOnce(t *testing.T) {
	p := pool(t, "10.0.0.0/24", "10.0.0.1")
	var mu sync.Mutex
	owner := map[netip.Addr]int{}
	fail := make(chan error, 8)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 2000 {
				addr, err := p.Next()
				if err != nil {
					fail <- err
					return
				}
				mu.Lock()
				other, taken := owner[addr]
				owner[addr] = worker
				mu.Unlock()
				if taken {
					fail <- fmt.Errorf("%s is %d's and %d's", addr, other, worker)
					return
				}
				if r.IntN(50) == 0 {
					continue // and keep it until the end
				}
				mu.Lock()
				delete(owner, addr)
				mu.Unlock()
				p.Release(addr)
			}
		})
	}
	all.Wait()
	close(fail)
	for err := range fail {
		if !errors.Is(err, ipam.ErrExhausted) {
			t.Error(err)
		}
	}
}

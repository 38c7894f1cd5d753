// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"net/netip"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/request"
)

// FuzzPorts reads any port, address and host port. What is taken is a port, and
// a rising range of the host's or none.
func FuzzPorts(f *testing.F) {
	f.Add("80/tcp", "", "8080")
	f.Add("80", "127.0.0.1", "8000-8010")
	f.Add("53/UDP", "::1", "0")
	f.Add("65536/tcp", "x", "2-1")
	f.Add("0/sctp", "0.0.0.0", "65535-65535")
	f.Fuzz(func(t *testing.T, port, address, host string) {
		c := &davit.Container{HostConfig: davit.HostConfig{
			NetworkMode: "bridge", PortBindings: map[string][]davit.PortBinding{port: {{HostIP: address, HostPort: host}}},
		}}
		list, err := request.Ports(c, netip.Addr{})
		if err != nil {
			if k := davit.KindOf(err); k != davit.Invalid && k != davit.NotImplemented {
				t.Errorf("%v", err)
			}
			return
		}
		for _, q := range list {
			if q.ContainerPort == 0 || q.LastPort < q.FirstPort || (q.FirstPort == 0 && q.LastPort != 0) || (q.HostIP.IsValid() && !q.HostIP.Is4()) {
				t.Errorf("%q, %q, %q are %+v", port, address, host, q)
			}
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package parameters

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
)

// FuzzRun reads any properties of RunContainer: they are refused as arguments of
// the bus, or ports are ports and limits are none or above zero.
func FuzzRun(f *testing.F) {
	f.Add("on-failure:3", "127.0.0.1:8080:80/udp", uint64(1)<<40, uint64(10), "linux/arm64/v8")
	f.Add("always", "[::1]:80-90:80", ^uint64(0), uint64(0), "linux")
	f.Add(":", "::::", uint64(1)<<63, ^uint64(0)-1, "//")
	f.Add("no:-1", "80/", uint64(0), uint64(1), "")
	f.Fuzz(func(t *testing.T, restart, publish string, memory, cpu uint64, platform string) {
		var create davit.Create
		err := Run(&create, map[string]godbus.Variant{
			"Restart": godbus.MakeVariant(restart), "Publish": godbus.MakeVariant([]string{publish}),
			"MemoryMax": godbus.MakeVariant(memory), "CPUQuotaPerSecUSec": godbus.MakeVariant(cpu),
		})
		if err != nil {
			var refused *godbus.Error
			if !errors.As(err, &refused) {
				t.Errorf("%v", err)
			}
			return
		}
		h := &create.HostConfig
		if h.Memory < 0 || h.NanoCPUs < 0 || h.RestartPolicy.MaximumRetryCount < 0 {
			t.Errorf("%+v", h)
		}
		for port, bindings := range h.PortBindings {
			number, proto, _ := strings.Cut(port, "/")
			if n, err := strconv.ParseUint(number, 10, 16); err != nil || n == 0 || proto != "tcp" && proto != "udp" && proto != "sctp" {
				t.Errorf("%q publishes %q at %v", publish, port, bindings)
			}
		}
		if p, err := Platform(platform); err == nil && strings.Contains(p.OS+p.Architecture, "/") {
			t.Errorf("%q is %+v", platform, p)
		}
	})
}

// FuzzFilters takes a value of any kind for the parameters that all lists have.
func FuzzFilters(f *testing.F) {
	f.Add("label", "a=b", int64(1), false)
	f.Add("filters", "", int64(-1), true)
	f.Fuzz(func(t *testing.T, key, text string, number int64, yes bool) {
		for _, v := range []any{text, []string{text}, number, yes, map[string]godbus.Variant{key: godbus.MakeVariant(text)}, []byte(text)} {
			filters, err := Filters(map[string]godbus.Variant{key: godbus.MakeVariant(v)})
			if err == nil && len(filters) > 1 {
				t.Errorf("one became %v", filters)
			}
		}
	})
}

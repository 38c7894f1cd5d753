// SPDX-License-Identifier: Apache-2.0

package dns_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/bridge/dns"
	"github.com/google/go-cmp/cmp"
)

// files writes a host's files; "" leaves one out.
func files(t *testing.T, host, uplink string) dns.Files {
	t.Helper()
	dir := t.TempDir()
	f := dns.Files{Host: filepath.Join(dir, "resolv.conf"), Uplink: filepath.Join(dir, "uplink.conf")}
	for name, content := range map[string]string{f.Host: host, f.Uplink: uplink} {
		if content == "" {
			continue
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// lines drops the comment that begins the file.
func lines(conf []byte) string {
	_, rest, _ := strings.Cut(string(conf), "\n")
	return rest
}

func TestMake(t *testing.T) {
	const none = "# The host has no name server that a container could reach: give one with --dns,\n" +
		"# or with \"dns\" in /etc/davit/daemon.json.\n"
	const stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n"
	for _, c := range []struct {
		name                     string
		host, uplink             string
		servers, search, options []string
		want                     string
	}{
		{
			name: "as the host's", host: "# x\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a.example b.example\noptions ndots:2\n",
			want: "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a.example b.example\noptions ndots:2\n",
		},
		{
			name: "loopback beside others", host: "nameserver 127.0.0.1\nnameserver 192.0.2.1\n", uplink: "nameserver 192.0.2.9\n",
			want: "nameserver 192.0.2.1\n",
		},
		{
			name: "systemd-resolved", host: stub, uplink: "nameserver 192.0.2.9\nsearch up.example\n",
			want: "nameserver 192.0.2.9\nsearch up.example\n",
		},
		{
			name: "systemd-resolved without domains", host: stub, uplink: "nameserver 192.0.2.9\n",
			want: "nameserver 192.0.2.9\nsearch lan\n",
		},
		{name: "a local resolver without upstream", host: "nameserver ::1\nnameserver 127.0.0.1\n", want: none},
		{name: "upstream on loopback too", host: stub, uplink: "nameserver 127.0.0.1\n", want: none + "search lan\n"},
		{name: "no file", want: none},
		{name: "no servers, though the uplink has", host: "search lan\n", uplink: "nameserver 192.0.2.9\n", want: none + "search lan\n"},
		{name: "IPv6 only", host: "nameserver 2001:db8::1\nnameserver fe80::1%eth0\n", want: none},
		{name: "IPv6 first", host: "nameserver 2001:db8::1\nnameserver 192.0.2.1\n", want: "nameserver 192.0.2.1\n"},
		{name: "IPv4 written as IPv6", host: "nameserver ::ffff:192.0.2.1\n", want: "nameserver 192.0.2.1\n"},
		{
			name: "given servers", host: stub, servers: []string{"198.51.100.1", "127.0.0.1", "2001:db8::2"},
			want: "nameserver 198.51.100.1\nnameserver 127.0.0.1\nnameserver 2001:db8::2\nsearch lan\n",
		},
		{
			name: "given domains", host: "nameserver 192.0.2.1\nsearch lan\n", search: []string{"x.example", "y.example"},
			want: "nameserver 192.0.2.1\nsearch x.example y.example\n",
		},
		{name: "no domains", host: "nameserver 192.0.2.1\nsearch lan\n", search: []string{"."}, want: "nameserver 192.0.2.1\n"},
		{
			name: "given options", host: "nameserver 192.0.2.1\noptions ndots:2\n", options: []string{"timeout:1", "rotate"},
			want: "nameserver 192.0.2.1\noptions timeout:1 rotate\n",
		},
		{name: "the last search counts", host: "nameserver 192.0.2.1\ndomain a\nsearch b c\n", want: "nameserver 192.0.2.1\nsearch b c\n"},
		{name: "rubbish", host: "\x00\xff\nnameserver\nnameserver x\nnameserver 0.0.0.0\nsearch \x01 ok # no\noptions\n", want: none + "search ok\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := files(t, c.host, c.uplink).Make(c.servers, c.search, c.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, lines(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestMakeRefuses values that would write lines of their own, or none.
func TestMakeRefuses(t *testing.T) {
	f := files(t, "nameserver 192.0.2.1\n", "")
	for _, c := range []struct{ servers, search, options []string }{
		{servers: []string{"dns.example"}},
		{servers: []string{"192.0.2.1\nnameserver 198.51.100.1"}},
		{servers: []string{"fe80::1%eth0"}},
		{servers: make([]string, 100)},
		{search: []string{"a\nnameserver 198.51.100.1"}},
		{search: []string{"a b"}},
		{search: []string{""}},
		{search: []string{strings.Repeat("a", 300)}},
		{options: []string{"#"}},
		{options: []string{"ndots:1\tx"}},
		{options: make([]string, 100)},
	} {
		if _, err := f.Make(c.servers, c.search, c.options); davit.CodeOf(err) != davit.InvalidConfiguration || len(err.Error()) > 300 {
			t.Errorf("%.80q: %v", c, err)
		}
	}
}

// TestHostileFiles: a file without end, and one that cannot be read.
func TestHostileFiles(t *testing.T) {
	got, err := dns.Files{Host: "/dev/zero"}.Make(nil, nil, nil)
	if err == nil {
		t.Errorf("/dev/zero: got %q", got)
	}
	long := "nameserver 192.0.2.1\n" + strings.Repeat("# comment\n", 1<<20)
	if got, err := files(t, long, "").Make(nil, nil, nil); err != nil || lines(got) != "nameserver 192.0.2.1\n" {
		t.Errorf("a long file: got %.100q, %v", got, err)
	}
	many := strings.Repeat("nameserver 192.0.2.1\n", 1000)
	if got, err := files(t, many, "").Make(nil, nil, nil); err != nil || len(got) > 1000 {
		t.Errorf("many servers: got %d bytes, %v", len(got), err)
	}
	if _, err := (dns.Files{Host: t.TempDir()}).Make(nil, nil, nil); err == nil {
		t.Error("a directory is read")
	}
}

func TestNameservers(t *testing.T) {
	got, err := files(t, "nameserver 127.0.0.53\n", "nameserver 192.0.2.9\n").Nameservers()
	want := []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("192.0.2.9")}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// FuzzMake: whatever the host's file holds, what comes out is a resolv.conf
// that parses to itself, of one known word on each line.
func FuzzMake(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nsearch a b\noptions ndots:1\n")
	f.Add("domain \r\x0b\nsearch #;\noptions a;b")
	f.Fuzz(func(t *testing.T, host string) {
		got, err := files(t, host, "").Make(nil, nil, nil)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(got)) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if word != "#" && word != "nameserver" && word != "search" && word != "options" {
				t.Fatalf("%q became %q", host, got)
			}
		}
		again, err := files(t, string(got), "").Make(nil, nil, nil)
		if err != nil || string(again) != string(got) {
			t.Fatalf("%q became %q, %v", got, again, err)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/bridge"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideEnv is set in a test process that has a network namespace of its own.
const insideEnv = "DAVIT_TEST_OWN_NETNS"

// onHost runs the test's body in a process of its own whose network namespace
// plays the host: the kernel takes everything in it away with the process.
func onHost(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		ip(t, "link", "set", "lo", "up")
		body(t)
		return
	}
	testutil.RequireRoot(t)
	t.Parallel()
	var pattern []string
	for _, part := range strings.Split(t.Name(), "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.run="+strings.Join(pattern, "/"), fmt.Sprintf("-update=%v", testutil.Update()))
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is the thread's
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	default:
		t.Logf("%s", out)
	}
}

// variants are the programs that the firewall is tested with.
func variants(t *testing.T) []string {
	var found []string
	for _, name := range []string{"iptables-nft", "iptables-legacy"} {
		if _, err := os.Stat("/usr/sbin/" + name); err == nil {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		t.Skip("needs iptables in /usr/sbin")
	}
	return found
}

// eachVariant runs the body on a host of its own for each variant.
func eachVariant(t *testing.T, body func(t *testing.T, iptables string)) {
	for _, v := range variants(t) {
		t.Run(v, func(t *testing.T) {
			onHost(t, func(t *testing.T) {
				for _, table := range []string{"filter", "nat"} {
					out, err := exec.CommandContext(t.Context(), "/usr/sbin/"+v, "-t", table, "-S").CombinedOutput()
					if err != nil {
						t.Skipf("the kernel has no table %s for %s: %s", table, v, out)
					}
				}
				body(t, "/usr/sbin/"+v)
			})
		})
	}
}

func ip(t *testing.T, args ...string) string { t.Helper(); return command(t, "ip", args...) }

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// config is the daemon's default.
func config() davit.NetworkConfig {
	return davit.NetworkConfig{Link: "davit0", IPTables: true, IPMasq: true, ICC: true, IPForward: true}
}

// driver returns a driver after Init.
func driver(t *testing.T, cfg davit.NetworkConfig, iptables string, live ...davit.Endpoint) (*bridge.Driver, davit.Network) {
	t.Helper()
	d, err := bridge.New(cfg, bridge.Options{IPTables: iptables})
	if err != nil {
		t.Fatal(err)
	}
	network, err := d.Init(t.Context(), live)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, network
}

// container is a namespace with servers, attached to the network.
type container struct {
	ns      *os.File
	ep      davit.Endpoint
	sockets []*os.File
	servers func() // ends them
}

// newNetns returns a new network namespace: that of a thread which has ended.
func newNetns(t *testing.T) *os.File {
	t.Helper()
	type result struct {
		f   *os.File
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		made <- result{f, err}
	}()
	r := <-made
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { _ = r.f.Close() }) // it may be closed by then
	return r.f
}

// within runs f on a thread in the namespace; nil is the host's.
func within[T any](ns *os.File, f func() (T, error)) (T, error) {
	if ns == nil {
		return f()
	}
	var value T
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			value, err = f()
		}
		done <- err
	}()
	return value, <-done
}

// run makes a container with published ports and attaches it; TCP and UDP
// servers on port 80 inside tell their name and the client's address.
func run(t *testing.T, d *bridge.Driver, name string, ports ...davit.PortRequest) *container {
	t.Helper()
	c := &container{ns: newNetns(t)}
	ep, sockets, err := d.Allocate(t.Context(), strings.Repeat(name, 64)[:64], ports)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Attach(t.Context(), ep, c.ns); err != nil {
		t.Fatal(err)
	}
	c.ep, c.sockets = ep, sockets
	c.servers = serve(t, c.ns, name, ":80")
	return c
}

// stop ends a container as its exit does: the monitor's sockets and the
// namespace go, the driver is told.
func stop(t *testing.T, d *bridge.Driver, c *container) {
	t.Helper()
	c.servers()
	for _, s := range append(c.sockets, c.ns) {
		s.Close()
	}
	if err := d.Detach(t.Context(), c.ep); err != nil {
		t.Error(err)
	}
	d.Release(c.ep)
}

// serve answers on TCP and UDP with "name client-address".
func serve(t *testing.T, ns *os.File, name, address string) (end func()) {
	t.Helper()
	l, err := within(ns, func() (net.Listener, error) { return net.Listen("tcp4", address) })
	if err != nil {
		t.Fatal(err)
	}
	u, err := within(ns, func() (net.PacketConn, error) { return net.ListenPacket("udp4", address) })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			fmt.Fprintf(conn, "%s %s", name, host)
			conn.Close()
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 64)
		for {
			_, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(from.String())
			u.WriteTo([]byte(name+" "+host), from)
		}
	}()
	end = sync.OnceFunc(func() { l.Close(); u.Close(); <-done; <-done })
	t.Cleanup(end)
	return end
}

// ask returns what the server at the address says.
func ask(ns *os.File, network, address string, timeout time.Duration) (string, error) {
	conn, err := within(ns, func() (net.Conn, error) { return net.DialTimeout(network, address, timeout) })
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return askOn(conn, timeout)
}

// dialUDP returns a socket of a namespace that keeps its port.
func dialUDP(ns *os.File, address string) (net.Conn, error) {
	return within(ns, func() (net.Conn, error) { return net.Dial("udp4", address) })
}

func askOn(conn net.Conn, timeout time.Duration) (string, error) {
	conn.SetDeadline(time.Now().Add(timeout))
	if strings.HasPrefix(conn.LocalAddr().Network(), "udp") {
		if _, err := conn.Write([]byte("?")); err != nil {
			return "", err
		}
		buf := make([]byte, 128)
		n, err := conn.Read(buf)
		return string(buf[:n]), err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && len(answer) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return string(answer), err
}

// Names of the tests' wider network (RFC 5737).
const (
	hostOutside = "192.0.2.1"
	outsideAddr = "192.0.2.2"
)

// outside gives the host a network beyond the bridge and returns the namespace
// of a neighbour on it.
func outside(t *testing.T) *os.File {
	t.Helper()
	ns := newNetns(t)
	veth := netlink.NewVeth(netlink.NewLinkAttrs())
	veth.Name, veth.PeerName, veth.PeerNamespace = "up0", "eth0", netlink.NsFd(int(ns.Fd()))
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	ip(t, "address", "add", hostOutside+"/24", "dev", "up0")
	ip(t, "link", "set", "up0", "up")
	in(t, ns, "ip", "link", "set", "lo", "up")
	in(t, ns, "ip", "address", "add", outsideAddr+"/24", "dev", "eth0")
	in(t, ns, "ip", "link", "set", "eth0", "up")
	return ns
}

// in runs a command in a namespace.
func in(t *testing.T, ns *os.File, name string, args ...string) {
	t.Helper()
	_, err := within(ns, func() (struct{}, error) {
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s %v: %w: %s", name, args, err, out)
		}
		return struct{}{}, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tcp and udp ask for a published port 80 of the container.
func tcp(hostIP string, port uint16) davit.PortRequest { return published("tcp", hostIP, port) }
func udp(hostIP string, port uint16) davit.PortRequest { return published("udp", hostIP, port) }

func published(proto, hostIP string, port uint16) davit.PortRequest {
	req := davit.PortRequest{Proto: proto, ContainerPort: 80, FirstPort: port, LastPort: port}
	if hostIP != "" {
		req.HostIP = netip.MustParseAddr(hostIP)
	}
	return req
}

// links lists the names of the host's links that begin with the prefix.
func links(t *testing.T, prefix string) []string {
	t.Helper()
	list, err := netlinksafe.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range list {
		if strings.HasPrefix(l.Attrs().Name, prefix) {
			names = append(names, l.Attrs().Name)
		}
	}
	slices.Sort(names)
	return names
}

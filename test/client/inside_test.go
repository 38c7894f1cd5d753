// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

func TestExec(t *testing.T) {
	e := daemon(t)
	id := e.start(t, idle(func(s *spec) { s.Env = []string{"OF=container"} }))
	do := func(script string) client.ExecCreateOptions {
		return client.ExecCreateOptions{Cmd: []string{"sh", "-c", script}}
	}
	for _, row := range []struct {
		line string
		o    client.ExecCreateOptions
		ask  func(*client.ExecCreateOptions)
		want ran
	}{
		{"both streams", do("echo out; echo err >&2"), func(*client.ExecCreateOptions) {}, ran{0, "out\n", "err\n"}},
		{"exit code", do("exit 9"), func(*client.ExecCreateOptions) {}, ran{9, "", ""}},
		{"terminal", do("test -t 1 && stty size"), func(o *client.ExecCreateOptions) {
			o.TTY, o.ConsoleSize = true, client.ConsoleSize{Height: 33, Width: 77}
		}, ran{0, "33 77\r\n", ""}},
		{"user", do("id -u; id -g"), func(o *client.ExecCreateOptions) { o.User = "joe:staff" }, ran{0, "1000\n50\n", ""}},
		{"environment", do("echo $OF $A"), func(o *client.ExecCreateOptions) { o.Env = []string{"A=exec"} }, ran{0, "container exec\n", ""}},
		{"working directory", do("pwd"), func(o *client.ExecCreateOptions) { o.WorkingDir = "/var/www" }, ran{0, "/var/www\n", ""}},
		{"privileged", do("sed -n 's/^CapEff:[^0-9a-f]*000001.*/all/p' /proc/self/status"), func(o *client.ExecCreateOptions) { o.Privileged = true }, ran{0, "all\n", ""}},
		{"not privileged", do("sed -n 's/^CapEff:[^0-9a-f]*//p' /proc/self/status"), func(*client.ExecCreateOptions) {}, ran{0, "00000000a80425fb\n", ""}},
	} {
		t.Run(row.line, func(t *testing.T) {
			row.ask(&row.o)
			if got := e.exec(t, id, row.o); got != row.want {
				t.Errorf("%+v, want %+v", got, row.want)
			}
		})
	}
	t.Run("detached", func(t *testing.T) {
		made, err := e.cli.ExecCreate(t.Context(), id, do("echo x >/detached; exit 4"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.cli.ExecStart(t.Context(), made.ID, client.ExecStartOptions{Detach: true}); err != nil {
			t.Fatal(err)
		}
		testutil.Eventually(t, patience, "its end", func() bool {
			i, err := e.cli.ExecInspect(t.Context(), made.ID, client.ExecInspectOptions{})
			return err == nil && !i.Running && i.ExitCode == 4
		})
		check(t, "its file", e.in(t, id, "cat /detached"), "x")
	})
	t.Run("input and its end", func(t *testing.T) {
		made, err := e.cli.ExecCreate(t.Context(), id, client.ExecCreateOptions{Cmd: []string{"wc", "-c"}, AttachStdin: true, AttachStdout: true})
		if err != nil {
			t.Fatal(err)
		}
		r, err := e.cli.ExecAttach(t.Context(), made.ID, client.ExecAttachOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		fmt.Fprint(r.Conn, strings.Repeat("x", 100000))
		if err := r.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		out, _ := split(t, r.Reader)
		check(t, "wc", out, "100000")
	})
	t.Run("what is not there", func(t *testing.T) {
		got := e.exec(t, id, client.ExecCreateOptions{Cmd: []string{"not-there"}})
		if got.code != 127 || !strings.Contains(got.stdout+got.stderr, "executable file not found") {
			t.Errorf("%+v", got)
		}
		if _, err := e.cli.ExecCreate(t.Context(), e.create(t, idle()), do("true")); statusOf(err) != 409 {
			t.Errorf("exec in a container that does not run: %v", err)
		}
		if _, err := e.cli.ExecInspect(t.Context(), "nobody", client.ExecInspectOptions{}); statusOf(err) != 404 {
			t.Errorf("inspect of an exec that is not there: %v", err)
		}
	})
	t.Run("detach keys", func(t *testing.T) {
		made, err := e.cli.ExecCreate(t.Context(), id, client.ExecCreateOptions{Cmd: []string{"cat"}, AttachStdin: true, AttachStdout: true, TTY: true, DetachKeys: "ctrl-x,y"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := e.cli.ExecAttach(t.Context(), made.ID, client.ExecAttachOptions{TTY: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		fmt.Fprint(r.Conn, "\x18y")
		if _, err := io.ReadAll(r.Reader); err != nil {
			t.Errorf("after the keys: %v", err)
		}
		if i, err := e.cli.ExecInspect(t.Context(), made.ID, client.ExecInspectOptions{}); err != nil || !i.Running {
			t.Errorf("the exec that was detached from is %+v, %v", i, err)
		}
	})
	t.Run("resize", func(t *testing.T) {
		made, err := e.cli.ExecCreate(t.Context(), id, client.ExecCreateOptions{Cmd: []string{"sh", "-c", "read x; stty size"}, AttachStdin: true, AttachStdout: true, TTY: true})
		if err != nil {
			t.Fatal(err)
		}
		r, err := e.cli.ExecAttach(t.Context(), made.ID, client.ExecAttachOptions{TTY: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := e.cli.ExecResize(t.Context(), made.ID, client.ExecResizeOptions{Height: 44, Width: 55}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(r.Conn, "\n")
		if data, err := io.ReadAll(r.Reader); err != nil || !strings.HasSuffix(string(data), "44 55\r\n") {
			t.Errorf("%q, %v", data, err)
		}
	})
}

func (e *engine) attach(t testing.TB, id string, o client.ContainerAttachOptions) client.ContainerAttachResult {
	t.Helper()
	o.Stream = true
	r, err := e.cli.ContainerAttach(t.Context(), id, o)
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestAttach(t *testing.T) {
	e := daemon(t)
	all := client.ContainerAttachOptions{Stdin: true, Stdout: true, Stderr: true}
	t.Run("input is closed by half", func(t *testing.T) {
		id := e.create(t, sh("wc -c; echo err >&2", func(s *spec) { s.OpenStdin, s.StdinOnce, s.AttachStdin = true, true, true }))
		r := e.attach(t, id, all)
		e.startAgain(t, id)
		fmt.Fprint(r.Conn, strings.Repeat("x", 200000))
		if err := r.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		out, errs := split(t, r.Reader)
		check(t, "stdout", out, "200000")
		check(t, "stderr", errs, "err")
	})
	t.Run("many at once, and what was before", func(t *testing.T) {
		id := e.start(t, sh("echo before; read line; echo after $line", func(s *spec) { s.OpenStdin = true }))
		testutil.Eventually(t, patience, "the first line", func() bool {
			out, _ := e.output(t, id, client.ContainerLogsOptions{ShowStdout: true})
			return out == "before\n"
		})
		var each []client.ContainerAttachResult
		for range 50 {
			each = append(each, e.attach(t, id, client.ContainerAttachOptions{Stdout: true, Logs: true}))
		}
		writer := e.attach(t, id, client.ContainerAttachOptions{Stdin: true})
		fmt.Fprintln(writer.Conn, "all")
		for i, r := range each {
			if out, _ := split(t, r.Reader); out != "before\nafter all\n" {
				t.Errorf("the %d. got %q", i, out)
			}
		}
	})
	t.Run("terminal, resize and detach keys", func(t *testing.T) {
		id := e.start(t, sh("while read x; do stty size; done", func(s *spec) { s.Tty, s.OpenStdin = true, true }))
		o := all
		o.DetachKeys = "ctrl-q"
		r := e.attach(t, id, o)
		if _, err := e.cli.ContainerResize(t.Context(), id, client.ContainerResizeOptions{Height: 22, Width: 88}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(r.Conn, "\n")
		lines := bufio.NewReader(r.Reader)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(line) == "22 88" {
				break
			}
		}
		fmt.Fprint(r.Conn, "\x11")
		if _, err := io.ReadAll(lines); err != nil {
			t.Errorf("after the keys: %v", err)
		}
		if !e.inspect(t, id).State.Running {
			t.Error("the container that was detached from has ended")
		}
	})
	t.Run("websocket", func(t *testing.T) {
		id := e.start(t, sh("read x; echo got $x", func(s *spec) { s.OpenStdin = true }))
		got := e.websocket(t, "/containers/"+id+"/attach/ws?stream=1&stdin=1&stdout=1", "word\n")
		if !strings.Contains(got, "got word") {
			t.Errorf("%q", got)
		}
	})
}

// websocket sends one masked frame (RFC 6455) and returns what comes until there
// is a whole line, with the frames' headers.
func (e *engine) websocket(t *testing.T, path, text string) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", e.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://d\r\n\r\n", path)
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the answer is %+v, %v", res, err)
	}
	frame := append([]byte{0x82, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // masked with zeros
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	line, err := r.ReadString('\n')
	if err != nil {
		t.Errorf("after %q: %v", line, err)
	}
	return line
}

func TestPublishedPorts(t *testing.T) {
	e := daemon(t)
	port := network.MustParsePort
	talk := func(t *testing.T, proto, address string) string {
		t.Helper()
		var got string
		testutil.Eventually(t, patience, "an answer of "+proto+" "+address, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			conn, err := (&net.Dialer{}).DialContext(ctx, proto, address)
			if err != nil {
				return false
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
				return false
			}
			fmt.Fprint(conn, "word")
			buf := make([]byte, 16)
			n, err := conn.Read(buf)
			got = string(buf[:n])
			return err == nil
		})
		return got
	}
	both := func(s *spec) {
		s.Cmd = []string{"sh", "-c", "echod tcp 7 & echod udp 7 & wait"}
		s.ExposedPorts = network.PortSet{port("7/tcp"): {}, port("7/udp"): {}}
	}
	for _, row := range []struct {
		line, proto, address string
		bindings             network.PortMap
	}{
		{"TCP", "tcp", "127.0.0.1:17007", network.PortMap{port("7/tcp"): {{HostPort: "17007"}}}},
		{"UDP", "udp", "127.0.0.1:17007", network.PortMap{port("7/udp"): {{HostPort: "17007"}}}},
		{"one address", "tcp", "192.0.2.2:17007", network.PortMap{port("7/tcp"): {{HostIP: netip.MustParseAddr("192.0.2.2"), HostPort: "17007"}}}},
	} {
		t.Run(row.line, func(t *testing.T) {
			e.start(t, sh("", both, func(s *spec) { s.Host.PortBindings = row.bindings }))
			check(t, "the echo", talk(t, row.proto, row.address), "word")
		})
	}
	t.Run("range", func(t *testing.T) {
		ask := func(s *spec) { s.Host.PortBindings = network.PortMap{port("7/tcp"): {{HostPort: "17100-17101"}}} }
		got := map[string]bool{}
		for range 2 {
			id := e.start(t, sh("", both, ask))
			p := e.inspect(t, id).NetworkSettings.Ports[port("7/tcp")][0].HostPort
			check(t, "the echo", talk(t, "tcp", "127.0.0.1:"+p), "word")
			got[p] = true
		}
		if !got["17100"] || !got["17101"] {
			t.Errorf("the ports are %v", got)
		}
		third := e.create(t, sh("", both, ask))
		if _, err := e.cli.ContainerStart(t.Context(), third, client.ContainerStartOptions{}); err == nil {
			t.Error("a third container was started")
		}
	})
	t.Run("all that is exposed", func(t *testing.T) {
		id := e.start(t, sh("", both, func(s *spec) { s.Host.PublishAllPorts = true }))
		ports := e.inspect(t, id).NetworkSettings.Ports
		for _, proto := range []string{"tcp", "udp"} {
			if b := ports[port("7/"+proto)]; len(b) == 0 {
				t.Errorf("7/%s is not published: %v", proto, ports)
			} else {
				check(t, "the echo", talk(t, proto, "127.0.0.1:"+b[0].HostPort), "word")
			}
		}
	})
	t.Run("a port that is taken", func(t *testing.T) {
		l, err := net.Listen("tcp", "0.0.0.0:17200")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		id := e.create(t, sh("", both, func(s *spec) { s.Host.PortBindings = network.PortMap{port("7/tcp"): {{HostPort: "17200"}}} }))
		_, err = e.cli.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
		if err == nil || !strings.Contains(err.Error(), "17200") || !strings.Contains(err.Error(), "already") {
			t.Errorf("start: %v", err)
		}
	})
}

func TestNames(t *testing.T) {
	seeAll(t, []seen{
		{"extra hosts", func(s *spec) { s.Host.ExtraHosts = []string{"db:192.0.2.7", "gw:host-gateway"} }, `grep -c -e '^192.0.2.7.*db' -e '^[0-9.]*[[:space:]]*gw$' /etc/hosts`, "2"},
		{"DNS", func(s *spec) {
			s.Host.DNS, s.Host.DNSSearch, s.Host.DNSOptions = []netip.Addr{netip.MustParseAddr("192.0.2.53")}, []string{"example.test"}, []string{"ndots:3"}
		}, "grep -v '^#' /etc/resolv.conf | sort", "~(?s)nameserver 192.0.2.53.*options ndots:3.*search example.test"},
		{"hostname is the id", func(*spec) {}, "hostname | wc -c", "13"},
	})
}

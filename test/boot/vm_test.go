// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// vm boots a tree as a virtual machine: Debian's own kernel, cgroup v2, nothing
// of this machine's.
type vm struct {
	dir   string // of the disk's image and the socket
	disk  string
	conn  net.Conn
	lines *bufio.Reader
	asked int
}

// agent answers on the second serial line: a line is a number and a script, in
// base64; the answer is the number, the exit status and the output. systemd
// starts it.
const agent = `#!/bin/bash
exec 3<>/dev/ttyS1
stty raw -echo <&3
while read -r -u 3 number script; do
	out=$(base64 -d <<<"$script" | timeout 80 ` + environment + ` /bin/bash -eu 2>&1 | base64 -w 0; exit "${PIPESTATUS[1]}")
	echo "$number $? $out" >&3
done
`

const agentUnit = `[Unit]
After=dbus.service
[Service]
ExecStart=/agent
Restart=always
RestartSec=200ms
[Install]
WantedBy=multi-user.target
`

func (m *vm) boot(g *guest) {
	t := g.t
	t.Helper()
	g.slow = true
	if m.disk == "" {
		m.prepare(g)
	}
	kernel := m.one(g, "boot/vmlinuz-*")
	initrd := m.one(g, "boot/initrd.img-*")
	socket := m.dir + "/agent"
	_ = os.Remove(socket) // of the boot before
	cmd := exec.Command("nsenter", "--net=/run/netns/"+g.netns, "qemu-system-x86_64",
		"-machine", "accel="+os.Getenv("DAVIT_BOOT_ACCEL")+"tcg", "-m", "2048", "-smp", "2", "-nographic", "-no-reboot", "-nodefaults",
		"-serial", "stdio", "-kernel", kernel, "-initrd", initrd,
		"-append", "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 systemd.show_status=no",
		"-drive", "file="+m.disk+",format=raw,if=virtio,cache=unsafe",
		"-netdev", "tap,id=wan,ifname=outside0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=wan",
		"-serial", "unix:"+socket+",server=on,wait=off")
	g.supervise(cmd, func() { _ = cmd.Process.Kill() })
	g.eventually(10*time.Second, "the virtual machine has its serial line", func() bool {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		m.conn, m.lines = conn, bufio.NewReader(conn)
		return true
	})
	conn := m.conn
	t.Cleanup(func() { conn.Close() })
	g.eventually(3*time.Minute, "the agent answers", func() bool {
		_, err := m.ask("true", 2*time.Second)
		return err == nil
	})
	g.must("ip link set eth0 name wan0")
	g.network()
}

// prepare makes the disk.
func (m *vm) prepare(g *guest) {
	t := g.t
	t.Helper()
	for path, text := range map[string]string{"/agent": agent, "/etc/systemd/system/agent.service": agentUnit} {
		if err := os.WriteFile(g.root+path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	wants := g.root + "/etc/systemd/system/multi-user.target.wants"
	host(t, "mkdir", "-p", wants)
	host(t, "ln", "-sf", "../agent.service", wants+"/agent.service")
	m.dir = t.TempDir()
	m.disk = m.dir + "/disk"
	host(t, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", g.root, m.disk, "3G")
}

// one is the only file of the tree that matches.
func (m *vm) one(g *guest, pattern string) string {
	g.t.Helper()
	found, err := filepath.Glob(filepath.Join(g.root, pattern))
	if err != nil || len(found) != 1 {
		g.t.Fatalf("%d files match %s, not one", len(found), pattern)
	}
	return found[0]
}

func (m *vm) exec(script string) (result, error) { return m.ask(script, limit) }

// ask waits for the answer to this question: there are old ones, from before the
// agent was up, that nobody waited for.
func (m *vm) ask(script string, within time.Duration) (result, error) {
	if err := m.conn.SetDeadline(time.Now().Add(within)); err != nil {
		return result{}, err
	}
	m.asked++
	if _, err := fmt.Fprintln(m.conn, m.asked, base64.StdEncoding.EncodeToString([]byte(script))); err != nil {
		return result{}, err
	}
	for {
		line, err := m.lines.ReadString('\n')
		if err != nil {
			return result{}, err
		}
		number, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if number != strconv.Itoa(m.asked) {
			continue
		}
		status, text, _ := strings.Cut(rest, " ")
		code, err := strconv.Atoi(status)
		if err != nil {
			return result{}, fmt.Errorf("the agent answered %q", line)
		}
		out, err := base64.StdEncoding.DecodeString(text)
		return result{out: string(out), code: code}, err
	}
}

// fetch reads the disk's file system without mounting it.
func (m *vm) fetch(path string) (string, error) {
	to := m.dir + "/fetched"
	if err := os.MkdirAll(to, 0o700); err != nil {
		return "", err
	}
	if out, err := exec.Command("debugfs", "-R", "rdump "+path+" "+to, m.disk).CombinedOutput(); err != nil {
		return "", fmt.Errorf("debugfs: %w: %s", err, out)
	}
	where := filepath.Join(to, filepath.Base(path))
	if _, err := os.Stat(where); errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("the guest has no %s", path)
	}
	return where, nil
}

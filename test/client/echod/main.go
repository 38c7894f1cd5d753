// SPDX-License-Identifier: Apache-2.0

// Echod sends back what arrives at a port, by the protocol that is asked for:
// what busybox has no applet for.
package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: echod tcp|udp|sctp PORT")
		os.Exit(2)
	}
	serve := map[string]func(port string) error{"tcp": stream, "udp": datagrams, "sctp": associations}[os.Args[1]]
	if serve == nil {
		fmt.Fprintf(os.Stderr, "echod: %q is not a protocol\n", os.Args[1])
		os.Exit(2)
	}
	if err := serve(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "echod:", err)
		os.Exit(1)
	}
}

func stream(port string) error {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	return accept(l)
}

func accept(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn) // the other side may go at any moment
		}()
	}
}

func datagrams(port string) error {
	conn, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(buf[:n], from); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// associations serves one-to-one sockets of SCTP (RFC 6458), which are read and
// written as those of TCP are.
func associations(port string) error {
	addr, err := net.ResolveTCPAddr("tcp4", ":"+port)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return fmt.Errorf("cannot make a socket of SCTP: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: addr.Port}); err != nil {
		return err
	}
	if err := unix.Listen(fd, 8); err != nil {
		return err
	}
	fmt.Println("listening")
	buf := make([]byte, 64<<10)
	for {
		conn, _, err := unix.Accept(fd)
		if err != nil {
			return err
		}
		if n, err := unix.Read(conn, buf); err == nil {
			_, _ = unix.Write(conn, buf[:n]) // as above
		}
		unix.Close(conn)
	}
}

// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// TestTLS attaches over TLS: half closing and the clean end work there too,
// and the caller has no uid.
func TestTLS(t *testing.T) {
	config, roots := certificate(t)
	config.ClientCAs, config.ClientAuth = roots, tls.RequireAndVerifyClientCert
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, eng: engine.New(slog.New(slog.DiscardHandler)), served: make(chan error, 1), log: &logBuffer{}}
	d.eng.SetAuthorizer(certified{})
	callers := make(chan engine.Caller, 1)
	handle(d, engine.Follow, func(_ context.Context, j *engine.Job, q davit.Attach) (davit.Nothing, error) {
		callers <- j.Caller()
		s, err := q.Open(true)
		if err != nil {
			return davit.Nothing{}, err
		}
		_, err = io.Copy(s.Stdout, s.Stdin)
		return davit.Nothing{}, err
	})
	d.Server = New(d.eng, Options{Sockets: []Socket{{davit.DoorTLS, tls.NewListener(l, config)}}})
	d.Open()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { d.served <- d.Serve(ctx, nil) }()
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "example.com", Certificates: config.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, attachReq("", "stream=1&stdin=1&stdout=1")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if line, _ := head(t, r); line != "HTTP/1.1 101 UPGRADED" {
		t.Errorf("head %q", line)
	}
	if _, err := io.WriteString(conn, "echo"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "echo" {
		t.Errorf("got %q, %v", b, err)
	}
	if c := within(t, "the job", callers); c.UID != engine.NoUID {
		t.Errorf("caller %+v: a TLS client has no uid here", c)
	}
	if err := d.Probe(t.Context()); err == nil {
		t.Error("probe through a TLS socket succeeded")
	}
	cancel()
	if err := within(t, "Serve's return", d.served); err != nil {
		t.Error(err)
	}
}

// certificate makes one for both ends, and the pool that has it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err == nil {
		cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots
}

// TestTLSWithoutCertificate has a listener that forgot to demand one: the
// class does not.
func TestTLSWithoutCertificate(t *testing.T) {
	config, roots := certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(engine.New(slog.New(slog.DiscardHandler)), Options{Sockets: []Socket{{davit.DoorTLS, tls.NewListener(l, config)}}})
	s.Open()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, nil) }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}}
	resp, err := client.Get("https://" + l.Addr().String() + "/version")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %d without a certificate, want 403", resp.StatusCode)
	}
	cancel()
	if err := within(t, "Serve's return", served); err != nil {
		t.Error(err)
	}
}

// TestStopCuts has a client that does not send the rest of its body when the
// server stops.
func TestStopCuts(t *testing.T) {
	d := openDoor(t)
	d.opts.DrainTimeout = 50 * time.Millisecond
	reading := make(chan struct{})
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.Load) ([]davit.Image, error) {
		close(reading)
		_, err := io.Copy(io.Discard, q.Source)
		return nil, err
	})
	_, _ = d.dial("POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 1000\r\n\r\nhalf")
	<-reading
	d.stop()
	if err := within(t, "Serve's return", d.served); err != nil {
		t.Error(err)
	}
	d.served <- nil
}

// certified allows who came with a certificate.
type certified struct{}

func (certified) Authorize(_ context.Context, c engine.Caller, _ engine.Access) error {
	if c.Door != davit.DoorTLS {
		return engine.ErrDenied
	}
	return nil
}

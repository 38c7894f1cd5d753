// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus"
)

const defaultHost = "unix:///run/davit/davit.sock"

// listen takes the sockets that systemd passed; when it passed none, it makes
// those of --host.
func (d *daemon) listen() error {
	hosts := d.config.Hosts
	if len(hosts) == 0 && !d.systemd.Activated() {
		hosts = []string{defaultHost}
	}
	sockets, err := d.systemd.Listen(hosts, d.config.Group)
	if err != nil {
		return err
	}
	for i, s := range sockets {
		if sockets[i].Listener, err = d.pause.Listener(s.Listener); err != nil {
			return err
		}
		if s.Name != "api-tls" {
			continue
		}
		config, err := mutualTLS(&d.config)
		if err != nil {
			return err
		}
		sockets[i].Listener = tls.NewListener(sockets[i].Listener, config)
	}
	d.sockets = sockets
	return nil
}

// mutualTLS demands a certificate of each client.
func mutualTLS(c *davit.Config) (*tls.Config, error) {
	if c.TLSCACert == "" || c.TLSCert == "" || c.TLSKey == "" {
		return nil, errors.New("the api-tls socket needs tlscacert, tlscert and tlskey in the configuration: there is no TCP without client certificates")
	}
	ca, err := os.ReadFile(c.TLSCACert)
	if err != nil {
		return nil, fmt.Errorf("cannot read tlscacert: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("cannot read tlscacert %s: it holds no PEM certificate", c.TLSCACert)
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("cannot read tlscert and tlskey: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}, nil
}

// busDoor is the bus as a door that may be missing: the daemon says so once
// and serves REST.
type busDoor struct {
	log    *slog.Logger
	server *dbus.Server
	// supervised says that systemd starts the daemon anew when it fails, which
	// is how it gets a lost bus back.
	supervised bool
	up         atomic.Bool
}

// Serve serves the bus; without one it fails with AlreadySo, "skipped".
func (b *busDoor) Serve(ctx context.Context, ready func()) error {
	err := b.server.Serve(ctx, func() {
		b.up.Store(true)
		ready()
	})
	if errors.Is(err, dbus.ErrNoBus) {
		b.log.Warn("no system bus: the engine is served on its sockets only", "reason", err)
		return davit.Errorf(davit.AlreadySo, "no system bus")
	}
	if errors.Is(err, dbus.ErrNameTaken) {
		b.log.Warn("another engine has the name on the bus: this one is served on its sockets only", "name", davit.BusName)
		return davit.Errorf(davit.AlreadySo, "another engine is on the bus")
	}
	if err != nil && b.up.Load() && !b.supervised {
		// Nobody would start the daemon again: the sockets matter more.
		b.up.Store(false)
		b.log.Error("the bus was lost: the engine is served on its sockets only until it is started again", "error", err)
		return davit.Errorf(davit.AlreadySo, "the bus was lost")
	}
	return err
}

func (b *busDoor) ping(ctx context.Context) error {
	if !b.up.Load() {
		return nil
	}
	if err := b.server.Ping(ctx); err != nil {
		return fmt.Errorf("cannot reach the engine through the bus: %w", err)
	}
	return nil
}

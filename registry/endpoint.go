// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// The registry of names without one is known by another name than it has.
const (
	hubDomain = "docker.io"
	hubHost   = "registry-1.docker.io"
)

// insecureRule is an entry of insecure-registries.
type insecureRule struct {
	host  string // host[:port], lower case
	block netip.Prefix
}

// insecureRules are those that count at one moment.
type insecureRules struct {
	rules []insecureRule
	given bool // the administrator gave some
}

// CheckInsecure tells what is wrong with a list of insecure registries, with
// code InvalidConfiguration.
func CheckInsecure(list []string) error {
	_, err := parseInsecure(list)
	return err
}

// parseInsecure returns the rules of the good entries and of loopback.
func parseInsecure(list []string) (rules []insecureRule, err error) {
	rules = []insecureRule{
		{host: "localhost"},
		{block: netip.MustParsePrefix("127.0.0.0/8")},
		{block: netip.MustParsePrefix("::1/128")},
	}
	for _, entry := range list {
		block, notRange := netip.ParsePrefix(entry)
		switch {
		case notRange == nil:
			rules = append(rules, insecureRule{block: block.Masked()})
		case entry == "" || strings.ContainsAny(entry, "/ "):
			err = errors.Join(err, davit.Errorf(davit.InvalidConfiguration,
				"insecure registry %q: write it as HOST, HOST:PORT or an address range", entry))
		default:
			rules = append(rules, insecureRule{host: strings.ToLower(entry)})
		}
	}
	return rules, err
}

// isInsecure tells whether the configuration lets domain, host[:port], do
// without a certificate. A name is looked up only if a range was configured.
func (c *Client) isInsecure(ctx context.Context, domain string) bool {
	domain = strings.ToLower(domain)
	host := domain
	if h, _, err := net.SplitHostPort(domain); err == nil {
		host = h
	}
	insecure := c.insecure.Load()
	var addrs []netip.Addr
	host = strings.Trim(host, "[]")
	if addr, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{addr.Unmap()}
	} else if insecure.given {
		addrs, _ = net.DefaultResolver.LookupNetIP(ctx, "ip", host) // unknown: in no range
	}
	for _, rule := range insecure.rules {
		if rule.host != "" && (rule.host == domain || rule.host == host) {
			return true
		}
		for _, addr := range addrs {
			if rule.block.IsValid() && rule.block.Contains(addr.Unmap()) {
				return true
			}
		}
	}
	return false
}

// session is one job's connection to a registry.
type session struct {
	client    *Client
	named     reference.Named // nil when it is about no repository
	verb      string          // what it is for, in errors: "pull", "push"
	actions   []string        // for which it asks permission
	blobs     davit.Blobs
	scheme    string
	host      string      // where the API is
	reached   atomic.Bool // an answer came, so the name and the port are right
	transport *http.Transport
	auth      *auth.Client
}

// open connects to the registry of named, to pull.
func (c *Client) open(ctx context.Context, named reference.Named, credential *davit.RegistryAuth) (*session, error) {
	domain := reference.Domain(named)
	host := domain
	if domain == hubDomain {
		host = hubHost
	}
	s, err := c.connect(ctx, domain, host, credential)
	if err != nil {
		return nil, err
	}
	s.named, s.verb, s.actions = named, "pull", []string{auth.ActionPull}
	return s, nil
}

// connect chooses how to speak to the registry domain, which is at host. HTTPS
// with a certificate that holds is the only way to one that is not configured
// as insecure; an insecure one is tried without the check and then without TLS.
func (c *Client) connect(ctx context.Context, domain, host string, credential *davit.RegistryAuth) (*session, error) {
	s := &session{client: c, scheme: "https", host: host}
	config, err := c.tlsConfig(domain)
	if err != nil {
		return nil, err
	}
	insecure := c.isInsecure(ctx, domain)
	config.InsecureSkipVerify = insecure //nolint:gosec // the administrator says so
	s.transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           c.dial,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		MaxIdleConnsPerHost:   parallel,
		ForceAttemptHTTP2:     true,
		// Else a Content-Encoding would be undone before the digest is taken,
		// and a small answer could become a big one.
		DisableCompression: true,
	}
	s.auth = &auth.Client{
		Client: &http.Client{Transport: s.transport, CheckRedirect: checkRedirect},
		Cache:  auth.NewCache(),
		Header: s.header(),
		Credential: func(_ context.Context, host string) (auth.Credential, error) {
			if host != s.host {
				return auth.EmptyCredential, nil
			}
			return credentialOf(credential)
		},
	}
	if insecure {
		s.auth.BlockedRealmPrefixes = []netip.Prefix{} // its token server may be on this machine, as it may
		if err := s.probe(ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// header is sent with every request.
func (s *session) header() http.Header {
	h := http.Header{}
	if agent := s.client.opts.UserAgent; agent != "" {
		h.Set("User-Agent", agent)
	}
	return h
}

func (s *session) close() { s.transport.CloseIdleConnections() }

// probe falls back to HTTP if there is no TLS at all.
func (s *session) probe(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.host+"/v2/", nil)
	if err != nil {
		return davit.Errorf(davit.InvalidName, "registry %s: %w", s.host, err)
	}
	req.Header = s.header()
	resp, err := s.auth.Client.Do(req)
	if err == nil {
		resp.Body.Close()
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.scheme = "http"
	s.client.opts.Log.Warn("the registry does not speak TLS; using plain HTTP, as it is configured to be insecure",
		"registry", s.host, "error", withoutURL(err))
	return nil
}

// redirectError refuses to follow a redirect.
type redirectError string

func (e redirectError) Error() string { return string(e) }

// checkRedirect refuses to leave TLS; the storage behind a registry is often
// elsewhere.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return redirectError("it redirects too often")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return redirectError("it redirects from https to " + req.URL.Scheme)
	}
	return nil
}

// credentialOf gives what a client sent, in oras' terms.
func credentialOf(a *davit.RegistryAuth) (auth.Credential, error) {
	if a == nil {
		return auth.EmptyCredential, nil
	}
	cred := auth.Credential{Username: a.Username, Password: a.Password, RefreshToken: a.IdentityToken, AccessToken: a.RegistryToken}
	if a.Auth != "" && a.Username == "" {
		plain, err := base64.StdEncoding.DecodeString(a.Auth)
		user, password, ok := strings.Cut(string(plain), ":")
		if err != nil || !ok {
			// The text is a secret: no error shows it.
			return cred, davit.Errorf(davit.RegistryUnauthorized, "the registry credentials are not base64 of user:password")
		}
		cred.Username, cred.Password = user, strings.TrimRight(password, "\x00")
	}
	return cred, nil
}

// tlsConfig reads the certificates of a registry: *.crt are authorities beside
// the system's, *.cert and *.key of one name a client's certificate.
func (c *Client) tlsConfig(domain string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.opts.CertsDir == "" {
		return config, nil
	}
	dir := filepath.Join(c.opts.CertsDir, domain)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return config, nil
	}
	if err != nil {
		return nil, davit.Errorf(davit.InvalidConfiguration, "cannot read the certificates of registry %s: %w", domain, err)
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		switch filepath.Ext(path) {
		case ".crt":
			err = addAuthority(config, path)
		case ".cert":
			err = addCertificate(config, path)
		case ".key":
			cert := strings.TrimSuffix(path, ".key") + ".cert"
			if _, statErr := os.Stat(cert); statErr != nil {
				err = fmt.Errorf("missing client certificate %s for key %s: %w", filepath.Base(cert), entry.Name(), statErr)
			}
		}
		if err != nil {
			return nil, davit.Errorf(davit.InvalidConfiguration, "cannot use the certificates of registry %s: %w", domain, err)
		}
	}
	return config, nil
}

func addAuthority(config *tls.Config, path string) error {
	if config.RootCAs == nil {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return fmt.Errorf("cannot read the system's certificates: %w", err)
		}
		config.RootCAs = pool
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", filepath.Base(path), err)
	}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", path)
	}
	return nil
}

func addCertificate(config *tls.Config, path string) error {
	key := strings.TrimSuffix(path, ".cert") + ".key"
	cert, err := tls.LoadX509KeyPair(path, key)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("missing key %s for client certificate %s (the certificate of an authority is named *.crt): %w",
			filepath.Base(key), filepath.Base(path), err)
	}
	if err != nil {
		return fmt.Errorf("cannot load client certificate %s: %w", filepath.Base(path), err)
	}
	config.Certificates = append(config.Certificates, cert)
	return nil
}

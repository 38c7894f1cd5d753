// SPDX-License-Identifier: Apache-2.0

// Package registry fetches images from, and sends them to, registries that speak the OCI
// distribution specification or Docker's registry API v2 before it. Nothing
// that comes from a registry is believed: each body has a bound, and each
// manifest and blob its digest verified.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

const (
	parallel = 3 // layers at a time, Docker's default
	// maxConfig bounds the config of an image, which is held in memory.
	maxConfig = 8 << 20
	// maxLayers is more than overlayfs or any builder makes.
	maxLayers = 1000
)

// Options configure a Client.
type Options struct {
	// Insecure lists registries, host[:port] or an address range, whose
	// certificate is not checked and that may be spoken to by plain HTTP.
	// localhost and loopback addresses are always among them, as with Docker.
	Insecure  []string
	CertsDir  string // host[:port]/{*.crt,*.cert,*.key}; "" or absent: the system's only
	UserAgent string
	Log       *slog.Logger // nil: none
}

// Client speaks to registries. Its methods may be called from several goroutines.
type Client struct {
	opts     Options
	insecure atomic.Pointer[insecureRules]
	backoff  time.Duration // before the first retry, doubled for each further
	stall    time.Duration // how long a body may give nothing
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
}

// New returns a client. Entries of opts.Insecure that [CheckInsecure] refuses
// have no effect.
func New(opts Options) *Client {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	c := &Client{opts: opts, backoff: 250 * time.Millisecond, stall: time.Minute, dial: dialer.DialContext}
	if err := c.SetInsecure(opts.Insecure); err != nil {
		opts.Log.Warn("insecure-registries: an entry is ignored", "error", err)
	}
	return c
}

// SetInsecure replaces the list of insecure registries for connections from
// now on. Its error names the entries that [CheckInsecure] refuses; the others
// count.
func (c *Client) SetInsecure(list []string) error {
	rules, err := parseInsecure(list)
	c.insecure.Store(&insecureRules{rules: rules, given: len(list) > 0})
	return err
}

// Pull puts the blobs of the reference's manifest for the platform, and the
// index if it is one, into blobs, all verified: the manifests last, so that
// one that is there is complete. Errors carry the codes InvalidName,
// NoSuchImage (also when the platform is missing), RegistryUnauthorized,
// RegistryUnreachable, DigestMismatch (the registry gives something else than
// was announced) and NotSupported (not a container image, or too old a one).
// What was fetched before an error stays in the store.
func (c *Client) Pull(ctx context.Context, req davit.Pull, blobs davit.Blobs) (davit.Pulled, error) {
	named, err := parse(req.Reference)
	if err != nil {
		return davit.Pulled{}, err
	}
	want, err := wanted(req.Platform)
	if err != nil {
		return davit.Pulled{}, err
	}
	s, err := c.open(ctx, named, req.Auth)
	if err != nil {
		return davit.Pulled{}, alive(ctx, err)
	}
	defer s.close()
	s.blobs = blobs
	pulled, err := s.pull(ctx, want, req.Platform != davit.Platform{})
	if err != nil {
		return davit.Pulled{}, alive(ctx, err)
	}
	return pulled, nil
}

// alive returns the reason why ctx ended, if it did, for err.
func alive(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// parse normalises a reference as Docker does: docker.io, library/ and latest
// are added, and a tag beside a digest is dropped.
func parse(ref string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, davit.Errorf(davit.InvalidName, "invalid reference %q: %w", ref, err)
	}
	return named, nil
}

// pull fetches the image for a platform, which the user asked for or not.
func (s *session) pull(ctx context.Context, want davit.Platform, asked bool) (davit.Pulled, error) {
	root, err := s.resolve(ctx)
	if err != nil {
		return davit.Pulled{}, err
	}
	chain := []*manifest{root}
	leaf := root
	for depth := 0; leaf.isIndex(); depth++ {
		if depth == maxDepth {
			return davit.Pulled{}, s.wrong("the indexes of %s are nested too deep", s.name())
		}
		desc, err := choose(leaf.Manifests, want)
		if err != nil {
			return davit.Pulled{}, err
		}
		if leaf, err = s.child(ctx, desc); err != nil {
			return davit.Pulled{}, err
		}
		chain = append(chain, leaf)
	}
	if err := s.checkImage(leaf); err != nil {
		return davit.Pulled{}, err
	}
	if err := s.config(ctx, leaf, want, asked && !root.isIndex()); err != nil {
		return davit.Pulled{}, err
	}
	if err := s.layers(ctx, leaf); err != nil {
		return davit.Pulled{}, err
	}
	for i := len(chain) - 1; i >= 0; i-- {
		if err := s.blobs.Put(ctx, chain[i].desc, chain[i].reader()); err != nil {
			return davit.Pulled{}, fmt.Errorf("cannot store the manifest of %s: %w", s.name(), err)
		}
	}
	return davit.Pulled{Reference: s.named.String(), Target: root.desc, Manifest: leaf.desc}, nil
}

// config fetches the image's config and sees that it is for a machine of ours.
// An index has said so already; of a lone manifest only the config does.
func (s *session) config(ctx context.Context, m *manifest, want davit.Platform, asked bool) error {
	desc := m.Config.descriptor()
	if desc.Size > maxConfig {
		return s.wrong("the config of %s is announced with %d bytes", s.name(), desc.Size)
	}
	if err := s.put(ctx, desc, nil); err != nil {
		return err
	}
	r, err := s.blobs.Open(ctx, desc.Digest)
	if err != nil {
		return fmt.Errorf("cannot read back the config of %s: %w", s.name(), err)
	}
	defer r.Close()
	var p platform
	if err := json.NewDecoder(io.LimitReader(r, maxConfig)).Decode(&p); err != nil {
		return s.wrong("the config of %s is not JSON: %w", s.name(), err)
	}
	if p.OS != "" && p.OS != want.OS {
		return davit.Errorf(davit.NotSupported, "image operating system %q cannot be used on this platform", p.OS)
	}
	if _, fits := p.rank(want); asked && !fits {
		return davit.Errorf(davit.NoSuchImage, "image with reference %s was found but does not provide the specified platform (%s)",
			s.name(), platformName(want))
	}
	return nil
}

// layers fetches the layers, each digest once.
func (s *session) layers(ctx context.Context, m *manifest) error {
	var missing []davit.Descriptor
	seen := map[digest.Digest]bool{}
	for _, layer := range m.Layers {
		desc := layer.descriptor()
		if seen[desc.Digest] {
			continue
		}
		seen[desc.Digest] = true
		if s.blobs.Has(desc.Digest) {
			davit.Report(ctx, davit.Progress{Phase: "Already exists", Item: short(desc.Digest)})
			continue
		}
		davit.Report(ctx, davit.Progress{Phase: "Pulling fs layer", Item: short(desc.Digest)})
		missing = append(missing, desc)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, desc := range missing {
		group.Go(func() error { return s.layer(ctx, desc) })
	}
	return group.Wait()
}

func (s *session) layer(ctx context.Context, desc davit.Descriptor) error {
	if err := ctx.Err(); err != nil {
		return err // another layer failed while this one waited for its turn
	}
	p := &progress{ctx: ctx, item: short(desc.Digest), total: uint64(desc.Size)}
	p.phase("Downloading", 0)
	if err := s.put(ctx, desc, p); err != nil {
		return err
	}
	p.phase("Download complete", p.total)
	return nil
}

// put fetches a blob into the store.
func (s *session) put(ctx context.Context, desc davit.Descriptor, p *progress) error {
	if s.blobs.Has(desc.Digest) {
		return nil
	}
	r := &blobReader{ctx: ctx, s: s, desc: desc, progress: p}
	defer r.close()
	err := s.blobs.Put(ctx, desc, r)
	var coded interface{ ErrorCode() string }
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return fmt.Errorf("cannot store blob %s of %s: %w", desc.Digest, s.name(), err)
}

func short(d digest.Digest) string { return davit.ShortID(d.Encoded()) }

// progress reports what happens to one layer, four times a second at most.
type progress struct {
	ctx   context.Context
	item  string
	total uint64
	last  time.Time
}

func (p *progress) phase(phase string, current uint64) {
	p.last = time.Now()
	davit.Report(p.ctx, davit.Progress{Phase: phase, Item: p.item, Current: current, Total: p.total})
}

func (p *progress) downloaded(n int64) {
	switch {
	case p == nil:
	case uint64(n) == p.total:
		p.phase("Verifying Checksum", p.total)
	case time.Since(p.last) >= 250*time.Millisecond:
		p.phase("Downloading", uint64(n))
	}
}

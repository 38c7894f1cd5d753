// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// commitTimeout is how long a registry may take to store what it was sent
// whole.
const commitTimeout = 5 * time.Minute

// Push uploads the image whose manifest is m, all of it from blobs: what the
// repository lacks, and the manifest last, under the tag of the reference. The
// digests do not change. Errors carry the codes InvalidName (also of a
// reference with a digest), RegistryUnauthorized, RegistryUnreachable and
// NotSupported. What was uploaded before an error stays in the registry, until
// it collects its garbage.
func (c *Client) Push(ctx context.Context, req davit.Push, m davit.Descriptor, blobs davit.Blobs) (davit.Descriptor, error) {
	named, err := parse(req.Reference)
	if err != nil {
		return davit.Descriptor{}, err
	}
	if _, ok := named.(reference.Digested); ok {
		return davit.Descriptor{}, davit.Errorf(davit.InvalidName, "cannot push a digest reference: %q: give the image a tag, and push that", req.Reference)
	}
	s, err := c.open(ctx, named, req.Auth)
	if err != nil {
		return davit.Descriptor{}, alive(ctx, err)
	}
	defer s.close()
	s.verb, s.actions, s.blobs = "push", []string{auth.ActionPull, auth.ActionPush}, blobs
	s.transport.ResponseHeaderTimeout = commitTimeout
	pushed, err := s.push(ctx, m)
	if err != nil {
		return davit.Descriptor{}, alive(ctx, err)
	}
	return pushed, nil
}

func (s *session) push(ctx context.Context, desc davit.Descriptor) (davit.Descriptor, error) {
	body, err := s.stored(ctx, desc)
	if err != nil {
		return desc, err
	}
	m, err := s.check(body, "", desc)
	if err == nil {
		err = s.checkImage(m)
	}
	if err != nil {
		return desc, fmt.Errorf("cannot push %s: %w", s.name(), err)
	}
	for _, l := range m.Layers {
		davit.Report(ctx, davit.Progress{Phase: "Preparing", Item: short(l.Digest)})
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	seen := map[digest.Digest]bool{}
	for _, l := range m.Layers {
		if !seen[l.Digest] {
			seen[l.Digest] = true
			group.Go(func() error { return s.pushBlob(gctx, l.descriptor(), true) })
		}
	}
	if err := group.Wait(); err != nil {
		return desc, err
	}
	if err := s.pushBlob(ctx, m.Config.descriptor(), false); err != nil {
		return desc, err
	}
	return m.desc, s.retry(ctx, func() error { return s.putManifest(ctx, m) })
}

// stored reads a manifest from the content store.
func (s *session) stored(ctx context.Context, desc davit.Descriptor) ([]byte, error) {
	r, err := s.blobs.Open(ctx, desc.Digest)
	if err != nil {
		return nil, fmt.Errorf("cannot read the manifest of %s: %w", s.name(), err)
	}
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the manifest of %s: %w", s.name(), err)
	}
	return body, nil
}

// pushBlob uploads a blob that the repository does not have yet. What happens
// to layers is shown.
func (s *session) pushBlob(ctx context.Context, desc davit.Descriptor, shown bool) error {
	p := &progress{ctx: ctx, item: short(desc.Digest), total: uint64(desc.Size)}
	var mu sync.Mutex // net/http may read a body for a while after the answer came
	sent := func(n uint64) {
		mu.Lock()
		defer mu.Unlock()
		if shown && (n == 0 || time.Since(p.last) >= 250*time.Millisecond) {
			p.phase("Pushing", n)
		}
	}
	ended := func(what string) { // without numbers: programs of old take those for an advance that goes on
		if shown {
			davit.Report(ctx, davit.Progress{Phase: what, Item: p.item})
		}
	}
	exists := false
	err := s.retry(ctx, func() (err error) {
		exists, err = s.hasBlob(ctx, desc)
		return err
	})
	if err != nil {
		return err
	}
	if exists {
		ended("Layer already exists")
		return nil
	}
	err = s.retry(ctx, func() error {
		sent(0)
		return s.upload(ctx, desc, sent)
	})
	if err == nil {
		ended("Pushed")
	}
	return err
}

// hasBlob asks whether the repository has a blob.
func (s *session) hasBlob(ctx context.Context, desc davit.Descriptor) (bool, error) {
	req, err := s.request(ctx, http.MethodHead, s.url("blobs/"+desc.Digest.String()))
	if err != nil {
		return false, err
	}
	resp, err := s.do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return resp.ContentLength < 0 || resp.ContentLength == desc.Size, nil
	case http.StatusNotFound:
		return false, nil
	}
	return false, s.refused(resp, "blob "+desc.Digest.String())
}

// upload sends a blob whole (OCI distribution-spec, "POST then PUT").
func (s *session) upload(ctx context.Context, desc davit.Descriptor, sent func(n uint64)) error {
	target, err := s.beginUpload(ctx, desc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := s.request(ctx, http.MethodPut, target)
	if err != nil {
		return err
	}
	stall := time.AfterFunc(s.client.stall, func() { cancel(errStalled) })
	defer stall.Stop()
	var opened error // of the blob: no fault of the registry's
	req.GetBody = func() (io.ReadCloser, error) {
		r, err := s.blobs.Open(ctx, desc.Digest)
		if err != nil {
			opened = fmt.Errorf("cannot read the blob %s of %s: %w", desc.Digest, s.name(), err)
			return nil, opened
		}
		return &uploading{ReadCloser: r, moved: func(n uint64, done bool) {
			stall.Reset(s.client.stall)
			if done {
				stall.Reset(commitTimeout)
			}
			sent(n)
		}}, nil
	}
	if req.Body, err = req.GetBody(); err != nil {
		return err
	}
	req.ContentLength = desc.Size
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := s.do(req)
	if err != nil {
		if errors.Is(context.Cause(ctx), errStalled) {
			return s.unreachable(errStalled)
		}
		return errors.Join(opened, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return s.refused(resp, "the upload of blob "+desc.Digest.String())
	}
	return nil
}

// beginUpload asks where to send a blob.
func (s *session) beginUpload(ctx context.Context, desc davit.Descriptor) (string, error) {
	req, err := s.request(ctx, http.MethodPost, s.url("blobs/uploads/"))
	if err != nil {
		return "", err
	}
	resp, err := s.do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return "", s.refused(resp, "uploads")
	}
	location, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return "", s.wrong("it does not say where to upload blobs of %s", s.name())
	}
	if s.scheme == "https" && location.Scheme != "https" {
		return "", s.wrong("it wants blobs of %s by %s", s.name(), location.Scheme)
	}
	query := location.Query()
	query.Set("digest", desc.Digest.String())
	location.RawQuery = query.Encode()
	return (&url.URL{Scheme: location.Scheme, Host: location.Host, Path: location.Path, RawPath: location.RawPath, RawQuery: location.RawQuery}).String(), nil
}

// uploading is a blob on its way.
type uploading struct {
	io.ReadCloser
	moved func(n uint64, done bool)
	n     uint64
}

func (u *uploading) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	u.n += uint64(n)
	u.moved(u.n, err != nil)
	return n, err
}

// putManifest stores the manifest under the tag.
func (s *session) putManifest(ctx context.Context, m *manifest) error {
	tag := ""
	if t, ok := s.named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	req, err := s.request(ctx, http.MethodPut, s.url("manifests/"+tag))
	if err != nil {
		return err
	}
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.body)), nil }
	req.Body, _ = req.GetBody() // never fails
	req.ContentLength = int64(len(m.body))
	req.Header.Set("Content-Type", m.desc.MediaType)
	resp, err := s.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		return s.refused(resp, "the tag "+tag)
	}
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != m.desc.Digest.String() {
		return s.wrong("the manifest of %s was sent with the digest %s and stored with %s", s.name(), m.desc.Digest, got)
	}
	return nil
}

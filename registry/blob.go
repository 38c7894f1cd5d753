// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/davit-engine/davit"
)

// maxRetries is how often one request, or the download of one blob, is tried
// again.
const maxRetries = 4

var errStalled = errors.New("nothing came for too long")

// blobReader reads a blob, over several connections if it must: after a cut
// one it asks for the rest. It is not safe for concurrent use.
type blobReader struct {
	ctx      context.Context
	s        *session
	desc     davit.Descriptor
	progress *progress // nil: silent
	offset   int64     // bytes read so far
	retries  int
	body     io.ReadCloser
	cancel   context.CancelCauseFunc
	stall    *time.Timer // cancels the request when it fires
}

func (r *blobReader) Read(p []byte) (int, error) {
	for {
		if r.body == nil {
			if err := r.open(); err != nil {
				if err := r.again(err); err != nil {
					return 0, err
				}
				continue
			}
		}
		n, err := r.receive(p)
		if n > 0 {
			r.offset += int64(n)
			r.progress.downloaded(r.offset)
		}
		switch {
		case r.offset > r.desc.Size:
			return 0, r.s.wrong("blob %s of %s is longer than the announced %d bytes", r.desc.Digest, r.s.name(), r.desc.Size)
		case errors.Is(err, io.EOF) && r.offset == r.desc.Size:
			return n, io.EOF
		case err == nil:
			return n, nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		err = r.s.unreachable(err)
		r.close()
		if err := r.again(err); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// receive reads from the connection for as long as it does not stall. The time
// that the caller takes does not count.
func (r *blobReader) receive(p []byte) (int, error) {
	r.stall.Reset(r.s.client.stall)
	defer r.stall.Stop()
	return r.body.Read(p)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// open asks for the blob from offset on.
func (r *blobReader) open() error {
	ctx, cancel := context.WithCancelCause(r.ctx)
	r.cancel = cancel
	r.stall = time.AfterFunc(r.s.client.stall, func() { cancel(errStalled) })
	header := http.Header{}
	if r.offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", r.offset))
	}
	resp, err := r.s.get(ctx, "blobs/"+r.desc.Digest.String(), header) //nolint:bodyclose // r.close does
	if err != nil {
		r.close()
		return err
	}
	r.body = resp.Body
	if err := r.accept(resp); err != nil {
		r.close()
		return err
	}
	return nil
}

// accept sees that the answer continues the blob.
func (r *blobReader) accept(resp *http.Response) error {
	rest := r.desc.Size - r.offset
	switch {
	case resp.StatusCode == http.StatusPartialContent && r.offset > 0:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", r.offset)) {
			return r.s.wrong("blob %s of %s: asked for the bytes from %d on, got %q",
				r.desc.Digest, r.s.name(), r.offset, resp.Header.Get("Content-Range"))
		}
	case resp.StatusCode == http.StatusOK:
		rest = r.desc.Size
	default:
		return r.s.refused(resp, "blob "+r.desc.Digest.String())
	}
	if resp.ContentLength >= 0 && resp.ContentLength != rest {
		return r.s.wrong("blob %s of %s: %d bytes are to come, announced were %d", r.desc.Digest, r.s.name(), resp.ContentLength, rest)
	}
	if resp.StatusCode == http.StatusOK && r.offset > 0 { // it knows no ranges
		if _, err := io.CopyN(io.Discard, readerFunc(r.receive), r.offset); err != nil {
			return r.s.unreachable(err)
		}
	}
	return nil
}

// again waits for the time of another try, or says why there is none.
func (r *blobReader) again(err error) error {
	r.retries++
	return r.s.pause(r.ctx, r.retries, err)
}

// close may be called twice.
func (r *blobReader) close() {
	if r.cancel != nil {
		r.stall.Stop()
		r.cancel(nil)
		r.cancel = nil
	}
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

// retry does one request until it succeeds, fails for good, or was tried often
// enough.
func (s *session) retry(ctx context.Context, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if err == nil {
			return nil
		}
		if err := s.pause(ctx, n, err); err != nil {
			return err
		}
	}
}

// pause waits before the n-th retry after err; it returns err if there is none.
func (s *session) pause(ctx context.Context, n int, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var passing *passingError
	if n > maxRetries || !errors.As(err, &passing) {
		return err
	}
	s.client.opts.Log.Info("registry request failed; trying again", "registry", s.host, "try", n, "error", err)
	timer := time.NewTimer(s.client.backoff << (n - 1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit/dbus/lent"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/dbus/wire"
	"github.com/davit-engine/davit/engine"
)

// descriptorLimit bounds the descriptors of one call; dbus-daemon has the same
// limit (max_message_unix_fds).
const descriptorLimit = 16

// Bounds of a secret that is read from a descriptor.
const (
	secretLimit   = 64 << 10
	secretTimeout = 10 * time.Second
)

// checkDescriptors compares the descriptors that came with a call with those
// that its arguments name: each exactly once. A variant that names one is not
// an argument that takes one.
func (c *call) checkDescriptors() error {
	var named []int
	for _, v := range c.msg.Body {
		switch v := v.(type) {
		case godbus.UnixFDIndex:
			named = append(named, int(v))
		case [][]any: // a(sh)
			for _, pair := range v {
				if i, ok := pair[len(pair)-1].(godbus.UnixFDIndex); ok {
					named = append(named, int(i))
				}
			}
		}
	}
	if len(named) != len(c.received) || len(named) > descriptorLimit {
		return refusal.InvalidArgs("the call carries %d descriptors; %s takes %d of these arguments, and at most %d",
			len(c.received), c.member, len(named), descriptorLimit)
	}
	seen := make([]bool, len(named))
	for _, i := range named {
		if i < 0 || i >= len(seen) || seen[i] {
			return refusal.InvalidArgs("the arguments of the call do not name each of its descriptors once")
		}
		seen[i] = true
	}
	return nil
}

// closeReceived closes the descriptors that no handler took.
func (c *call) closeReceived() {
	for i, fd := range c.received {
		if fd >= 0 {
			wire.CloseAll([]int{fd})
			c.received[i] = -1
		}
	}
}

// take returns the descriptor that an argument names. It is the handler's.
func (c *call) take(i godbus.UnixFDIndex) int {
	fd := c.received[i]
	c.received[i] = -1
	return fd
}

// borrowed makes the argument's descriptor a file to read from or, if write is
// true, to write to.
func (c *call) borrowed(i godbus.UnixFDIndex, write bool) (*lent.File, error) {
	return lent.Descriptor(c.take(i), write)
}

// lend submits a job that uses a file of the caller's. The file is closed when
// the job ends, or the connection to the bus does; a target that the job did
// not complete is removed.
func (c *call) lend(q engine.Request, f *lent.File) ([]any, error) {
	j, err := c.eng.Submit(c.ctx, q)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s := c.session
	s.streams.Go(func() {
		select {
		case <-j.Ending():
		case <-s.ctx.Done():
		}
		err := f.Close()
		select {
		case <-j.Done():
		case <-s.ctx.Done():
		}
		if snap := j.Snapshot(); snap.State != engine.Finished || snap.Err != nil {
			err = errors.Join(err, f.Discard())
		}
		if err != nil {
			s.log.Warn("the file of a job is not complete", "job", j.ID(), "error", err)
		}
	})
	return jobReply(j), nil
}

// secret reads a descriptor to its end, without the line's.
func (c *call) secret(i godbus.UnixFDIndex) (string, error) {
	f, err := c.borrowed(i, false)
	if err != nil {
		return "", err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(c.ctx, secretTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = f.Close() })() // ends a Read that waits
	text, err := io.ReadAll(io.LimitReader(f, secretLimit+1))
	switch {
	case errors.Is(err, context.Canceled):
		return "", refusal.New(refusal.NameTimeout, "the secret did not come within %v", secretTimeout)
	case err != nil:
		return "", fmt.Errorf("cannot read the secret: %w", err)
	case len(text) > secretLimit:
		return "", refusal.InvalidArgs("the secret is longer than %d bytes", secretLimit)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// give adds a file to the reply, and closes it once that was sent.
func (c *call) give(f *os.File) godbus.UnixFD {
	c.files = append(c.files, f)
	return godbus.UnixFD(f.Fd())
}

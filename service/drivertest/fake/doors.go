// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"context"
	"sync/atomic"
)

// Door is a fake [service.Door] that nobody comes through.
type Door struct {
	Faults
	broken  chan error
	Serving atomic.Bool
}

// NewDoor returns a closed door.
func NewDoor() *Door { return &Door{broken: make(chan error, 1)} }

// Break makes Serve end with err.
func (d *Door) Break(err error) { d.broken <- err }

// Serve implements [service.Door].
func (d *Door) Serve(ctx context.Context, ready func()) error {
	if err := d.enter("Serve", ""); err != nil {
		return err
	}
	d.Serving.Store(true)
	defer d.Serving.Store(false)
	ready()
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.broken:
		return err
	}
}

// Gate is a fake [service.Gate].
type Gate struct{ opened atomic.Bool }

// Open implements [service.Gate].
func (g *Gate) Open() { g.opened.Store(true) }

// Opened tells whether it was opened.
func (g *Gate) Opened() bool { return g.opened.Load() }

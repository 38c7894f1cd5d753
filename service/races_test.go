// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/davit-engine/davit"
)

// Whoever looks while containers come and go gets an answer: of those that are
// there, or that there is no such container.
func TestLookWhileContainersComeAndGo(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.create("stays")
		var makers, lookers sync.WaitGroup
		done := make(chan struct{})
		for i := range 4 {
			makers.Go(func() {
				for range 20 {
					name := fmt.Sprint("c", i)
					if _, err := try(d, request(name)); err != nil {
						t.Error("create:", err)
					}
					if _, err := try(d, davit.Start{Container: name}); err != nil {
						t.Error("start:", err)
					}
					if _, err := try(d, davit.Delete{Container: name, Force: true}); err != nil {
						t.Error("delete:", err)
					}
				}
			})
			lookers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					list, err := try(d, davit.Containers{All: true, Size: true, Filters: map[string][]string{"network": {"bridge"}}})
					if err != nil || len(list) == 0 {
						t.Errorf("list: %d, %v", len(list), err)
					}
					_, err = try(d, davit.ContainerInspect{Container: fmt.Sprint("c", i), Size: true})
					if err != nil && davit.CodeOf(err) != davit.NoSuchContainer {
						t.Error("inspect:", err)
					}
					if _, err := try(d, davit.Info{}); err != nil {
						t.Error("info:", err)
					}
				}
			})
		}
		makers.Wait()
		close(done)
		lookers.Wait()
	})
}

// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWatchdogPingsOnlyWhenWell(t *testing.T) {
	m, s := newManager(t)
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error)
	ended := make(chan struct{})
	var log bytes.Buffer
	go func() {
		defer close(ended)
		s.RunWatchdog(ctx, &Watchdog{Interval: 90 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil)), Checks: []Check{
			{"fine", func(context.Context) error { return nil }},
			{"queue", func(ctx context.Context) error {
				select {
				case err := <-results:
					return err
				case <-ctx.Done():
					return ctx.Err()
				}
			}},
		}})
	}()
	send := func(err error) {
		t.Helper()
		select {
		case results <- err:
		case <-time.After(5 * time.Second):
			t.Fatal("no check runs")
		}
	}
	send(errors.New("it is stuck"))
	send(nil)
	if text, _ := m.receive(); text != "WATCHDOG=1" {
		t.Errorf("got %q", text)
	}
	send(nil)
	cancel()
	<-ended
	if !strings.Contains(log.String(), "queue: it is stuck") {
		t.Errorf("log is %s", log.String())
	}
}

// With fake time: when checks run, and what becomes of late ones and of one
// that hangs.
func TestWatchdogTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 215*time.Second)
		defer cancel()
		began := time.Now()
		var at, well []time.Duration
		var sick []string
		release := make(chan struct{})
		beyond, runs := 0, 0
		new(Systemd).RunWatchdog(ctx, &Watchdog{
			Interval: 90 * time.Second, Log: slog.New(slog.DiscardHandler),
			Well: func() { well = append(well, time.Since(began)) },
			Sick: func(err error, round int) {
				var hung *HungError
				sick = append(sick, time.Since(began).String()+" "+err.Error())
				if errors.As(err, &hung) {
					beyond++
				}
				if round == 2 {
					close(release)
				}
			},
			Checks: []Check{
				{"quick", func(context.Context) error { at = append(at, time.Since(began)); return nil }},
				{"slow", func(ctx context.Context) error {
					runs++
					switch runs {
					case 2: // answers too late, though it says it is well
						<-ctx.Done()
						return nil
					case 4:
						<-release // heeds nothing
					}
					return nil
				}},
			},
		})
		seconds := func(list ...int) (out []time.Duration) {
			for _, n := range list {
				out = append(out, time.Duration(n)*time.Second)
			}
			return out
		}
		if diff := cmp.Diff(seconds(0, 30, 60, 90, 120, 150, 180, 210), at); diff != "" {
			t.Errorf("checks (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(seconds(0, 60, 150, 180, 210), well); diff != "" {
			t.Errorf("well (-want +got):\n%s", diff)
		}
		want := []string{
			"45s slow: context deadline exceeded",
			"1m46.5s no answer in time from: slow",
			"2m0s no answer in time from: slow",
		}
		if diff := cmp.Diff(want, sick); diff != "" || beyond != 2 {
			t.Errorf("sick (-want +got), %d hung:\n%s", beyond, diff)
		}
		new(Systemd).RunWatchdog(ctx, &Watchdog{})
	})
}

// SPDX-License-Identifier: Apache-2.0

package filter_test

import (
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/filter"
)

func TestMoment(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Time{
		"24h":                       now.Add(-24 * time.Hour),
		"1h30m":                     now.Add(-90 * time.Minute),
		"2026-01-02":                time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		"2026-01-02T03:04":          time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		"2026-01-02T03:04:05":       time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05+01:00": time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC),
		"1700000000":                time.Unix(1700000000, 0),
		"1700000000.5":              time.Unix(1700000000, 500_000_000),
	} {
		if got, err := filter.Moment(value, now); err != nil || !got.Equal(want) {
			t.Errorf("%s is %v, %v, want %v", value, got, err, want)
		}
	}
	for _, bad := range []string{"", "yesterday", "2026-13-01", "1.x", "1.0000000001"} {
		if got, err := filter.Moment(bad, now); davit.CodeOf(err) != davit.InvalidConfiguration {
			t.Errorf("%q is %v, %v, want it refused", bad, got, err)
		}
	}
}

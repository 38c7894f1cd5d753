// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit"
)

// layouts are the forms of dates that Docker takes, the local time zone where
// they have none.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02Z07:00", "2006-01-02",
}

// Moment reads a point in time: a date, seconds since the epoch with or
// without a fraction, or how long ago it was (24h).
func Moment(value string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(value); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, value, now.Location()); err == nil {
			return t, nil
		}
	}
	whole, fraction, _ := strings.Cut(value, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || len(fraction) > 9 || strings.Trim(fraction, "0123456789") != "" {
		return time.Time{}, davit.Errorf(davit.InvalidConfiguration, "invalid time %q: write a date (2006-01-02T15:04:05), seconds since 1970, or how long ago (24h)", value)
	}
	nsec, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64) // digits only, checked above
	return time.Unix(sec, nsec), nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// timestamp shows a time as systemctl status does.
func timestamp(t time.Time) string { return t.Local().Format("Mon 2006-01-02 15:04:05 MST") }

// ago says how long before now t was, in the two largest units that matter, as
// systemctl does.
func ago(now, t time.Time) string {
	d, suffix := now.Sub(t), " ago"
	if d < 0 {
		d, suffix = -d, " left"
	}
	return span(d) + suffix
}

const day = 24 * time.Hour

func span(d time.Duration) string {
	two := func(d, large, small time.Duration, largeName, smallName string) string {
		text := count(int64(d/large), largeName)
		if rest := int64(d % large / small); rest > 0 {
			text += " " + count(rest, smallName)
		}
		return text
	}
	switch {
	case d >= 365*day:
		return two(d, 365*day, 30*day, " year", " month")
	case d >= 30*day:
		return two(d, 30*day, day, " month", " day")
	case d >= 7*day:
		return two(d, 7*day, day, " week", " day")
	case d >= 2*day:
		return count(int64(d/day), " day")
	case d >= day:
		return two(d, day, time.Hour, " day", "h")
	case d >= 6*time.Hour:
		return count(int64(d/time.Hour), "h")
	case d >= time.Hour:
		return two(d, time.Hour, time.Minute, "h", "min")
	case d >= 5*time.Minute:
		return count(int64(d/time.Minute), "min")
	case d >= time.Minute:
		return two(d, time.Minute, time.Second, "min", "s")
	case d >= time.Second:
		return count(int64(d/time.Second), "s")
	}
	return count(int64(d/time.Millisecond), "ms")
}

// count joins a number and a unit; units that are words have a plural.
func count(n int64, unit string) string {
	if strings.HasPrefix(unit, " ") && n != 1 {
		unit += "s"
	}
	return strconv.FormatInt(n, 10) + unit
}

// bytesText shows a size in powers of 1024, as systemd does.
func bytesText(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatUint(n, 10) + "B"
	}
	v, i := float64(n)/1024, 0
	for v >= 1023.95 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + units[i:i+1]
}

// parseTime reads a point in time in the forms of systemd.time(7) that people
// type: "2026-01-31 10:00[:00]", "2026-01-31", "10:00", RFC 3339, "@1767225600",
// "now", "today", "yesterday", "-5min", "5min ago", "1h 30min ago".
func parseTime(s string, now time.Time) (time.Time, error) {
	s = strings.TrimSpace(s)
	now = now.Local()
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	switch s {
	case "now":
		return now, nil
	case "today":
		return midnight, nil
	case "yesterday":
		return midnight.AddDate(0, 0, -1), nil
	}
	if seconds, ok := strings.CutPrefix(s, "@"); ok {
		if f, err := strconv.ParseFloat(seconds, 64); err == nil && f >= 0 && f < 1e11 {
			return time.UnixMicro(int64(f * 1e6)), nil
		}
	}
	past, ok := strings.CutSuffix(s, " ago")
	if !ok {
		past, ok = strings.CutPrefix(s, "-")
	}
	if ok {
		if d, err := parseSpan(past); err == nil {
			return now.Add(-d), nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return midnight.Add(t.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))), nil
		}
	}
	return time.Time{}, usageError{fmt.Errorf("%q is not a time (2026-01-31 10:00:00, 10:00, @1767225600, today, 5min ago)", s)}
}

// spanUnits are those of systemd.time(7).
var spanUnits = map[string]time.Duration{
	"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"ms": time.Millisecond, "msec": time.Millisecond, "us": time.Microsecond, "usec": time.Microsecond,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": day, "day": day, "days": day, "w": 7 * day, "week": 7 * day, "weeks": 7 * day,
}

// parseSpan reads a length of time in systemd.time(7)'s form: "90", "1h 30min",
// "1.5h".
func parseSpan(s string) (time.Duration, error) {
	wrong := usageError{fmt.Errorf("%q is not a length of time (90, 5min, 1h 30min)", s)}
	var total float64
	rest := strings.TrimSpace(s)
	if rest == "" {
		return 0, wrong
	}
	for rest != "" {
		digits := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if digits < 0 {
			digits = len(rest)
		}
		n, err := strconv.ParseFloat(rest[:digits], 64)
		if err != nil {
			return 0, wrong
		}
		rest = strings.TrimLeft(rest[digits:], " ")
		letters := strings.IndexFunc(rest, func(r rune) bool { return r < 'a' || r > 'z' })
		if letters < 0 {
			letters = len(rest)
		}
		unit, ok := spanUnits[rest[:letters]]
		if !ok {
			return 0, wrong
		}
		if total += n * float64(unit); total > float64(100*365*day) {
			return 0, wrong
		}
		rest = strings.TrimLeft(rest[letters:], " ")
	}
	return time.Duration(total), nil
}

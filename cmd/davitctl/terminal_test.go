// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"
)

func TestWidth(t *testing.T) {
	for text, want := range map[string]int{"": 0, "abc": 3, "é": 1, "e\u0301": 1, "例え": 4, "ﾃﾞ": 2, "👍a": 3, "한글": 4, "a\u200db": 2} {
		if got := width(text); got != want {
			t.Errorf("width(%q) = %d, not %d", text, got, want)
		}
	}
	for _, tt := range []struct {
		text string
		n    int
		want string
	}{{"abc", 5, "abc"}, {"abc", 2, "ab"}, {"例え", 3, "例"}, {"例え", 1, ""}, {"e\u0301x", 1, "e\u0301"}} {
		if got := cut(tt.text, tt.n); got != tt.want {
			t.Errorf("cut(%q, %d) = %q, not %q", tt.text, tt.n, got, tt.want)
		}
	}
	if got := printable("a\tb\n\x1b[2J\u0085\u202eé"); got != "a?b??[2J??é" {
		t.Errorf("printable: %q", got)
	}
}

func TestStyle(t *testing.T) {
	_, tty := openPTY(t)
	t.Setenv("TERM", "xterm")
	var pipe lineWaiter
	for _, tt := range []struct {
		color, noColor, term string
		tty, want            bool
	}{
		{"auto", "", "xterm", true, true},
		{"auto", "", "xterm", false, false},
		{"auto", "1", "xterm", true, false},
		{"auto", "", "dumb", true, false},
		{"always", "1", "xterm", false, true},
		{"never", "", "xterm", true, false},
	} {
		t.Setenv("NO_COLOR", tt.noColor)
		t.Setenv("TERM", tt.term)
		s := styleFor(&pipe, tt.color)
		if tt.tty {
			s = styleFor(tty, tt.color)
		}
		if s.color != tt.want || s.tty != (tt.tty && tt.term != "dumb") {
			t.Errorf("%+v: %+v", tt, s)
		}
	}
}

func TestTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ms ago", 1500 * time.Millisecond: "1s ago", 61 * time.Second: "1min 1s ago", 7*time.Minute + time.Second: "7min ago",
		2*time.Hour + 5*time.Minute: "2h 5min ago", 7*time.Hour + 5*time.Minute: "7h ago", 25 * time.Hour: "1 day 1h ago", 50 * time.Hour: "2 days ago",
		8 * day: "1 week 1 day ago", 40 * day: "1 month 10 days ago", 800 * day: "2 years 2 months ago", -5 * time.Second: "5s left",
	} {
		if got := ago(fakeNow, fakeNow.Add(-d)); got != want {
			t.Errorf("ago %v: %q, not %q", d, got, want)
		}
	}
	at := func(s string) time.Time {
		v, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for text, want := range map[string]time.Time{
		"now": fakeNow, "today": at("2026-11-23 00:00:00"), "yesterday": at("2026-11-22 00:00:00"), "@1767225600": at("2026-01-01 00:00:00"),
		"2026-01-31": at("2026-01-31 00:00:00"), "2026-01-31 10:11": at("2026-01-31 10:11:00"), "2026-01-31 10:11:12": at("2026-01-31 10:11:12"),
		"2026-01-31T10:11:12Z": at("2026-01-31 10:11:12"), "10:11": at("2026-11-23 10:11:00"), "-5min": at("2026-11-23 11:55:00"), "1h 30min ago": at("2026-11-23 10:30:00"),
	} {
		if got, err := parseTime(text, fakeNow); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "5 apples ago", "-", "@x", "2026-13-01", "- -5"} {
		if got, err := parseTime(text, fakeNow); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
	for n, want := range map[uint64]string{0: "0B", 1023: "1023B", 1024: "1.0K", 1 << 20: "1.0M", 1<<20 - 1: "1.0M", 5 << 30: "5.0G", 1 << 63: "8.0E"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d bytes: %q, not %q", n, got, want)
		}
	}
}

func TestRunProperties(t *testing.T) {
	for assignment, want := range map[string]any{
		"MemoryMax=512M": uint64(512 << 20), "MemoryMax=infinity": noLimit, "MemoryMax=1000": uint64(1000), "MemoryMax=10B": uint64(10),
		"TasksMax=5": uint64(5), "CPUQuota=50%": uint64(500_000), "Privileged=yes": true, "TTY=off": false, "User=1:1": "1:1",
		"BindPaths=/srv": []string{"/srv:/srv"},
	} {
		p := &runProperties{values: properties{}}
		if err := p.assign(propertyKinds, assignment); err != nil {
			t.Errorf("%s: %v", assignment, err)
			continue
		}
		for _, v := range p.values {
			if got, ok := v.Value().([]string); ok && len(got) == 1 && got[0] == "/srv:/srv" {
				continue
			}
			if v.Value() != want {
				t.Errorf("%s: %v, not %v", assignment, v, want)
			}
		}
	}
	for _, assignment := range []string{
		"MemoryMax", "MemoryMax=", "MemoryMax=-1", "MemoryMax=1X", "MemoryMax=NaNM", "MemoryMax=99E", "TasksMax=0", "TasksMax=x", "CPUQuota=50", "CPUQuota=0%",
		"CPUQuota=NaN%", "Privileged=maybe", "BindPaths=:", "Nothing=1",
	} {
		p := &runProperties{values: properties{}}
		if err := p.assign(propertyKinds, assignment); err == nil {
			t.Errorf("%s is taken for %v", assignment, p.values)
		}
	}
}

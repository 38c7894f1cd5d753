// SPDX-License-Identifier: Apache-2.0

package filter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/filter"
)

// FuzzMoment reads any point in time: it is one, or refused as the user's fault.
func FuzzMoment(f *testing.F) {
	for _, s := range []string{"0", "1700000000.123456789", "24h", "-1h30m", "2006-01-02T15:04:05Z", "2006-01-02", "1.", ".5", "9223372036854775808", "1e9"} {
		f.Add(s)
	}
	now := time.Unix(1700000000, 5).UTC()
	f.Fuzz(func(t *testing.T, text string) {
		got, err := filter.Moment(text, now)
		if err != nil {
			if davit.KindOf(err) != davit.Invalid {
				t.Error(err)
			}
			return
		}
		again, err := filter.Moment(got.Format(time.RFC3339Nano), now)
		if err == nil && !again.Equal(got) {
			t.Errorf("%q is %v, which is %v", text, got, again)
		}
	})
}

// FuzzFilters gives lists and prunes any filter: what Check takes, Match can be
// asked.
func FuzzFilters(f *testing.F) {
	f.Add("label", "a=b", "c")
	f.Add("label!", "a", "a=b")
	f.Add("dangling", "true", "false")
	f.Add("colour", "red", "")
	f.Add("name", "^/?a", "[")
	table := filter.Table[map[string]string]{
		"label":    filter.Label,
		"label!":   func(l map[string]string, v string) bool { return !filter.Label(l, v) },
		"name":     func(l map[string]string, v string) bool { return l["name"] == v },
		"dangling": func(l map[string]string, v string) bool { return filter.True(v) == (len(l) == 0) },
	}
	f.Fuzz(func(t *testing.T, key, one, two string) {
		filters := map[string][]string{key: {one, two}}
		if err := table.Check(filters); err != nil {
			if davit.KindOf(err) != davit.Invalid || !strings.Contains(err.Error(), key) {
				t.Error(err)
			}
			return
		}
		labels := map[string]string{one: "", "name": one}
		first, second := table.Match(labels, filters), table.Match(labels, map[string][]string{key: {two, one}})
		if first != second {
			t.Errorf("%s with %q and %q: %v, the other way round %v", key, one, two, first, second)
		}
	})
}

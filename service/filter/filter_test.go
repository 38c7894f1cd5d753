// SPDX-License-Identifier: Apache-2.0

package filter_test

import (
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/filter"
)

func TestMatch(t *testing.T) {
	type thing struct {
		name   string
		labels map[string]string
	}
	table := filter.Table[thing]{
		"name":  func(x thing, v string) bool { return x.name == v },
		"label": func(x thing, v string) bool { return filter.Label(x.labels, v) },
	}
	x := thing{"web", map[string]string{"a": "1", "b": ""}}
	tests := []struct {
		name    string
		filters map[string][]string
		want    bool
	}{
		{"none", nil, true},
		{"alternatives", map[string][]string{"name": {"db", "web"}}, true},
		{"no alternative", map[string][]string{"name": {"db"}}, false},
		{"labels add up", map[string][]string{"label": {"a=1", "b"}}, true},
		{"one label is missing", map[string][]string{"label": {"a=1", "c"}}, false},
		{"another value", map[string][]string{"label": {"a=2"}}, false},
		{"empty value", map[string][]string{"label": {"b="}}, true},
		{"keys add up", map[string][]string{"name": {"web"}, "label": {"c"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := table.Match(x, tt.filters); got != tt.want {
				t.Errorf("match is %v, want %v", got, tt.want)
			}
		})
	}
	if err := table.Check(map[string][]string{"name": nil, "colour": {"red"}}); davit.CodeOf(err) != davit.InvalidConfiguration {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestYesOrNo(t *testing.T) {
	table := filter.Table[int]{"dangling": func(int, string) bool { return true }}
	for _, tt := range []struct {
		values []string
		want   string
	}{
		{nil, ""},
		{[]string{"true"}, ""},
		{[]string{"0"}, ""},
		{[]string{"1", "true"}, ""},
		{[]string{"maybe"}, "invalid filter 'dangling=maybe': it is true or false"},
		{[]string{""}, "invalid filter 'dangling=': it is true or false"},
		{[]string{"true", "no"}, "invalid filter 'dangling=no': it is true or false"},
		{[]string{"false", "true"}, "invalid filter 'dangling': it is both true and false"},
	} {
		got := ""
		if err := table.Check(map[string][]string{"dangling": tt.values}); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: error %q, want %q", tt.values, got, tt.want)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
)

func fuzzed(name, value string) *call {
	return &call{form: url.Values{name: {value}}, route: &route{filters: "label name status"}, r: httptest.NewRequest(http.MethodGet, "/", nil)}
}

// FuzzFilters reads any text. What is taken has only names that the row has.
func FuzzFilters(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"label":{"a=b":true,"c":false}}`, `{"name":["x","y"]}`, `{"name":[],"label":{}}`, `{"junk":["x"]}`, `[]`, `{"name":"x"}`, `{"name":null}`, "null"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := fuzzed("filters", s).filters()
		if err != nil && davit.KindOf(err) != davit.Invalid {
			t.Errorf("%q: %v", s, err)
		}
		for name := range got {
			if err != nil || !slices.Contains([]string{"label", "name", "status"}, name) {
				t.Errorf("%q gives %v, %v", s, got, err)
			}
		}
	})
}

// FuzzQuery reads any text as each kind of parameter.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"", "0", "1700000000", "1700000000.000000001", "-1", "1.", ".5", "9223372036854775807.999999999", "1e9", "all", "true", "NO ", "+5", "1.-5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := fuzzed("x", s)
		if at, err := c.moment("x"); err == nil && s != "" && !strings.Contains(s, ".") && !at.IsZero() && at.Nanosecond() != 0 {
			t.Errorf("%q is %v", s, at)
		} else if err != nil && davit.KindOf(err) != davit.Invalid {
			t.Errorf("%q: %v", s, err)
		}
		if n, err := c.number("x", 7); err == nil && s == "" && n != 7 {
			t.Errorf("%q is %d", s, n)
		}
		if c.flag("x") && strings.TrimSpace(s) == "" {
			t.Errorf("%q is true", s)
		}
		_, _ = c.platformObject()
	})
}

// FuzzAuth reads any header with credentials.
func FuzzAuth(f *testing.F) {
	for _, seed := range []string{"", "e30", "e30=", "eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIifQ==", "bnVsbA", "????", "W10"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := fuzzed("x", "")
		c.r.Header["X-Registry-Auth"] = []string{s}
		a, err := c.auth()
		if err != nil && (davit.KindOf(err) != davit.Invalid || a != nil || strings.Contains(err.Error(), "password")) {
			t.Errorf("%q: %v, %v", s, a, err)
		}
	})
}

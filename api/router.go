// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit"
)

// route is a row of the table of endpoints. A pattern has at most one
// variable: {id} is one segment of the path, {name...} one or more, since the
// names of images hold slashes.
type route struct {
	method  string
	pattern string
	handle  func(*call) error
	// changes marks a GET that does more than tell: it changes something, or
	// hands out the files of a container, which may be secrets.
	changes bool
	// query are the parameters that the handler honours, and filters what the
	// one of that name may hold, separated by spaces. refuses are those that are
	// refused when they are set, and why. What is in neither is ignored, as
	// Docker does: clients send more than they mean. docs/api.md is made of this,
	// and a test holds it against what the API documents. remarks are for it
	// alone: why the handler refuses a parameter, or why one has no effect.
	query   string
	filters string
	refuses notes
	remarks notes

	segments []string
	rest     int // index of the {name...} segment, -1 for none
	variable int // index of the variable of either kind, -1 for none
}

// notes are words about things by their names.
type notes map[string]string

// read reads the query of a request: what of it the row knows.
func (t *route) read(raw string) (url.Values, error) {
	all, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalid("cannot parse the query: %w", err)
	}
	for name, why := range t.refuses {
		if isSet(all.Get(name)) {
			return nil, unsupported("parameter %s is not supported: %s", name, why)
		}
	}
	known := url.Values{}
	for name := range strings.FieldsSeq(t.query) {
		if values, ok := all[name]; ok {
			known[name] = values
		}
	}
	return known, nil
}

// isSet reads a boolean by Docker's rule.
func isSet(value string) bool {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// router finds the row for a request.
type router struct{ rows map[string][]*route } // by method and first segment

func newRouter(table []route) *router {
	r := &router{rows: map[string][]*route{}}
	for _, row := range table {
		row.segments, row.rest = splitPath(row.pattern), -1
		row.variable = slices.IndexFunc(row.segments, func(seg string) bool { return strings.HasPrefix(seg, "{") })
		for i, seg := range row.segments {
			if strings.HasSuffix(seg, "...}") {
				row.rest = i
			}
		}
		key := row.method + " " + row.segments[0]
		r.rows[key] = append(r.rows[key], &row)
	}
	return r
}

// find returns the first row that matches, and the value of its variable.
// Where none does, {id} may be several segments: who asks for the container a/b
// is told that there is none, and not that there is no such page.
func (r *router) find(method string, path []string) (*route, string) {
	if len(path) == 0 {
		return nil, ""
	}
	rows := r.rows[method+" "+path[0]]
	for _, row := range rows {
		if name, ok := row.match(path, row.rest); ok {
			return row, name
		}
	}
	for _, row := range rows {
		if name, ok := row.match(path, row.variable); ok {
			return row, name
		}
	}
	return nil, ""
}

// match compares the segments of a path; that at the index rest, if any, may
// be several.
func (t *route) match(path []string, rest int) (name string, ok bool) {
	extra := len(path) - len(t.segments)
	if extra < 0 || (extra > 0 && rest < 0) {
		return "", false
	}
	for i, seg := range t.segments {
		at := i
		if rest >= 0 && i > rest {
			at += extra
		}
		switch {
		case i == rest:
			name = strings.Join(path[i:i+extra+1], "/")
		case strings.HasPrefix(seg, "{"):
			name = path[at]
		case seg != path[at]:
			return "", false
		}
	}
	return name, true
}

// splitPath splits a path at slashes. Empty segments go: clients ask for
// /containers//web/json when the user wrote /web.
func splitPath(p string) []string {
	return strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
}

// version is a version of the API: its minor number, as the major one has
// been 1 from the start.
type version int

var newest, oldest = mustVersion(davit.APIVersion), mustVersion(davit.MinAPIVersion)

func mustVersion(s string) version {
	v, ok := parseVersion(s)
	if !ok {
		panic("not an API version: " + s)
	}
	return v
}

func parseVersion(s string) (version, bool) {
	major, minor, _ := strings.Cut(s, ".")
	n, err := strconv.Atoi(minor)
	if major != "1" || err != nil || n < 0 || strconv.Itoa(n) != minor {
		return 0, false
	}
	return version(n), true
}

// cutVersion takes a leading version segment off a path. Only a segment of a
// v and digits and dots is one: /volumes is none.
func cutVersion(path []string) (version, []string, error) {
	if len(path) == 0 || len(path[0]) < 2 || path[0][0] != 'v' || strings.Trim(path[0][1:], "0123456789.") != "" {
		return newest, path, nil
	}
	s := path[0][1:]
	v, ok := parseVersion(s)
	switch major, _, _ := strings.Cut(s, "."); {
	case !ok && (major == "1" || strings.Trim(major, "0123456789") != "" || major == ""):
		return newest, nil, invalid("client version %s is malformed: want one from %s to %s", s, davit.MinAPIVersion, davit.APIVersion)
	case !ok && major == "0", ok && v < oldest:
		return newest, nil, invalid("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", s, davit.MinAPIVersion)
	case !ok, v > newest:
		return newest, nil, invalid("client version %s is too new. Maximum supported API version is %s", s, davit.APIVersion)
	}
	return v, path[1:], nil
}

// serve handles one request.
func (s *Server) serve(class string, w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	h := w.Header()
	h.Set("Api-Version", davit.APIVersion)
	h.Set("Docker-Experimental", "false")
	h.Set("Ostype", "linux")
	h.Set("Server", fmt.Sprintf("Davit/%s (linux)", davit.Release))
	c := &call{server: s, w: w, r: r, submitted: make(chan struct{})}
	if !s.calls.begin() {
		c.fail(errStopping)
		return
	}
	defer s.calls.done()
	defer s.opts.Begin()()
	if err := s.dispatch(class, c); err != nil {
		c.fail(err)
	}
	s.log.Debug("request served", slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.String("socket", class), slog.Int("status", c.status), slog.Duration("duration", time.Since(began)))
}

// dispatch finds the row, holds the request at the gate and runs the handler.
func (s *Server) dispatch(class string, c *call) error {
	v, path, err := cutVersion(splitPath(c.r.URL.Path))
	if err != nil {
		return err
	}
	c.version = v
	row, name := s.routes.find(c.r.Method, path)
	if row == nil {
		return errNoPage
	}
	c.name, c.route = name, row
	reads := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	if class == davit.DoorReadOnly && (!reads || row.changes) {
		return davit.Errorf(davit.AccessDenied, "this socket is read-only: %s %s is refused on it", row.method, row.pattern)
	}
	if class == davit.DoorTLS && (c.r.TLS == nil || len(c.r.TLS.VerifiedChains) == 0) {
		// The listener demands one; who comes through this door is as root, so that
		// is not left to how the listener was made.
		return davit.Errorf(davit.AccessDenied, "this socket needs a client certificate")
	}
	select {
	case <-s.open:
	case <-s.calls.ending:
		return errStopping
	case <-c.r.Context().Done():
		return c.r.Context().Err()
	}
	if c.form, err = row.read(c.r.URL.RawQuery); err != nil {
		return err
	}
	return row.handle(c)
}

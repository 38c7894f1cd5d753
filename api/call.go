// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit/api/body"
	"github.com/davit-engine/davit/engine"
	"github.com/moby/moby/api/types/common"
)

// bodyLimit bounds a JSON body, in bytes.
const bodyLimit = 4 << 20

// call is one request and its reply.
type call struct {
	server  *Server
	w       http.ResponseWriter
	r       *http.Request
	route   *route
	name    string     // the value of the pattern's variable
	form    url.Values // the query
	version version

	status    int    // of the reply, once it has begun
	job       uint32 // set before submitted is closed
	cut       bool   // the job was cancelled, and the connection ends with the reply
	submitted chan struct{}
}

// submit makes a job of q on behalf of the client.
func (c *call) submit(ctx context.Context, q engine.Request) (*engine.Job, error) {
	j, err := c.server.eng.Submit(ctx, q)
	if err != nil {
		return nil, err
	}
	c.job = j.ID()
	if c.submitted != nil {
		close(c.submitted)
		c.submitted = nil
	}
	return j, nil
}

// run makes a job of q and returns its result. When the client goes away the
// job goes on.
func run[Q engine.Typed[R], R any](c *call, q Q) (R, error) {
	ctx := c.r.Context()
	j, err := c.submit(ctx, q)
	if err != nil {
		var none R
		return none, err
	}
	return engine.Result(ctx, j, q)
}

// query is run for a job whose number the reply does not carry.
func query[Q engine.Typed[R], R any](c *call, q Q) (R, error) {
	return engine.Do(c.r.Context(), c.server.eng, q)
}

// follow makes a job of q that uses the connection, and waits for its end
// whatever happens: the handler must not return while the job may still read
// the body or write the reply. ctx ends a follow job; a change job is left
// when ctx ends.
func follow[Q engine.Typed[R], R any](ctx context.Context, c *call, q Q) (R, error) {
	j, err := c.submit(ctx, q)
	if err != nil {
		var none R
		return none, err
	}
	defer c.letGo(j)()
	select {
	case <-j.Done():
	case <-ctx.Done():
		j.Leave() //nolint:contextcheck // the end is told in the job's context; ours has ended
	}
	return engine.Result(context.WithoutCancel(ctx), j, q)
}

// lastWords bounds the answer to a client whose job was cancelled.
const lastWords = 2 * time.Second

// letGo ends what a job does with the connection when the job is cancelled: a
// client that sends nothing, or reads nothing, would hold it up for ever. The
// function that it returns is to be called when the job has ended.
func (c *call) letGo(j *engine.Job) func() {
	rc := http.NewResponseController(c.w)
	ended := make(chan struct{})
	// Only a job with a body to read is to be kept from that. For net/http, a read that
	// fails while a request is served is the client that has gone: it would end
	// the requests that follow on the connection, too.
	reads := c.r.Body != nil && c.r.Body != http.NoBody
	go func() {
		defer close(ended)
		<-j.Ending()
		select {
		case <-j.Done(): // by itself; the connection may go on
			return
		default:
		}
		c.cut = true
		if reads {
			_ = rc.SetReadDeadline(time.Unix(1, 0)) // of a connection that may be gone, as below
		}
		_ = rc.SetWriteDeadline(time.Now().Add(lastWords))
	}()
	return func() {
		<-ended
		switch {
		case !c.cut:
		case c.status == 0:
			c.w.Header().Set("Connection", "close")
		case reads: // nothing may follow, and it is too late to say so
			_ = rc.Flush()
			_ = rc.SetWriteDeadline(time.Unix(1, 0))
		default:
			_ = rc.SetWriteDeadline(time.Time{})
		}
	}
}

// begin starts the reply. It may be called by the job's goroutine, of a job
// that [follow] waits for.
func (c *call) begin(status int) {
	if c.job != 0 {
		c.w.Header().Set("Davit-Job", strconv.FormatUint(uint64(c.job), 10))
	}
	c.status = status
	c.w.WriteHeader(status)
}

// awaitJob returns a function to be called by a job's goroutine, which waits
// until the job's number is known. A job that runs within Submit has none.
func (c *call) awaitJob(q engine.Request) func() {
	if c.server.inline()[q.JobType()] {
		return func() {}
	}
	submitted := c.submitted
	return func() { <-submitted }
}

// reply sends v as JSON.
func (c *call) reply(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("Content-Length", strconv.Itoa(len(b)+1))
	c.begin(status)
	_, _ = c.w.Write(append(b, '\n')) // the client has gone: nobody to tell
	return nil
}

// replyEmpty sends a reply without body unless err.
func (c *call) replyEmpty(status int, err error) error {
	if err == nil {
		c.begin(status)
	}
	return err
}

// fail sends an error, if the reply has not begun.
func (c *call) fail(err error) {
	if c.status != 0 {
		return
	}
	status := statusOf(err)
	if status == http.StatusNotModified {
		c.begin(status)
		return
	}
	if status == http.StatusInternalServerError && c.r.Context().Err() == nil {
		c.server.log.Warn("request failed", slog.String("method", c.r.Method), slog.String("path", c.r.URL.Path),
			slog.Uint64("job", uint64(c.job)), slog.Any("error", err))
	}
	_ = c.reply(status, common.ErrorResponse{Message: err.Error()}) // a struct of one string can be marshalled
}

// flag reads a boolean of the query.
func (c *call) flag(name string) bool { return isSet(c.form.Get(name)) }

// number reads an integer of the query; absent is def.
func (c *call) number(name string, def int) (int, error) {
	s := c.form.Get(name)
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, invalid("invalid value %q for %s: not a number", s, name)
	}
	return n, nil
}

// filters reads the filters of the query: a JSON object of sets, or of lists
// as clients before API 1.22 sent. Names that the row has not are refused.
func (c *call) filters() (map[string][]string, error) {
	s := c.form.Get("filters")
	if s == "" {
		return nil, nil
	}
	var sets map[string]map[string]bool
	out := map[string][]string{}
	if err := json.Unmarshal([]byte(s), &sets); err != nil {
		if lerr := json.Unmarshal([]byte(s), &out); lerr != nil {
			return nil, invalid("invalid filters: %w", err)
		}
	}
	for name, set := range sets {
		for value, on := range set {
			if on {
				out[name] = append(out[name], value)
			}
		}
		slices.Sort(out[name])
	}
	known := strings.Fields(c.route.filters)
	for name := range out {
		if !slices.Contains(known, name) {
			return nil, invalid("invalid filter '%s'", name)
		}
	}
	return out, nil
}

// moment reads a time of the query: seconds since the epoch, with or without
// a fraction. 0 and absence are the zero time.
func (c *call) moment(name string) (time.Time, error) {
	s := c.form.Get(name)
	if s == "" || s == "0" {
		return time.Time{}, nil
	}
	whole, fraction, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || len(fraction) > 9 || strings.Trim(fraction, "0123456789") != "" {
		return time.Time{}, invalid("invalid value %q for %s: want seconds[.nanoseconds] since the epoch", s, name)
	}
	nsec, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64) // digits only, checked above
	return time.Unix(sec, nsec), nil
}

// body reads a JSON body into v, which points at a struct. A field that v has
// not is refused when it says anything: what a request asks for is never
// dropped in silence. ignored names such fields that may be dropped.
func (c *call) body(v any, ignored ...string) error {
	if err := c.checkJSON(); err != nil {
		return err
	}
	rc := http.NewResponseController(c.w)
	_ = rc.SetReadDeadline(time.Now().Add(c.server.opts.RequestTimeout)) // every connection of net/http can
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, bodyLimit))
	if err == nil {
		_ = rc.SetReadDeadline(time.Time{})
	} else {
		c.w.Header().Set("Connection", "close") // what is left of the body is not waited for
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &statusError{http.StatusRequestEntityTooLarge, "request body is larger than 4 MiB"}
	case err != nil:
		return invalid("cannot read request body: %w", err)
	case len(strings.TrimSpace(string(b))) == 0:
		return invalid("invalid JSON: got EOF while reading request body")
	}
	return body.Decode(b, v, ignored)
}

// checkJSON refuses a body that is not said to be JSON.
func (c *call) checkJSON() error {
	ct := c.r.Header.Get("Content-Type")
	if ct == "" && c.r.ContentLength == 0 {
		return nil
	}
	mt, _, err := mime.ParseMediaType(ct)
	if err != nil {
		return invalid("malformed Content-Type header (%s): %w", ct, err)
	}
	if mt != "application/json" {
		return invalid("unsupported Content-Type header (%s): must be 'application/json'", ct)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/api/body"
	"github.com/davit-engine/davit/api/wire"
	"github.com/davit-engine/davit/internal/detachkeys"
	"github.com/moby/moby/api/types/container"
)

func listContainers(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	limit, err := c.number("limit", 0)
	if err != nil {
		return err
	}
	size := c.flag("size")
	list, err := query(c, davit.Containers{All: c.flag("all"), Limit: max(limit, 0), Size: size, Filters: filters})
	if err != nil {
		return err
	}
	out, now := []container.Summary{}, time.Now()
	for i := range list {
		out = append(out, wire.Summary(&list[i], now))
	}
	return c.reply(http.StatusOK, out)
}

// createBody reads the body of a create request of the client's version.
func (c *call) createBody() (container.CreateRequest, error) {
	if c.version >= 52 {
		var now container.CreateRequest
		err := c.body(&now)
		return now, err
	}
	var old body.Legacy
	if err := c.body(&old); err != nil {
		return old.CreateRequest, err
	}
	return old.Request()
}

func createContainer(c *call) error {
	req, err := c.createBody()
	if err != nil {
		return err
	}
	q, err := body.Create(req)
	if err != nil {
		return err
	}
	q.Name = strings.TrimPrefix(c.form.Get("name"), "/")
	if q.Platform, err = body.Platform(c.form.Get("platform")); err != nil {
		return err
	}
	out, err := run(c, q)
	if err != nil {
		return err
	}
	return c.reply(http.StatusCreated, container.CreateResponse{ID: out.ID, Warnings: wire.OrEmpty(out.Warnings)})
}

func inspectContainer(c *call) error {
	size := c.flag("size")
	info, err := query(c, davit.ContainerInspect{Container: c.name, Size: size})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, wire.Inspect(&info, int(c.version), size))
}

func startContainer(c *call) error {
	// Before API 1.24 it was a HostConfig. {} and null were sent for none.
	if c.r.ContentLength < 0 || c.r.ContentLength > int64(len(`{"a":1}`)) {
		return invalid("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	// A start attaches nothing; what is no sequence is refused all the same.
	if _, err := detachkeys.Parse(c.form.Get("detachKeys")); err != nil {
		return invalid("%w", err)
	}
	_, err := run(c, davit.Start{Container: c.name})
	return c.replyEmpty(http.StatusNoContent, err)
}

func updateContainer(c *call) error {
	var req container.UpdateConfig
	if err := c.body(&req); err != nil {
		return err
	}
	q, err := body.Update(req)
	if err != nil {
		return err
	}
	q.Container = c.name
	warnings, err := run(c, q)
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, container.UpdateResponse{Warnings: wire.OrEmpty(warnings)})
}

// timeout reads the t of stop and restart: whole seconds, -1 for ever.
func (c *call) timeout() (*time.Duration, error) {
	if c.form.Get("t") == "" {
		return nil, nil
	}
	n, err := c.number("t", 0)
	if err != nil {
		return nil, err
	}
	d := time.Duration(n) * time.Second
	return &d, nil
}

func stopContainer(c *call) error {
	t, err := c.timeout()
	if err != nil {
		return err
	}
	_, err = run(c, davit.Stop{Container: c.name, Signal: c.form.Get("signal"), Timeout: t})
	return c.replyEmpty(http.StatusNoContent, err)
}

func restartContainer(c *call) error {
	t, err := c.timeout()
	if err != nil {
		return err
	}
	_, err = run(c, davit.Restart{Container: c.name, Signal: c.form.Get("signal"), Timeout: t})
	return c.replyEmpty(http.StatusNoContent, err)
}

func killContainer(c *call) error {
	_, err := run(c, davit.Kill{Container: c.name, Signal: c.form.Get("signal")})
	return c.replyEmpty(http.StatusNoContent, err)
}

func pauseContainer(c *call) error {
	_, err := run(c, davit.Pause{Container: c.name})
	return c.replyEmpty(http.StatusNoContent, err)
}

func unpauseContainer(c *call) error {
	_, err := run(c, davit.Unpause{Container: c.name})
	return c.replyEmpty(http.StatusNoContent, err)
}

func deleteContainer(c *call) error {
	if c.flag("link") { // of one name, which is none of another container's
		info, err := query(c, davit.ContainerInspect{Container: c.name})
		if err != nil {
			return err
		}
		return davit.Errorf(davit.NameConflict, "Conflict, cannot remove the default link name of the container: link: %s has no other", info.Name)
	}
	_, err := run(c, davit.Delete{Container: c.name, Force: c.flag("force"), Volumes: c.flag("v")})
	return c.replyEmpty(http.StatusNoContent, err)
}

func renameContainer(c *call) error {
	name := strings.TrimPrefix(c.form.Get("name"), "/")
	if name == "" {
		return davit.Errorf(davit.InvalidName, "cannot rename %s: the new name is empty", c.name)
	}
	_, err := run(c, davit.Rename{Container: c.name, Name: name})
	return c.replyEmpty(http.StatusNoContent, err)
}

// terminalSize reads the h and w of a resize.
func (c *call) terminalSize() (rows, columns uint, err error) {
	var size [2]uint
	for i, name := range []string{"h", "w"} {
		n, err := strconv.ParseUint(c.form.Get(name), 10, 16)
		if err != nil {
			return 0, 0, invalid("invalid resize %s %q: want a number of rows and of columns", name, c.form.Get(name))
		}
		size[i] = uint(n)
	}
	return size[0], size[1], nil
}

func resizeContainer(c *call) error {
	rows, columns, err := c.terminalSize()
	if err != nil {
		return err
	}
	_, err = run(c, davit.Resize{Container: c.name, Rows: rows, Columns: columns})
	return c.replyEmpty(http.StatusOK, err)
}

func topContainer(c *call) error {
	t, err := query(c, davit.Top{Container: c.name, Args: strings.Fields(c.form.Get("ps_args"))})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, container.TopResponse{Titles: wire.OrEmpty(t.Titles), Processes: wire.OrEmpty(t.Processes)})
}

// waitContainer sends the header as soon as the wait has begun: docker run
// starts the container only then.
func waitContainer(c *call) error {
	condition := c.form.Get("condition")
	if condition == "" {
		condition = string(container.WaitConditionNotRunning)
	}
	known := []string{string(container.WaitConditionNotRunning), string(container.WaitConditionNextExit), string(container.WaitConditionRemoved)}
	if !slices.Contains(known, condition) {
		return invalid("invalid condition: %q", condition)
	}
	ctx, cancel := c.server.calls.follow(c.r.Context())
	defer cancel()
	out := c.chunked()
	q := davit.Wait{Container: c.name, Condition: condition}
	wait := c.awaitJob(q)
	var once sync.Once
	q.Ready = func() {
		once.Do(func() {
			wait()
			out.begin("application/json")
		})
	}
	exit, err := follow(ctx, c, q)
	if err != nil && c.status == 0 {
		return err
	}
	if err != nil {
		// No exit status is known, and clients print any that they are given. What
		// is no JSON they show as the error that it is.
		_, _ = fmt.Fprintf(out, "cannot wait for container %s: %v\n", c.name, err) // to a client that may have gone
		return nil
	}
	reply := container.WaitResponse{StatusCode: int64(exit.Code)}
	if exit.Error != "" {
		reply.Error = &container.WaitExitError{Message: exit.Error}
	}
	b, err := json.Marshal(reply)
	if err != nil {
		return err
	}
	out.begin("application/json")
	_, _ = out.Write(append(b, '\n')) // to a client that may have gone
	return nil
}

// wanted reads which streams the client asks for.
func (c *call) wanted() streams {
	return streams{stdin: c.flag("stdin"), stdout: c.flag("stdout"), stderr: c.flag("stderr")}
}

func attachRequest(c *call, want streams) davit.Attach {
	return davit.Attach{
		Container: c.name, Stdin: want.stdin, Stdout: want.stdout, Stderr: want.stderr,
		Stream: c.flag("stream"), Logs: c.flag("logs"), DetachKeys: c.form.Get("detachKeys"),
	}
}

func attachContainer(c *call) error {
	d, release := newDuplex(c, c.wanted())
	defer release()
	q := attachRequest(c, d.want)
	q.Open = d.opener(q)
	return serve(d, q)
}

// attachWebSocket carries the streams in binary messages, without frames of
// their own: stdout and stderr are one.
func attachWebSocket(c *call) error {
	want := c.wanted()
	if want == (streams{}) {
		want = streams{stdin: true, stdout: true, stderr: true}
	}
	d, release := newDuplex(c, want)
	defer release()
	d.framed, d.take = false, d.acceptWebSocket
	q := attachRequest(c, want)
	q.Open = d.opener(q)
	return serve(d, q)
}

func logs(c *call) error {
	want := c.wanted()
	if !want.stdout && !want.stderr {
		return invalid("bad parameters: you must choose at least one stream")
	}
	q := davit.Logs{
		Container: c.name, Stdout: want.stdout, Stderr: want.stderr,
		Follow: c.flag("follow"), Timestamps: c.flag("timestamps"), Details: c.flag("details"), Tail: -1,
	}
	var err error
	if q.Since, err = c.moment("since"); err != nil {
		return err
	}
	if q.Until, err = c.moment("until"); err != nil {
		return err
	}
	if c.form.Get("tail") != "all" {
		if q.Tail, err = c.number("tail", -1); err != nil {
			return err
		}
	}
	ctx, cancel := c.server.calls.follow(c.r.Context())
	defer cancel()
	out := c.chunked()
	lines := &batch{ch: out}
	wait := c.awaitJob(q)
	q.Open = func(tty bool) (davit.Streams, error) {
		wait()
		out.begin(streamType(c.version, tty))
		return lines.outputs(tty, want), nil
	}
	_, err = follow(ctx, c, q)
	return err
}

// commitContainer makes an image of a container. The body, if there is one, is
// what the image's configuration has in place of the container's.
func commitContainer(c *call) error {
	q := davit.ContainerCommit{
		Container: c.form.Get("container"), Reference: joinReference(c.form.Get("repo"), c.form.Get("tag")),
		Author: c.form.Get("author"), Message: c.form.Get("comment"),
		Pause: c.form.Get("pause") == "" || c.flag("pause"), Changes: c.form["changes"],
	}
	if q.Container == "" {
		return invalid("bad parameter: no container is named")
	}
	if c.form.Get("repo") == "" {
		q.Reference = ""
	}
	if c.r.ContentLength != 0 {
		var own *container.Config
		if err := c.body(&own); err != nil {
			return err
		}
		if own != nil {
			config := body.Config(own)
			q.Config = &config
		}
	}
	img, err := run(c, q)
	if err != nil {
		return err
	}
	return c.reply(http.StatusCreated, container.CommitResponse{ID: img.ID.String()})
}

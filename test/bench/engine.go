// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"time"
)

const apiVersion = "/v1.41" // dockerd 20.10's

// callTimeout bounds a request, the slowest being a removal among fifty.
const callTimeout = 2 * time.Minute

// An engine is a daemon behind a unix socket.
type engine struct {
	socket string
	image  string
	client *http.Client
}

func newEngine(socket, image string) *engine {
	e := &engine{socket: socket, image: image}
	e.client = &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dial(ctx) }, MaxIdleConnsPerHost: 64},
		Timeout:   callTimeout,
	}
	return e
}

func (e *engine) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", e.socket)
}

func newRequest(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://engine"+apiVersion+path, reader)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}

// call makes one request and decodes the answer into result, unless that is nil.
func (e *engine) call(ctx context.Context, method, path string, body, result any) error {
	req, err := newRequest(ctx, method, path, body)
	if err != nil {
		return err
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("cannot read the answer to %s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotModified {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer, result)
}

// hijack makes a request whose connection becomes a stream; the caller closes
// it.
func (e *engine) hijack(ctx context.Context, path string, body any) (*bufio.Reader, io.Closer, error) {
	conn, err := e.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	req, err := newRequest(ctx, "POST", path, body)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	reader := bufio.NewReaderSize(conn, 256<<10)
	err = req.Write(conn)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(reader, req) //nolint:bodyclose // what follows is the stream, which the caller closes
	}
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("POST %s: %s", path, resp.Status)
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return reader, conn, nil
}

// payload reads a multiplexed stream to its end and returns how much was in it.
func payload(r io.Reader) (int64, error) {
	buffered, ok := r.(*bufio.Reader)
	if !ok {
		buffered = bufio.NewReaderSize(r, 256<<10)
	}
	var total int64
	var header [8]byte
	for {
		if _, err := io.ReadFull(buffered, header[:]); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, fmt.Errorf("cannot read a frame's header: %w", err)
		}
		n, err := buffered.Discard(int(binary.BigEndian.Uint32(header[4:])))
		total += int64(n)
		if err != nil {
			return total, fmt.Errorf("cannot read a frame: %w", err)
		}
	}
}

// A container is one of an engine's.
type container struct {
	e  *engine
	id string
}

// create makes a container that runs command; options are further members of
// the request.
func (e *engine) create(ctx context.Context, hostConfig map[string]any, command ...string) (container, error) {
	var created struct{ ID string }
	body := map[string]any{"Image": e.image, "Cmd": command, "AttachStdout": true, "HostConfig": hostConfig}
	err := e.call(ctx, "POST", "/containers/create", body, &created)
	return container{e, created.ID}, err
}

func (c container) do(ctx context.Context, method, what string) error {
	return c.e.call(ctx, method, "/containers/"+c.id+what, nil, nil)
}

func (c container) start(ctx context.Context) error  { return c.do(ctx, "POST", "/start") }
func (c container) stop(ctx context.Context) error   { return c.do(ctx, "POST", "/stop?t=10") }
func (c container) remove(ctx context.Context) error { return c.do(ctx, "DELETE", "?force=1&v=1") }

// wait returns when the container has ended, which has to be with success.
func (c container) wait(ctx context.Context) error {
	var exit struct{ StatusCode int }
	if err := c.e.call(ctx, "POST", "/containers/"+c.id+"/wait", nil, &exit); err != nil {
		return err
	}
	if exit.StatusCode != 0 {
		return fmt.Errorf("a container of %s ended with %d", c.e.socket, exit.StatusCode)
	}
	return nil
}

// attach returns the container's output from now on.
func (c container) attach(ctx context.Context) (*bufio.Reader, io.Closer, error) {
	return c.e.hijack(ctx, "/containers/"+c.id+"/attach?stream=1&stdout=1", nil)
}

// logs reads the container's log to its end and returns how much was in it.
func (c container) logs(ctx context.Context) (int64, error) {
	req, err := newRequest(ctx, "GET", "/containers/"+c.id+"/logs?stdout=1", nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.e.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("cannot read a log: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("cannot read a log: %s", resp.Status)
	}
	return payload(resp.Body)
}

// exec runs command in the container and returns once it has ended and all of
// its output, which is to be want bytes, was read.
func (c container) exec(ctx context.Context, want int64, command ...string) error {
	var created struct{ ID string }
	body := map[string]any{"AttachStdout": true, "AttachStderr": true, "Cmd": command}
	if err := c.e.call(ctx, "POST", "/containers/"+c.id+"/exec", body, &created); err != nil {
		return err
	}
	stream, conn, err := c.e.hijack(ctx, "/exec/"+created.ID+"/start", map[string]any{"Detach": false})
	if err != nil {
		return err
	}
	defer conn.Close()
	if n, err := payload(stream); err != nil || n != want {
		return fmt.Errorf("an exec of %s wrote %d bytes, not %d: %w", c.e.socket, n, want, err)
	}
	return nil
}

// monitor returns the pid of the process that stays with the running
// container: the parent of its first process.
func (c container) monitor(ctx context.Context) (int, error) {
	var info struct{ State struct{ Pid int } }
	if err := c.e.call(ctx, "GET", "/containers/"+c.id+"/json", nil, &info); err != nil {
		return 0, err
	}
	parent, err := statusField(info.State.Pid, "PPid")
	return int(parent), err
}

// count returns how many containers the engine lists.
func (e *engine) count(ctx context.Context) (int, error) {
	var all []json.RawMessage
	err := e.call(ctx, "GET", "/containers/json?"+url.Values{"all": {"1"}}.Encode(), nil, &all)
	return len(all), err
}

// docker runs the CLI, as a user's shell would.
func (e *engine) docker(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.socket)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker %s on %s: %w: %s", args[0], e.socket, err, out)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

// Package pull_test pulls a Debian image of several layers, made by mmdebstrap and
// pushed by skopeo, from Debian's docker-registry, and runs a service of Debian's in
// it that is used by its own client. All of it is in a network namespace of its
// own.
package pull_test

import (
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/internal/testutil"
)

const (
	registry = "127.0.0.1:5000"
	image    = registry + "/debian/redis:7"
)

// require skips the test by name where it cannot run.
func require(t *testing.T, programs ...string) {
	t.Helper()
	testutil.RequireRoot(t)
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
}

// A host is a network namespace with a registry and an engine in it.
type host struct {
	t      *testing.T
	dir    string
	netns  string
	socket string
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir := t.TempDir() // its removal fails the test when a mount was left in it
	h := &host{t: t, dir: dir, netns: fmt.Sprintf("davit-pull-%d", os.Getpid()), socket: dir + "/davit.sock"}
	h.command("ip", "netns", "add", h.netns)
	t.Cleanup(func() { h.command("ip", "netns", "delete", h.netns) })
	h.inside("ip", "link", "set", "lo", "up")
	return h
}

// command runs a program that has to succeed.
func (h *host) command(args ...string) string {
	h.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+h.socket)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// inside runs a program in the host's network.
func (h *host) inside(args ...string) string {
	h.t.Helper()
	return h.command(append([]string{"nsenter", "--net=/run/netns/" + h.netns}, args...)...)
}

// daemon runs a program in the host's network until the test ends.
func (h *host) daemon(args ...string) {
	t := h.t
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + h.netns}, args...)...)
	log := h.dir + "/" + filepath.Base(args[0]) + ".log"
	file, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+h.dir+"/no-bus")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		stop := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer stop.Stop()
		_ = cmd.Wait()
		if text, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("%s:\n%s", args[0], text)
		}
	})
}

// succeeds says whether a program in the host's network exits with 0.
func (h *host) succeeds(args ...string) bool {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + h.netns}, args...)...).Run() == nil
}

// A descriptor is that of the OCI image specification.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// A layout is an OCI image layout that is being written.
type layout struct {
	t   *testing.T
	dir string
}

// blob writes what the function writes, under its digest.
func (l layout) blob(mediaType string, write func(io.Writer) error) descriptor {
	l.t.Helper()
	blobs := l.dir + "/blobs/sha256"
	file, err := os.CreateTemp(l.dir, "blob")
	if err != nil {
		l.t.Fatal(err)
	}
	defer file.Close()
	hash := sha256.New()
	if err := write(io.MultiWriter(file, hash)); err != nil {
		l.t.Fatal(err)
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		l.t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", hash.Sum(nil))
	if err := os.Rename(file.Name(), filepath.Join(blobs, sum)); err != nil {
		l.t.Fatal(err)
	}
	return descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: size}
}

func (l layout) json(mediaType string, value any) descriptor {
	l.t.Helper()
	return l.blob(mediaType, func(w io.Writer) error { return json.NewEncoder(w).Encode(value) })
}

// layer compresses a layer and returns the digest of its content as well.
func (l layout) layer(path string) (compressed descriptor, diffID string) {
	l.t.Helper()
	file, err := os.Open(path)
	if err != nil {
		l.t.Fatal(err)
	}
	defer file.Close()
	content := sha256.New()
	compressed = l.blob("application/vnd.oci.image.layer.v1.tar+gzip", func(w io.Writer) error {
		zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return err
		}
		if _, err := io.Copy(zip, io.TeeReader(file, content)); err != nil {
			return err
		}
		return zip.Close()
	})
	return compressed, fmt.Sprintf("sha256:%x", content.Sum(nil))
}

// writeLayout makes an OCI layout of the layers and returns their diff ids.
func writeLayout(t *testing.T, dir string, layers []string) (diffIDs []string) {
	t.Helper()
	l := layout{t: t, dir: dir}
	if err := os.MkdirAll(dir+"/blobs/sha256", 0o755); err != nil {
		t.Fatal(err)
	}
	var compressed []descriptor
	for _, path := range layers {
		d, diffID := l.layer(path)
		compressed, diffIDs = append(compressed, d), append(diffIDs, diffID)
	}
	config := l.json("application/vnd.oci.image.config.v1+json", map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{
			"Cmd": []string{"redis-server", "/etc/redis/davit.conf"}, "Env": []string{"PATH=/usr/bin:/bin"},
			"User": "redis", "WorkingDir": "/var/lib/redis", "ExposedPorts": map[string]any{"6379/tcp": struct{}{}},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	manifest := l.json(manifestType, map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": compressed})
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"index.json": string(index), "oci-layout": `{"imageLayoutVersion":"1.0.0"}`} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return diffIDs
}

// startRegistry runs Debian's docker-registry.
func (h *host) startRegistry() {
	h.t.Helper()
	config := h.dir + "/registry.yml"
	text := "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: " + h.dir + "/registry\nhttp:\n  addr: " + registry + "\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
	h.daemon("docker-registry", "serve", config)
	testutil.Eventually(h.t, 30*time.Second, "the registry answers", func() bool {
		return h.succeeds("curl", "--silent", "--fail", "http://"+registry+"/v2/")
	})
}

// startEngine runs davitd, of DAVIT_BIN or bin/.
func (h *host) startEngine() {
	h.t.Helper()
	davitd := filepath.Join(cmp.Or(os.Getenv("DAVIT_BIN"), "../../bin"), "davitd")
	if _, err := os.Stat(davitd); err != nil {
		h.t.Fatalf("run make build: %v", err)
	}
	config := h.dir + "/daemon.json"
	if err := os.WriteFile(config, []byte("{}"), 0o644); err != nil {
		h.t.Fatal(err)
	}
	h.daemon(davitd, "--config-file", config, "-H", "unix://"+h.socket, "--data-root", h.dir+"/lib", "--exec-root", h.dir+"/run", "--launcher", "direct")
	testutil.Eventually(h.t, 30*time.Second, "the engine answers", func() bool {
		return h.succeeds("curl", "--silent", "--fail", "--unix-socket", h.socket, "http://d/_ping")
	})
}

func TestPullAndServe(t *testing.T) {
	require(t, "mmdebstrap", "skopeo", "docker-registry", "docker", "redis-cli", "curl", "nsenter", "ip")
	out, err := exec.Command("./image.sh", cmp.Or(os.Getenv("DAVIT_CACHE"), "/var/cache/davit-test")).Output()
	if err != nil {
		t.Fatalf("cannot make the layers: %v", err)
	}
	cache := strings.TrimSpace(string(out))
	h := newHost(t)
	diffIDs := writeLayout(t, h.dir+"/oci", []string{cache + "/1.tar", cache + "/2.tar", cache + "/3.tar"})
	h.startRegistry()
	h.inside("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "oci:"+h.dir+"/oci", "docker://"+image)

	h.startEngine()
	if got := h.command("docker", "pull", image); !strings.Contains(got, "Status: Downloaded newer image for "+image) {
		t.Errorf("docker pull says\n%s", got)
	}
	if got := h.command("docker", "pull", image); !strings.Contains(got, "Status: Image is up to date for "+image) {
		t.Errorf("a second docker pull says\n%s", got)
	}
	layers := h.command("docker", "image", "inspect", "--format", "{{range .RootFS.Layers}}{{.}} {{end}}", image)
	if got, want := strings.TrimSpace(layers), strings.Join(diffIDs, " "); got != want {
		t.Errorf("the image has the layers\n%s, pushed were\n%s", got, want)
	}

	h.command("docker", "run", "-d", "--name", "redis", "-p", "6379:6379", image)
	t.Cleanup(func() { h.command("docker", "rm", "--force", "redis") })
	cli := func(args ...string) string { return h.inside(append([]string{"redis-cli"}, args...)...) }
	testutil.Eventually(h.t, 30*time.Second, "redis answers its client", func() bool { return h.succeeds("redis-cli", "ping") })
	if got := cli("set", "boat", "aboard"); got != "OK" {
		t.Errorf("set: %q", got)
	}
	if got := h.command("docker", "exec", "redis", "id", "-un"); got != "redis" {
		t.Errorf("the service runs as %q, not as the image's user", got)
	}
	if got := h.command("docker", "exec", "redis", "ls", "/etc/redis"); got != "davit.conf" {
		t.Errorf("/etc/redis holds %q: the third layer's whiteout does not hold", got)
	}

	// It ends by its own handler, and has what it wrote when it is started again.
	h.command("docker", "stop", "redis")
	if got := h.command("docker", "inspect", "--format", "{{.State.ExitCode}}", "redis"); got != "0" {
		t.Errorf("redis ended with %s", got)
	}
	if got := h.command("docker", "logs", "redis"); !strings.Contains(got, "bye bye") {
		t.Errorf("redis did not say good-bye:\n%s", got)
	}
	h.command("docker", "start", "redis")
	testutil.Eventually(h.t, 30*time.Second, "redis answers again", func() bool { return h.succeeds("redis-cli", "ping") })
	if got := cli("get", "boat"); got != "aboard" {
		t.Errorf("get: %q", got)
	}
}

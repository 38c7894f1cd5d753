// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/opencontainers/go-digest"
)

var (
	testID    = strings.Repeat("c0", 32)
	testImage = davit.Image{
		ID: digest.Digest("sha256:" + strings.Repeat("11", 32)), Tags: []string{"busybox:latest"}, Created: time.Unix(1600000000, 0).UTC(),
		Digests: []string{"busybox@sha256:" + strings.Repeat("22", 32)}, Architecture: "amd64", OS: "linux", Size: 4 << 20,
		Layers: []digest.Digest{"sha256:33"}, Config: davit.ContainerConfig{Cmd: []string{"sh"}, Labels: map[string]string{"k": "v"}},
	}
)

// testContainer runs since three minutes, with a published port.
func testContainer() davit.ContainerInfo {
	return davit.ContainerInfo{
		Container: davit.Container{
			ID: testID, Name: "web", Created: time.Now().Add(-time.Hour), ImageID: testImage.ID, ImageRef: "busybox",
			Path: "httpd", Args: []string{"-f", "-h /srv"}, Config: davit.ContainerConfig{
				Image: "busybox", Env: []string{"A=b"}, ExposedPorts: map[string]struct{}{"80/tcp": {}, "9/udp": {}},
			},
			HostConfig: davit.HostConfig{NetworkMode: "bridge", PortBindings: map[string][]davit.PortBinding{"80/tcp": {{HostPort: "8080"}}}},
			Mounts:     []davit.Mount{{Type: "volume", Name: "v", Source: "/var/lib/davit/volumes/v", Target: "/srv", ReadWrite: true, Driver: "local"}},
			Endpoints: []davit.Endpoint{{
				NetworkID: strings.Repeat("aa", 32), NetworkName: "bridge", ContainerID: testID, EndpointID: strings.Repeat("bb", 32),
				MAC: "02:42:ac:11:00:02", Address: netip.MustParsePrefix("172.17.0.2/16"), Gateway: netip.MustParseAddr("172.17.0.1"),
				Ports: []davit.PortMapping{{Proto: "tcp", HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: 8080, ContainerPort: 80}},
			}},
			State: davit.State{Status: davit.StatusRunning, Pid: 42, StartedAt: time.Now().Add(-3 * time.Minute)},
		},
		Image: &testImage, LogPath: "/var/lib/davit/x.log", UpperDir: "/u", LowerDirs: []string{"/l1", "/l2"}, SizeRw: 5, SizeRootFs: 10,
	}
}

// populate registers handlers of one container, one image, one volume and one
// network.
func populate(d *door) {
	c := testContainer()
	find := func(name string) error {
		if name != "web" && name != testID && !strings.HasPrefix(testID, name) {
			return davit.Errorf(davit.NoSuchContainer, "No such container: %s", name)
		}
		return nil
	}
	answer(d, engine.Query, davit.Version{}, davit.VersionInfo{
		Version: "0.1.0", Commit: "abcdef0", GoVersion: "go1.26.8", OS: "linux", Arch: "amd64", KernelVersion: "6.18.0",
		APIVersion: davit.APIVersion, MinAPIVersion: davit.MinAPIVersion, Components: map[string]string{"runc": "1.5.2"},
	})
	answer(d, engine.Query, davit.Info{}, davit.EngineInfo{
		ID: "id", Name: "host", Containers: 3, Running: 1, Stopped: 2, Images: 7, StorageDriver: "overlay", CgroupVersion: "2",
		CgroupDriver: "systemd", FirewallBackend: "iptables (nf_tables)", KernelVersion: "6.18.0", OperatingSystem: "Debian GNU/Linux 12",
		OSType: "linux", Architecture: "x86_64", NCPU: 2, MemTotal: 8 << 30, DataRoot: "/var/lib/davit",
		SecurityOptions: []string{"name=seccomp,profile=builtin"}, InsecureRegistries: []string{"127.0.0.0/8", "reg:5000"}, Warnings: []string{"WARNING: take care"},
	})
	answer(d, engine.Query, davit.Containers{}, []davit.ContainerInfo{c})
	handle(d, engine.Query, func(_ context.Context, _ *engine.Job, q davit.ContainerInspect) (davit.ContainerInfo, error) {
		return c, find(q.Container)
	})
	answer(d, engine.Query, davit.Top{}, davit.ProcessTable{Titles: []string{"PID", "CMD"}, Processes: [][]string{{"42", "httpd"}}})
	answer(d, engine.Query, davit.Images{}, []davit.ImageSummary{{
		ID: testImage.ID, Tags: testImage.Tags, Digests: testImage.Digests, Created: testImage.Created, Size: testImage.Size, Containers: 1,
	}, {ID: digest.Digest("sha256:" + strings.Repeat("44", 32)), Created: testImage.Created, Size: 1}})
	handle(d, engine.Query, func(_ context.Context, _ *engine.Job, q davit.ImageInspect) (davit.Image, error) {
		if q.Image != "busybox" && q.Image != "busybox:latest" {
			return davit.Image{}, davit.Errorf(davit.NoSuchImage, "No such image: %s", q.Image)
		}
		return testImage, nil
	})
	answer(d, engine.Query, davit.History{}, []davit.HistoryEntry{
		{Created: testImage.Created, CreatedBy: `CMD ["sh"]`, EmptyLayer: true}, {Created: testImage.Created, CreatedBy: "ADD rootfs", Size: 4 << 20},
	})
	answer(d, engine.Change, davit.Tag{}, davit.Nothing{})
	answer(d, engine.Change, davit.ImageDelete{}, []davit.ImageDeletion{{Untagged: "busybox:latest"}, {Deleted: testImage.ID.String()}})
	vol := davit.Volume{Name: "v", Driver: "local", Mountpoint: "/var/lib/davit/volumes/v", Created: testImage.Created}
	answer(d, engine.Query, davit.Volumes{}, []davit.Volume{vol})
	handle(d, engine.Query, func(_ context.Context, _ *engine.Job, q davit.VolumeInspect) (davit.Volume, error) {
		if q.Volume != "v" {
			return davit.Volume{}, davit.Errorf(davit.NoSuchVolume, "get %s: no such volume", q.Volume)
		}
		return vol, nil
	})
	answer(d, engine.Change, davit.VolumeCreate{}, vol)
	answer(d, engine.Change, davit.VolumeDelete{}, davit.Nothing{})
	net := davit.NetworkInfo{
		Network: davit.Network{
			ID: strings.Repeat("aa", 32), Name: "bridge", Driver: "bridge", Created: testImage.Created, Link: "davit0",
			Subnet: netip.MustParsePrefix("172.17.0.0/16"), Gateway: netip.MustParseAddr("172.17.0.1"),
		},
		Endpoints: c.Endpoints, Names: map[string]string{testID: "web"},
	}
	answer(d, engine.Query, davit.Networks{}, []davit.NetworkInfo{net})
	handle(d, engine.Query, func(_ context.Context, _ *engine.Job, q davit.NetworkInspect) (davit.NetworkInfo, error) {
		if q.Network != "bridge" {
			return davit.NetworkInfo{}, davit.Errorf(davit.NoSuchNetwork, "network %s not found", q.Network)
		}
		return net, nil
	})
	changes(d, func(q davit.Stop) error { return find(q.Container) })
	changes(d, func(q davit.Restart) error { return find(q.Container) })
	changes(d, func(q davit.Kill) error { return find(q.Container) })
	changes(d, func(q davit.Delete) error { return find(q.Container) })
	changes(d, func(q davit.Rename) error { return find(q.Container) })
	changes(d, func(q davit.Resize) error { return find(q.Container) })
}

func changes[Q engine.Typed[davit.Nothing]](d *door, h func(Q) error) {
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q Q) (davit.Nothing, error) { return davit.Nothing{}, h(q) })
}

// running imitates the life of one container whose program copies its input:
// what docker run and docker exec need.
func running(d *door) {
	started, exited := make(chan struct{}), make(chan struct{})
	answer(d, engine.Change, davit.Create{}, davit.Created{ID: testID})
	changes(d, func(davit.Start) error { close(started); return nil })
	handle(d, engine.Follow, func(ctx context.Context, _ *engine.Job, q davit.Wait) (davit.Exit, error) {
		q.Ready()
		select {
		case <-exited:
			return davit.Exit{Code: 3}, nil
		case <-ctx.Done():
			return davit.Exit{}, ctx.Err()
		}
	})
	echo := func(s davit.Streams) error {
		defer func() { _, _ = io.WriteString(s.Stderr, "done\n") }()
		if s.Stdin == nil {
			return nil
		}
		_, err := io.Copy(s.Stdout, s.Stdin)
		return err
	}
	handle(d, engine.Follow, func(ctx context.Context, _ *engine.Job, q davit.Attach) (davit.Nothing, error) {
		s, err := q.Open(false)
		if err != nil {
			return davit.Nothing{}, err
		}
		select {
		case <-started:
		case <-ctx.Done():
			return davit.Nothing{}, ctx.Err()
		}
		defer close(exited)
		return davit.Nothing{}, echo(s)
	})
	answer(d, engine.Change, davit.ExecCreate{}, "e1")
	answer(d, engine.Query, davit.ExecInspect{}, davit.Exec{
		ID: "e1", ContainerID: testID, Cmd: []string{"cat"}, AttachStdin: true, AttachStdout: true, AttachStderr: true, Exit: &davit.Exit{Code: 4},
	})
	handle(d, engine.Follow, func(_ context.Context, _ *engine.Job, q davit.ExecStart) (davit.Nothing, error) {
		s, err := q.Open(false)
		if err != nil {
			return davit.Nothing{}, err
		}
		return davit.Nothing{}, echo(s)
	})
}

// TestClient drives the door with moby's client, at the oldest version that
// both speak and at the newest.
func TestClient(t *testing.T) {
	for _, version := range []string{davit.MinAPIVersion, davit.APIVersion} {
		t.Run(version, func(t *testing.T) {
			d := openDoor(t)
			populate(d)
			c, ctx := d.client(version), t.Context()
			ps, err := c.ContainerList(ctx, client.ContainerListOptions{All: true, Size: true, Filters: make(client.Filters).Add("status", "running")})
			if err != nil {
				t.Fatal(err)
			}
			got := ps.Items[0]
			if got.Status != "Up 3 minutes" || got.Command != "httpd -f '-h /srv'" || got.Names[0] != "/web" || got.Image != "busybox" || got.SizeRw != 5 {
				t.Errorf("ps: %+v", got)
			}
			in, err := c.ContainerInspect(ctx, "web", client.ContainerInspectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ep := in.Container.NetworkSettings.Networks["bridge"]
			if ep.IPAddress.String() != "172.17.0.2" || ep.IPPrefixLen != 16 || ep.MacAddress.String() != "02:42:ac:11:00:02" || ep.Gateway.String() != "172.17.0.1" {
				t.Errorf("endpoint: %+v", ep)
			}
			if !in.Container.State.Running || in.Container.HostConfig.ShmSize != 64<<20 || in.Container.Config.Image != "busybox" || in.Container.HostConfig.NetworkMode != "bridge" {
				t.Errorf("inspect: %+v", in.Container)
			}
			if _, err := c.ContainerInspect(ctx, "none", client.ContainerInspectOptions{}); err == nil || !strings.Contains(err.Error(), "No such container: none") {
				t.Errorf("inspect of none: %v", err)
			}
			three := 3
			_, serr := c.ContainerStop(ctx, "web", client.ContainerStopOptions{Timeout: &three})
			_, rerr := c.ContainerRestart(ctx, "web", client.ContainerRestartOptions{})
			_, kerr := c.ContainerKill(ctx, "web", client.ContainerKillOptions{Signal: "HUP"})
			_, nerr := c.ContainerRename(ctx, "web", client.ContainerRenameOptions{NewName: "w"})
			_, zerr := c.ContainerResize(ctx, "web", client.ContainerResizeOptions{Height: 24, Width: 80})
			_, derr := c.ContainerRemove(ctx, "web", client.ContainerRemoveOptions{Force: true})
			if err := errors.Join(serr, rerr, kerr, nerr, zerr, derr); err != nil {
				t.Error(err)
			}
			testClientImages(t, c)
			testClientRest(t, c)
		})
	}
}

func testClientImages(t *testing.T, c *client.Client) {
	ctx := t.Context()
	list, err := c.ImageList(ctx, client.ImageListOptions{})
	if err != nil || len(list.Items) != 2 || list.Items[0].RepoTags[0] != "busybox:latest" {
		t.Errorf("images: %+v, %v", list, err)
	}
	img, err := c.ImageInspect(ctx, "busybox")
	if err != nil || img.ID != testImage.ID.String() || img.Config.Cmd[0] != "sh" || img.Config.Labels["k"] != "v" || len(img.RootFS.Layers) != 1 {
		t.Errorf("image: %+v, %v", img, err)
	}
	hist, err := c.ImageHistory(ctx, "busybox")
	if err != nil || len(hist.Items) != 2 || hist.Items[0].ID != testImage.ID.String() || hist.Items[1].ID != "<missing>" {
		t.Errorf("history: %+v, %v", hist, err)
	}
	if _, err := c.ImageTag(ctx, client.ImageTagOptions{Source: "busybox", Target: "localhost:5000/b:1"}); err != nil {
		t.Error(err)
	}
	rm, err := c.ImageRemove(ctx, "busybox", client.ImageRemoveOptions{})
	if err != nil || len(rm.Items) != 2 {
		t.Errorf("rmi: %+v, %v", rm, err)
	}
}

func testClientRest(t *testing.T, c *client.Client) {
	ctx := t.Context()
	ver, err := c.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil || ver.Version != "0.1.0" || ver.Components[1].Name != "runc" {
		t.Errorf("version: %+v, %v", ver, err)
	}
	info, err := c.Info(ctx, client.InfoOptions{})
	if err != nil || info.Info.Images != 7 || info.Info.FirewallBackend.Driver != "iptables (nf_tables)" || len(info.Info.RegistryConfig.InsecureRegistryCIDRs) != 1 {
		t.Errorf("info: %+v, %v", info, err)
	}
	vols, err := c.VolumeList(ctx, client.VolumeListOptions{})
	if err != nil || vols.Items[0].Name != "v" || vols.Items[0].Scope != "local" {
		t.Errorf("volumes: %+v, %v", vols, err)
	}
	if _, err := c.VolumeCreate(ctx, client.VolumeCreateOptions{Name: "v"}); err != nil {
		t.Error(err)
	}
	if _, err := c.VolumeRemove(ctx, "v", client.VolumeRemoveOptions{}); err != nil {
		t.Error(err)
	}
	net, err := c.NetworkInspect(ctx, "bridge", client.NetworkInspectOptions{})
	if err != nil || net.Network.IPAM.Config[0].Gateway.String() != "172.17.0.1" || net.Network.Containers[testID].Name != "web" {
		t.Errorf("network: %+v, %v", net, err)
	}
	if nets, err := c.NetworkList(ctx, client.NetworkListOptions{}); err != nil || nets.Items[0].Name != "bridge" {
		t.Errorf("networks: %+v, %v", nets, err)
	}
	top, err := c.ContainerTop(ctx, "web", client.ContainerTopOptions{})
	if err != nil || top.Processes[0][1] != "httpd" {
		t.Errorf("top: %+v, %v", top, err)
	}
}

// TestClientRun is docker run -i by moby's client.
func TestClientRun(t *testing.T) {
	d := openDoor(t)
	running(d)
	c, ctx := d.client(davit.APIVersion), t.Context()
	made, err := c.ContainerCreate(ctx, client.ContainerCreateOptions{Config: &container.Config{Image: "busybox", OpenStdin: true, StdinOnce: true}})
	if err != nil {
		t.Fatal(err)
	}
	att, err := c.ContainerAttach(ctx, made.ID, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer att.Close()
	wait := c.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := c.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(att.Conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := att.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errs, att.Reader); err != nil || out.String() != "hello" || errs.String() != "done\n" {
		t.Errorf("streams %q %q, %v", &out, &errs, err)
	}
	if r := within(t, "the exit", wait.Result); r.StatusCode != 3 {
		t.Errorf("exit %+v", r)
	}
}

// docker runs the docker CLI against the door.
func docker(t *testing.T, d *door, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	path, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("the docker CLI is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+d.path, "DOCKER_CONFIG="+t.TempDir(), "DOCKER_API_VERSION=")
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestCLI compares what the docker CLI makes of the replies.
func TestCLI(t *testing.T) {
	d := openDoor(t)
	populate(d)
	for _, c := range []struct {
		args []string
		want string // the whole output
	}{
		{
			[]string{"ps", "--format", "{{.ID}} {{.Image}} {{.Command}} {{.Status}} {{.Ports}} {{.Names}} {{.State}} {{.Mounts}} {{.Networks}}"},
			`c0c0c0c0c0c0 busybox "httpd -f '-h /srv'" Up 3 minutes 9/udp, 0.0.0.0:8080->80/tcp web running v bridge` + "\n",
		},
		{[]string{"images", "--format", "{{.Repository}} {{.Tag}} {{.ID}} {{.Size}}"}, "busybox latest 111111111111 4.19MB\n<none> <none> 444444444444 1B\n"},
		{[]string{"images", "-q"}, "111111111111\n444444444444\n"},
		{
			[]string{"inspect", "-f", "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Networks.bridge.Gateway}} {{.State.Status}} {{.HostConfig.NetworkMode}} {{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "web"},
			"172.17.0.2 172.17.0.1 running bridge 8080\n",
		},
		{[]string{"port", "web"}, "80/tcp -> 0.0.0.0:8080\n"},
		{[]string{"image", "inspect", "-f", "{{.Id}} {{.Config.Cmd}} {{.Architecture}}", "busybox"}, testImage.ID.String() + " [sh] amd64\n"},
		{
			[]string{"version", "-f", "{{.Server.Version}} {{.Server.APIVersion}} {{.Server.MinAPIVersion}} {{.Server.GitCommit}} {{range .Server.Components}}{{.Name}} {{end}}"},
			"0.1.0 1.56 1.40 abcdef0 Engine runc \n",
		},
		{[]string{"info", "-f", "{{.ServerVersion}} {{.Driver}} {{.ContainersRunning}} {{.Swarm.LocalNodeState}} {{.FirewallBackend.Driver}}"}, davit.Release + " overlay 1 inactive iptables (nf_tables)\n"},
		{[]string{"volume", "ls", "-q"}, "v\n"},
		{[]string{"volume", "create", "v"}, "v\n"},
		{[]string{"network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"}, "bridge bridge local\n"},
		{[]string{"network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}", "bridge"}, "web 172.17.0.2/16\n"},
		{[]string{"top", "web"}, "PID                 CMD\n42                  httpd\n"},
		{[]string{"rmi", "busybox"}, "Untagged: busybox:latest\nDeleted: " + testImage.ID.String() + "\n"},
		{[]string{"history", "-q", "--no-trunc", "busybox"}, testImage.ID.String() + "\n<missing>\n"},
		{[]string{"stop", "web"}, "web\n"},
		{[]string{"rm", "-f", "web"}, "web\n"},
	} {
		out, errs, code := docker(t, d, "", c.args...)
		if diff := cmp.Diff(c.want, out); diff != "" || code != 0 {
			t.Errorf("docker %s: exit %d %s%s", strings.Join(c.args, " "), code, errs, diff)
		}
	}
	out, errs, _ := docker(t, d, "", "info")
	for _, want := range []string{" Server Version: " + davit.Release, " Cgroup Driver: systemd", "  seccomp", "  reg:5000", "  127.0.0.0/8", " Live Restore Enabled: true"} {
		if !strings.Contains(out, want) {
			t.Errorf("docker info lacks %q:\n%s", want, out)
		}
	}
	if strings.TrimSpace(errs) != "WARNING: take care" {
		t.Errorf("docker info warns: %s", errs)
	}
	out, _, _ = docker(t, d, "", "version")
	if !strings.Contains(out, "Server: Davit\n Engine:\n  Version:          0.1.0\n  API version:      1.56 (minimum version 1.40)") {
		t.Errorf("docker version:\n%s", out)
	}
	out, _, _ = docker(t, d, "", "inspect", "web")
	if !json.Valid([]byte(out)) || !strings.Contains(out, `"/proc/kcore"`) {
		t.Errorf("docker inspect:\n%s", out)
	}
	if _, errs, code := docker(t, d, "", "inspect", "none"); code != 1 || !strings.Contains(strings.ToLower(errs), "no such object: none") {
		t.Errorf("docker inspect of none: exit %d %s", code, errs)
	}
	if _, errs, code := docker(t, d, "", "node", "ls"); code != 1 || !strings.Contains(errs, "This node is not a swarm manager") {
		t.Errorf("docker node ls: exit %d %s", code, errs)
	}
}

func TestCLIUpdate(t *testing.T) {
	d := openDoor(t)
	asked := make(chan davit.ContainerUpdate, 1)
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.ContainerUpdate) ([]string, error) {
		asked <- q
		return []string{"take care"}, nil
	})
	out, errs, code := docker(t, d, "", "update", "--cpus", "1.5", "--pids-limit", "-1", "--restart", "on-failure:3", "web")
	if out != "web\ntake care\n" || code != 0 {
		t.Errorf("docker update: exit %d %q %q", code, out, errs)
	}
	want := davit.ContainerUpdate{
		Container: "web", Resources: davit.Resources{NanoCPUs: 1_500_000_000, PidsLimit: new(int64(-1))},
		RestartPolicy: &davit.RestartPolicy{Name: "on-failure", MaximumRetryCount: 3},
	}
	if diff := cmp.Diff(want, <-asked); diff != "" {
		t.Error(diff)
	}
	_, _, _ = docker(t, d, "", "update", "--memory", "64m", "web")
	want = davit.ContainerUpdate{Container: "web", Resources: davit.Resources{Memory: 64 << 20}}
	if diff := cmp.Diff(want, <-asked); diff != "" {
		t.Error(diff)
	}
}

// TestCLIRun has the docker CLI run a container with input, and exec in one.
func TestCLIRun(t *testing.T) {
	d := openDoor(t)
	populate(d)
	running(d)
	out, errs, code := docker(t, d, "hello\n", "run", "-i", "busybox", "cat")
	if out != "hello\n" || errs != "done\n" || code != 3 {
		t.Errorf("docker run: %q %q exit %d", out, errs, code)
	}
	out, errs, code = docker(t, d, "again\n", "exec", "-i", "web", "cat")
	if out != "again\n" || errs != "done\n" || code != 4 {
		t.Errorf("docker exec: %q %q exit %d", out, errs, code)
	}
	_, errs, code = docker(t, d, "", "run", "--runtime", "other", "busybox")
	if code != 125 || !strings.Contains(errs, "HostConfig.Runtime other is not supported") {
		t.Errorf("docker run --runtime: exit %d %s", code, errs)
	}
}

// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
)

// volume makes a volume, which goes with the test.
func volume(t testing.TB, e *engine, name string, options map[string]string) {
	t.Helper()
	made, err := e.cli.VolumeCreate(t.Context(), client.VolumeCreateOptions{
		Name: name, DriverOpts: options, Labels: map[string]string{"of": "the test", "name": name},
	})
	if err != nil {
		t.Fatalf("volume create: %v", err)
	}
	if made.Volume.Name != name || made.Volume.Driver != "local" || made.Volume.Labels["of"] != "the test" {
		t.Errorf("made was %+v", made.Volume)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := e.cli.VolumeRemove(ctx, name, client.VolumeRemoveOptions{Force: true}); err != nil {
			t.Errorf("cannot remove the volume: %v", err)
		}
	})
}

func volumeNames(t *testing.T, e *engine, f client.Filters) []string {
	t.Helper()
	list, err := e.cli.VolumeList(t.Context(), client.VolumeListOptions{Filters: f})
	if err != nil {
		t.Fatalf("volume list: %v", err)
	}
	names := []string{}
	for _, v := range list.Items {
		names = append(names, v.Name)
	}
	slices.Sort(names)
	return names
}

func TestVolumesLabelsAndFilters(t *testing.T) {
	e := daemon(t)
	volume(t, e, "filter-a", nil)
	volume(t, e, "filter-b", nil)
	e.create(t, idle(func(s *spec) { s.Host.Binds = []string{"filter-a:/v"} }))
	for _, row := range []struct {
		line string
		f    client.Filters
		want []string
	}{
		{"all", nil, []string{"filter-a", "filter-b"}},
		{"name", client.Filters{}.Add("name", "filter-b"), []string{"filter-b"}},
		{"label", client.Filters{}.Add("label", "of"), []string{"filter-a", "filter-b"}},
		{"label and value", client.Filters{}.Add("label", "name=filter-a"), []string{"filter-a"}},
		{"dangling", client.Filters{}.Add("dangling", "true"), []string{"filter-b"}},
		{"in use", client.Filters{}.Add("dangling", "false"), []string{"filter-a"}},
		{"driver", client.Filters{}.Add("driver", "nfs"), []string{}},
	} {
		t.Run(row.line, func(t *testing.T) {
			if got := volumeNames(t, e, row.f); !slices.Equal(got, row.want) {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
	if _, err := e.cli.VolumeList(t.Context(), client.VolumeListOptions{Filters: client.Filters{}.Add("colour", "red")}); statusOf(err) != 400 {
		t.Errorf("a filter that there is not: %v", err)
	}
}

func TestVolumesLocalDriverOptions(t *testing.T) {
	e := daemon(t)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/there", []byte("of the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	volume(t, e, "option-bind", map[string]string{"type": "none", "o": "bind,ro", "device": dir})
	volume(t, e, "option-tmpfs", map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"})
	r := e.run(t, sh("cat /b/there; touch /b/x 2>/dev/null || echo read-only; grep ' /t ' /proc/mounts", func(s *spec) {
		s.Host.Binds = []string{"option-bind:/b", "option-tmpfs:/t"}
	}))
	check(t, "in the container", r.stdout, "~(?s)^of the host\nread-only\ntmpfs /t tmpfs .*size=1024k.*uid=1000")
	got, err := e.cli.VolumeInspect(t.Context(), "option-tmpfs", client.VolumeInspectOptions{})
	if err != nil || got.Volume.Options["o"] != "size=1m,uid=1000" {
		t.Errorf("inspect: %+v, %v", got.Volume, err)
	}
	// A server that is not there: what mount(2) says, and nothing left behind.
	volume(t, e, "option-nfs", map[string]string{"type": "nfs", "o": "addr=127.0.0.1,vers=4,soft,timeo=1,retrans=0", "device": ":/export"})
	id := e.create(t, sh("true", func(s *spec) { s.Host.Binds = []string{"option-nfs:/n"} }))
	if _, err := e.cli.ContainerStart(t.Context(), id, client.ContainerStartOptions{}); err == nil || !strings.Contains(err.Error(), "option-nfs") {
		t.Errorf("start with an NFS server that is not there: %v", err)
	}
	for _, options := range []map[string]string{{"type": "none", "o": "bind"}, {"size": "1g", "type": "ext4"}, {"colour": "red"}} {
		_, err := e.cli.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: "option-bad", DriverOpts: options})
		if err == nil {
			t.Errorf("%v was taken", options)
			_, _ = e.cli.VolumeRemove(t.Context(), "option-bad", client.VolumeRemoveOptions{})
		}
	}
}

func TestVolumesInUseAreKept(t *testing.T) {
	e := daemon(t)
	volume(t, e, "in-use", nil)
	id := e.create(t, idle(func(s *spec) { s.Host.Binds = []string{"in-use:/v"} }))
	_, err := e.cli.VolumeRemove(t.Context(), "in-use", client.VolumeRemoveOptions{})
	if statusOf(err) != 409 || !strings.Contains(err.Error(), "volume is in use") || !strings.Contains(err.Error(), id) {
		t.Errorf("refused by %v", err)
	}
	if _, err := e.cli.VolumeRemove(t.Context(), "is-not-there", client.VolumeRemoveOptions{}); statusOf(err) != 404 {
		t.Errorf("a volume that is not there: %v", err)
	}
}

func TestVolumesPrune(t *testing.T) {
	e := daemon(t)
	volume(t, e, "prune-named", nil)
	holder := e.create(t, idle(func(s *spec) { s.Volumes = map[string]struct{}{"/used": {}} }))
	e.startAgain(t, holder)
	used := e.inspect(t, holder).Mounts[0].Name
	made, err := e.cli.VolumeCreate(t.Context(), client.VolumeCreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	prune := func(o client.VolumePruneOptions) []string {
		t.Helper()
		r, err := e.cli.VolumePrune(t.Context(), o)
		if err != nil {
			t.Fatalf("prune: %v", err)
		}
		return r.Report.VolumesDeleted
	}
	if got := prune(client.VolumePruneOptions{}); !slices.Equal(got, []string{made.Volume.Name}) {
		t.Errorf("pruned were %v, want the anonymous one %s", got, made.Volume.Name)
	}
	if got := prune(client.VolumePruneOptions{All: true, Filters: client.Filters{}.Add("label!", "of")}); len(got) > 0 {
		t.Errorf("pruned were %v, which have the label", got)
	}
	if got := prune(client.VolumePruneOptions{All: true}); !slices.Equal(got, []string{"prune-named"}) {
		t.Errorf("pruned were %v, want the named one", got)
	}
	if got := volumeNames(t, e, nil); !slices.Equal(got, []string{used}) {
		t.Errorf("left are %v, want %s, which is in use", got, used)
	}
}

func TestVolumesUsageData(t *testing.T) {
	e := daemon(t)
	volume(t, e, "usage", nil)
	id := e.start(t, idle(func(s *spec) {
		s.Host.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: "usage", Target: "/v"}}
	}))
	e.in(t, id, "dd if=/dev/zero of=/v/file bs=1k count=100 2>/dev/null")
	du, err := e.cli.DiskUsage(t.Context(), client.DiskUsageOptions{Volumes: true, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	if v := du.Volumes; v.TotalCount != 1 || v.ActiveCount != 1 || v.TotalSize < 100<<10 || len(v.Items) != 1 {
		t.Fatalf("df says %+v", v)
	}
	if u := du.Volumes.Items[0].UsageData; u == nil || u.Size < 100<<10 || u.RefCount != 1 {
		t.Errorf("df says %+v", u)
	}
}

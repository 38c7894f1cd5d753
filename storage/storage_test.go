// SPDX-License-Identifier: Apache-2.0

package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/tarfs/tartest"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/images"
	"github.com/davit-engine/davit/storage"
	"github.com/davit-engine/davit/storage/image"
	"github.com/davit-engine/davit/storage/overlay"
	"github.com/davit-engine/davit/storage/volume"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

var (
	_ service.State       = (*storage.StateDB)(nil)
	_ images.Store        = (*image.Store)(nil)
	_ service.RootfsStore = (*overlay.Store)(nil)
	_ service.VolumeStore = (*volume.Store)(nil)
	_ service.Files       = (*storage.Files)(nil)
)

func openStore(t *testing.T, root string) *storage.Store {
	t.Helper()
	testutil.RequireRoot(t)
	s, err := storage.Open(storage.Options{Root: root, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func id(digit string) string { return strings.Repeat(digit, 64) }

func TestStateSurvives(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root)
	want := &davit.Container{
		ID: id("a"), Name: "web", Created: time.Now().UTC(), Config: davit.ContainerConfig{Env: []string{"A=b"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}},
		HostConfig: davit.HostConfig{Resources: davit.Resources{Memory: 1 << 40, NanoCPUs: 1}, PortBindings: map[string][]davit.PortBinding{"80/tcp": {{HostPort: "8080"}}}},
		Endpoints:  []davit.Endpoint{{Address: netip.MustParsePrefix("172.17.0.2/16"), Ports: []davit.PortMapping{{HostIP: netip.MustParseAddr("::1"), HostPort: 80}}}},
		State:      davit.State{Status: davit.StatusExited, ExitCode: 137, FinishedAt: time.Now().UTC()},
	}
	network := davit.Network{ID: id("b"), Name: "bridge", Subnet: netip.MustParsePrefix("172.17.0.0/16")}
	if err := errors.Join(s.State().PutContainer(want), s.State().PutNetwork(network)); err != nil {
		t.Fatal(err)
	}
	engine, err := s.State().EngineID()
	if err != nil || len(engine) != 36 {
		t.Fatalf("EngineID = %q, %v", engine, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, root)
	compare := cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
	got, err := s.State().Containers()
	if diff := cmp.Diff([]*davit.Container{want}, got, compare); err != nil || diff != "" {
		t.Errorf("Containers: %v (-want +got):\n%s", err, diff)
	}
	networks, err := s.State().Networks()
	if diff := cmp.Diff([]davit.Network{network}, networks, compare); err != nil || diff != "" {
		t.Errorf("Networks: %v (-want +got):\n%s", err, diff)
	}
	if again, err := s.State().EngineID(); err != nil || again != engine {
		t.Errorf("EngineID = %q, %v; was %q", again, err, engine)
	}
}

func TestNamesAreUnique(t *testing.T) {
	s := openStore(t, t.TempDir()).State()
	put := func(digit, name string) error { return s.PutContainer(&davit.Container{ID: id(digit), Name: name}) }
	if err := errors.Join(put("a", "web"), put("a", "web"), put("b", "db")); err != nil {
		t.Fatal(err)
	}
	err := put("c", "web")
	want := fmt.Sprintf("Conflict. The container name %q is already in use by container %q. "+
		"You have to remove (or rename) that container to be able to reuse that name.", "/web", id("a"))
	if davit.CodeOf(err) != davit.NameConflict || err.Error() != want {
		t.Errorf("a taken name: %v", err)
	}
	if err := put("b", "web"); davit.CodeOf(err) != davit.NameConflict {
		t.Errorf("a rename to a taken name: %v", err)
	}
	if err := errors.Join(put("a", "old"), put("b", "web"), put("c", "db")); err != nil {
		t.Errorf("names that renames freed: %v", err)
	}
	if err := errors.Join(s.DeleteContainer(id("b")), s.DeleteContainer(id("b")), put("d", "web")); err != nil {
		t.Errorf("a name that a removal freed: %v", err)
	}
	if all, err := s.Containers(); err != nil || len(all) != 3 {
		t.Errorf("Containers = %v, %v", all, err)
	}
}

func TestOpenWhileOpen(t *testing.T) {
	root := t.TempDir()
	openStore(t, root)
	_, err := storage.Open(storage.Options{Root: root})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(root, "davit.db")) {
		t.Errorf("Open of what is open: %v", err)
	}
}

// TestContainerFiles follows a container's life as docker cp and volumes see it.
func TestContainerFiles(t *testing.T) {
	s := openStore(t, t.TempDir())
	home := tartest.Dir("home/user")
	home.Uid, home.Mode = 1000, 0o700
	data := tartest.Make(t, tartest.Dir("etc"), tartest.File("etc/conf", "old"), home, tartest.File("home/user/f", "f"), tartest.Symlink("conf", "/etc/conf"))
	img, err := s.Images().Import(t.Context(), davit.Import{Source: bytes.NewReader(data), Reference: "files"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Rootfs().Create(id("a"), img); err != nil {
		t.Fatal(err)
	}
	root, release, err := s.Rootfs().Mount(id("a"))
	if err != nil {
		t.Fatal(err)
	}
	f := s.Files()
	if st, err := f.Stat(root, "/conf"); err != nil || st.LinkTarget != "/etc/conf" || st.Name != "conf" || os.FileMode(st.Mode)&os.ModeSymlink == 0 {
		t.Errorf("Stat of a link = %+v, %v", st, err)
	}
	if _, err := f.Stat(root, "/nowhere"); davit.CodeOf(err) != davit.NoSuchFile {
		t.Errorf("Stat of nothing: %v", err)
	}
	extract := func(path string, data []byte) error {
		return f.Extract(t.Context(), root, path, davit.ContainerExtract{Source: bytes.NewReader(data), NoOverwriteDirNonDir: true})
	}
	if err := extract("/etc", tartest.Make(t, tartest.File("conf", "new"))); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]davit.Code{"/nowhere": davit.NoSuchFile, "/etc/conf": davit.InvalidConfiguration} {
		if err := extract(path, tartest.Make(t, tartest.File("x", ""))); err == nil || davit.CodeOf(err) != want {
			t.Errorf("Extract to %s: %v, want %s", path, err, want)
		}
	}
	for name, data := range map[string][]byte{
		"text": []byte(strings.Repeat("garbage", 100)), "a cut tar": tartest.Make(t, tartest.File("x", "0123456789"))[:515],
		"a hard link to nothing": tartest.Make(t, tartest.Link("x", "nowhere")),
	} {
		if err := extract("/etc", data); davit.CodeOf(err) != davit.InvalidArchive {
			t.Errorf("Extract of %s: %v", name, err)
		}
	}
	if err := extract("/", tartest.Make(t, tartest.File("etc", ""))); davit.CodeOf(err) != davit.InvalidConfiguration {
		t.Errorf("Extract of a file over a directory: %v", err)
	}
	v, err := s.Volumes().Create(davit.Volume{Name: "home"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.CopyUp(root, "/home/user", v.Mountpoint), f.CopyUp(root, "/nowhere", v.Mountpoint), f.CopyUp(root, "/etc", v.Mountpoint)); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(v.Mountpoint, &st); err != nil || st.Uid != 1000 || st.Mode&0o777 != 0o700 {
		t.Errorf("the volume has %+v, %v", st, err)
	}
	if _, err := os.Stat(filepath.Join(v.Mountpoint, "conf")); err == nil {
		t.Error("a volume that was not empty was filled")
	}
	if err := errors.Join(release(), s.Rootfs().Remove(id("a"))); err != nil {
		t.Error(err)
	}
}

func TestFullDisk(t *testing.T) {
	testutil.RequireRoot(t)
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := openStore(t, root)
	var before, after unix.Statfs_t
	if err := unix.Statfs(root, &before); err != nil {
		t.Fatal(err)
	}
	data := tartest.Make(t, tartest.File("big", strings.Repeat("x", 8<<20)))
	if _, err := s.Images().Import(t.Context(), davit.Import{Source: bytes.NewReader(tartest.Gzip(t, data))}); davit.CodeOf(err) != davit.NoSpace {
		t.Errorf("Import on a full disk: %v", err)
	} else {
		t.Log(err)
	}
	if _, err := s.Images().Load(t.Context(), davit.Load{Source: bytes.NewReader(data)}); davit.CodeOf(err) != davit.NoSpace {
		t.Errorf("Load on a full disk: %v", err)
	} else {
		t.Log(err)
	}
	if err := unix.Statfs(root, &after); err != nil || after.Bfree < before.Bfree {
		t.Errorf("%d blocks are free, %d were: %v", after.Bfree, before.Bfree, err)
	}
}

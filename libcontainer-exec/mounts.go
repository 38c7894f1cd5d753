// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// convertMounts returns the container's mounts and those of its generated
// files, which it writes.
func convertMounts(l davit.Launch) ([]protocol.Mount, error) {
	var mounts []protocol.Mount
	taken := make(map[string]bool)
	for i := range l.Container.Mounts {
		mount, err := convertMount(l, &l.Container.Mounts[i])
		if err != nil {
			return nil, err
		}
		taken[filepath.Clean(mount.Target)] = true
		mounts = append(mounts, mount)
	}
	for _, f := range l.Files {
		if taken[filepath.Clean(f.Target)] {
			continue
		}
		source := filepath.Join(l.Dir, filepath.Base(f.Target))
		if f.Dir != "" {
			source = filepath.Join(f.Dir, filepath.Base(f.Target))
			if _, err := os.Stat(source); err == nil {
				mounts = append(mounts, protocol.Mount{Type: "bind", Source: source, Target: f.Target})
			}
			continue
		}
		if err := writeGenerated(source, f.Content); err != nil {
			return nil, fmt.Errorf("cannot write %s of container %s: %w", f.Target, l.Container.Name, err)
		}
		mounts = append(mounts, protocol.Mount{Type: "bind", Source: source, Target: f.Target})
	}
	return mounts, nil
}

func convertMount(l davit.Launch, m *davit.Mount) (protocol.Mount, error) {
	mount := protocol.Mount{
		Type: "bind", Source: m.Source, Target: m.Target, Volume: m.Name, ReadOnly: !m.ReadWrite, Propagation: m.Propagation, MakeSource: m.MakeSource,
		Subpath: m.Subpath, NonRecursive: m.NonRecursive, ShallowReadOnly: m.ReadOnlyNonRecursive, ForceReadOnly: m.ReadOnlyForceRecursive,
	}
	switch {
	case m.Type == "tmpfs":
		mount.Type, mount.Source = "tmpfs", ""
		if m.Options != "" {
			mount.Options = strings.Split(m.Options, ",")
		}
	case m.Type == "image":
		mount.Type, mount.Source, mount.Layers = "image", "", l.Rootfs.Images[m.Source]
		if len(mount.Layers) == 0 {
			return mount, fmt.Errorf("cannot mount image %s at %s: its layers are not kept for the container", m.Source, m.Target)
		}
	case m.Type == "volume" && len(m.VolumeOptions) > 0:
		mount.Type, mount.VolumeOptions = "volume", m.VolumeOptions
		mount.Fill = m.CopyUp && l.First
	}
	return mount, nil
}

// writeGenerated writes a file that the container will see, whatever the
// daemon's umask is. It is replaced: the container of an earlier run may have
// made a link of it.
func writeGenerated(path string, content []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Chmod(0o644), f.Close())
}

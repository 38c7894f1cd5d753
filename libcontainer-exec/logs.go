// SPDX-License-Identifier: Apache-2.0

package libcontainerexec

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/journal"
	"github.com/davit-engine/davit/internal/logconfig"
	"github.com/davit-engine/davit/libcontainer-exec/protocol"
)

// convertLog says where the container's output goes.
func convertLog(l davit.Launch) (protocol.Log, error) {
	c, config := l.Container, l.Container.HostConfig.LogConfig
	driver := config.Type
	if driver == "" {
		driver = logconfig.JSONFile // records of the first versions do not say
	}
	o, err := logconfig.Parse(driver, config.Config)
	if err != nil {
		return protocol.Log{}, davit.Errorf(davit.InvalidConfiguration, "%w", err)
	}
	log := protocol.Log{
		Driver: driver, Path: l.LogPath,
		MaxSize: o.MaxSize, MaxFiles: o.MaxFiles, Compress: o.Compress, Buffer: o.Buffer,
	}
	told := &logconfig.Container{
		ID: c.ID, Name: c.Name, ImageID: c.ImageID.String(), ImageName: c.ImageRef,
		Command: append([]string{c.Path}, c.Args...), Labels: c.Config.Labels, Env: c.Config.Env,
	}
	switch driver {
	case logconfig.None:
		return protocol.Log{}, nil
	case logconfig.Journald:
		// Asked now: a unit that cannot log is not to start. That the socket is
		// missing is not said: the docker CLI takes "no such file" in the error
		// of a start for a program that the image lacks, and exits with 127.
		if _, err := os.Stat(journal.SocketPath); err != nil {
			return protocol.Log{}, davit.Errorf(davit.NotSupported, "cannot log to journald, which is not enabled on this host: use another --log-driver")
		}
		log.Fields = o.Fields(told)
	case logconfig.Local:
		if err := os.MkdirAll(filepath.Dir(log.Path), 0o700); err != nil {
			return protocol.Log{}, fmt.Errorf("cannot make the log directory of container %s: %w", c.Name, err)
		}
	default:
		log.Attrs, err = o.Attrs(told)
	}
	return log, err
}

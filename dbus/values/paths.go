// SPDX-License-Identifier: Apache-2.0

package values

import (
	"strconv"
	"strings"

	godbus "github.com/godbus/dbus/v5"
	"github.com/opencontainers/go-digest"

	"github.com/davit-engine/davit/dbus/objectpath"
)

// Root is the path of the object with the Manager interface.
const Root godbus.ObjectPath = "/org/davit/Engine1"

// Path is the path of the object with a key in a directory below [Root].
func Path(dir, key string) godbus.ObjectPath {
	return Root + "/" + godbus.ObjectPath(dir+"/"+objectpath.Escape(key))
}

// JobPath is the path of a job.
func JobPath(id uint32) godbus.ObjectPath { return Path("job", strconv.FormatUint(uint64(id), 10)) }

// ContainerPath is the path of a container.
func ContainerPath(id string) godbus.ObjectPath { return Path("container", id) }

// ImagePath leaves the algorithm out: every image id is a sha256.
func ImagePath(id digest.Digest) godbus.ObjectPath { return Path("image", Hex(id)) }

// Hex is an id without the algorithm.
func Hex(id digest.Digest) string {
	_, hex, _ := strings.Cut(string(id), ":")
	return hex
}

// ExecPath is the path of an exec session.
func ExecPath(id string) godbus.ObjectPath { return Path("exec", id) }

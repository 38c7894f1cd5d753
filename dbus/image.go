// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"strings"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
)

func imageProperties(i davit.Image) properties {
	return properties{
		"Id": string(i.ID), "References": texts(i.Tags), "Digests": texts(i.Digests), "CreateTimestamp": usec(i.Created),
		"Size": uint64(max(0, i.Size)), "Architecture": text(i.Architecture), "Os": text(i.OS),
	}
}

// imageLine is a line of ListImages, a(sasttto).
type imageLine struct {
	ID         string
	References []string
	Created    uint64 // microseconds since the epoch
	Size       uint64 // bytes, unpacked
	Containers uint64 // that were made of it
	Path       godbus.ObjectPath
}

func listImages(c *call) ([]any, error) {
	filters, err := listArgs(c)
	if err != nil {
		return nil, err
	}
	list, err := ask(c, davit.Images{Filters: filters})
	lines := []imageLine{}
	for _, i := range list {
		lines = append(lines, imageLine{
			string(i.ID), texts(i.Tags), usec(i.Created), uint64(max(0, i.Size)), uint64(max(0, i.Containers)), imagePath(i.ID),
		})
	}
	return []any{lines}, err
}

func getImage(c *call) ([]any, error) {
	i, err := ask(c, davit.ImageInspect{Image: arg[string](c, 0)})
	return []any{imagePath(i.ID)}, err
}

// pullImage translates PullImage(reference, options, flags); the only option is
// Platform s, "linux/arm64/v8".
func pullImage(c *call) ([]any, error) {
	q := davit.Pull{Reference: arg[string](c, 0)}
	if err := checkFlags(arg[uint64](c, 2), 0); err != nil {
		return nil, err
	}
	o := &options{values: arg[map[string]godbus.Variant](c, 1)}
	var platform string
	take(o, "Platform", &platform)
	if err := o.finish(); err != nil {
		return nil, err
	}
	if platform != "" {
		parts := strings.Split(platform, "/")
		if len(parts) < 2 || len(parts) > 3 {
			return nil, refuse(invalidArgs, "Platform %q is not of the form OS/ARCHITECTURE[/VARIANT]", platform)
		}
		q.Platform.OS, q.Platform.Architecture = parts[0], parts[1]
		if len(parts) == 3 {
			q.Platform.Variant = parts[2]
		}
	}
	return c.submit(q)
}

func tagImage(c *call) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 2), 0); err != nil {
		return nil, err
	}
	return c.submit(davit.Tag{Image: arg[string](c, 0), Reference: arg[string](c, 1)})
}

func tagThisImage(c *call, i davit.Image) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 1), 0); err != nil {
		return nil, err
	}
	return c.submit(davit.Tag{Image: string(i.ID), Reference: arg[string](c, 0)})
}

func removeImage(c *call) ([]any, error) {
	return deleteImage(c, arg[string](c, 0), arg[uint64](c, 1))
}

func removeThisImage(c *call, i davit.Image) ([]any, error) {
	return deleteImage(c, string(i.ID), arg[uint64](c, 0))
}

func deleteImage(c *call, image string, flags uint64) ([]any, error) {
	if err := checkFlags(flags, flagForce); err != nil {
		return nil, err
	}
	return c.submit(davit.ImageDelete{Image: image, Force: flags&flagForce != 0})
}

func describeImage(_ *call, i davit.Image) ([]any, error) { return document(i, nil) }

func imageHistory(c *call, i davit.Image) ([]any, error) {
	return document(ask(c, davit.History{Image: string(i.ID)}))
}

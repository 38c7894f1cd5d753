// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"slices"
	"strconv"
	"strings"

	godbus "github.com/godbus/dbus/v5"
	"github.com/opencontainers/go-digest"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// rootPath is the path of the object with the Manager interface.
const rootPath godbus.ObjectPath = "/org/davit/Engine1"

// properties are the values of an object's properties by their names.
type properties map[string]any

// object is what a path names.
type object struct {
	iface      string // "" for a node that is only there for its children
	thing      any    // what the interface's handlers work on
	properties func(context.Context) (properties, error)
	children   []string
}

// manager is the thing behind rootPath.
type manager struct{}

// collection is a directory of objects below rootPath. Keys are what path
// elements decode to.
type collection struct {
	name, iface string
	// find fails with a NotFound kind when nothing has the key.
	find func(s *session, ctx context.Context, key string) (object, error)
	keys func(s *session, ctx context.Context) ([]string, error)
}

// collections lists the directories in the order of their names.
func collections() []collection {
	return []collection{
		{"container", containerInterface, (*session).findContainer, (*session).containerKeys},
		{"image", imageInterface, (*session).findImage, (*session).imageKeys},
		{"job", jobInterface, (*session).findJob, (*session).jobKeys},
		{"network", networkInterface, (*session).findNetwork, (*session).networkKeys},
		{"volume", volumeInterface, (*session).findVolume, (*session).volumeKeys},
	}
}

// static tells whether the path exists whatever the engine does.
func static(path godbus.ObjectPath) bool {
	if path == "/" || path == rootPath || strings.HasPrefix(string(rootPath), string(path)+"/") {
		return true
	}
	dir, ok := strings.CutPrefix(string(path), string(rootPath)+"/")
	return ok && slices.ContainsFunc(collections(), func(c collection) bool { return c.name == dir })
}

// resolve finds the object of a path. The children of a directory are listed
// only when list is true.
func (s *session) resolve(ctx context.Context, path godbus.ObjectPath, list bool) (object, error) {
	below, ok := strings.CutPrefix(string(path), string(rootPath)+"/")
	switch {
	case path == rootPath:
		o := object{iface: managerInterface, thing: manager{}, properties: s.managerProperties}
		for _, c := range collections() {
			o.children = append(o.children, c.name)
		}
		return o, nil
	case !ok && static(path):
		rest := strings.TrimPrefix(string(rootPath), strings.TrimSuffix(string(path), "/")+"/")
		child, _, _ := strings.Cut(rest, "/")
		return object{children: []string{child}}, nil
	case !ok:
		return object{}, unknown(path)
	}
	dir, element, deep := strings.Cut(below, "/")
	i := slices.IndexFunc(collections(), func(c collection) bool { return c.name == dir })
	if i < 0 {
		return object{}, unknown(path)
	}
	c := collections()[i]
	if !deep {
		return s.directory(ctx, c, list)
	}
	key, ok := unescape(element)
	if !ok {
		return object{}, unknown(path)
	}
	o, err := c.find(s, ctx, key)
	if davit.KindOf(err) == davit.NotFound {
		return object{}, unknown(path)
	}
	o.iface = c.iface
	return o, err
}

func (s *session) directory(ctx context.Context, c collection, list bool) (object, error) {
	var o object
	if !list {
		return o, nil
	}
	keys, err := c.keys(s, ctx)
	for _, k := range keys {
		o.children = append(o.children, escape(k))
	}
	return o, err
}

func unknown(path godbus.ObjectPath) error { return refuse(unknownObject, "no such object: %s", path) }

// escape makes an element of an object path of any string, as
// sd_bus_path_encode(3) does.
func escape(s string) string {
	if s == "" {
		return "_"
	}
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('_')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// unescape is the inverse of [escape]. Only what escape makes is valid, so
// that an object has one path.
func unescape(element string) (string, bool) {
	if element == "_" {
		return "", true
	}
	var b strings.Builder
	for i := 0; i < len(element); i++ {
		c := element[i]
		if c == '_' {
			if i+2 >= len(element) {
				return "", false
			}
			n, err := strconv.ParseUint(element[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c = byte(n)
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String(), escape(b.String()) == element
}

func pathOf(dir, key string) godbus.ObjectPath {
	return rootPath + "/" + godbus.ObjectPath(dir+"/"+escape(key))
}

func jobPath(id uint32) godbus.ObjectPath { return pathOf("job", strconv.FormatUint(uint64(id), 10)) }

func containerPath(id string) godbus.ObjectPath { return pathOf("container", id) }

// imagePath leaves the algorithm out: every image id is a sha256.
func imagePath(id digest.Digest) godbus.ObjectPath { return pathOf("image", hexOf(id)) }

func hexOf(id digest.Digest) string {
	_, hex, _ := strings.Cut(string(id), ":")
	return hex
}

func (s *session) findJob(_ context.Context, key string) (object, error) {
	id, err := strconv.ParseUint(key, 10, 32)
	if err != nil || strconv.FormatUint(id, 10) != key {
		return object{}, davit.Errorf(davit.NoSuchJob, "no such job: %s", key)
	}
	j, err := s.eng.Job(uint32(id))
	if err != nil {
		return object{}, err
	}
	return object{thing: j, properties: func(context.Context) (properties, error) { return jobProperties(j.Snapshot()), nil }}, nil
}

func (s *session) jobKeys(context.Context) ([]string, error) {
	var keys []string
	for _, j := range s.eng.Jobs() {
		keys = append(keys, strconv.FormatUint(uint64(j.ID()), 10))
	}
	return keys, nil
}

func (s *session) findContainer(ctx context.Context, key string) (object, error) {
	c, err := engine.Do(ctx, s.eng, davit.ContainerInspect{Container: key})
	if err == nil && c.ID != key {
		err = davit.Errorf(davit.NoSuchContainer, "no such container: %s", key) // only the whole id is a path
	}
	return object{thing: c, properties: func(context.Context) (properties, error) { return containerProperties(c), nil }}, err
}

func (s *session) containerKeys(ctx context.Context) ([]string, error) {
	list, err := engine.Do(ctx, s.eng, davit.Containers{All: true})
	var keys []string
	for _, c := range list {
		keys = append(keys, c.ID)
	}
	return keys, err
}

func (s *session) findImage(ctx context.Context, key string) (object, error) {
	i, err := engine.Do(ctx, s.eng, davit.ImageInspect{Image: "sha256:" + key})
	if err == nil && hexOf(i.ID) != key {
		err = davit.Errorf(davit.NoSuchImage, "no such image: %s", key)
	}
	return object{thing: i, properties: func(context.Context) (properties, error) { return imageProperties(i), nil }}, err
}

func (s *session) imageKeys(ctx context.Context) ([]string, error) {
	list, err := engine.Do(ctx, s.eng, davit.Images{})
	var keys []string
	for _, i := range list {
		keys = append(keys, hexOf(i.ID))
	}
	return keys, err
}

func (s *session) findNetwork(ctx context.Context, key string) (object, error) {
	n, err := engine.Do(ctx, s.eng, davit.NetworkInspect{Network: key})
	if err == nil && n.ID != key {
		err = davit.Errorf(davit.NoSuchNetwork, "no such network: %s", key)
	}
	return object{thing: n, properties: func(context.Context) (properties, error) { return networkProperties(n), nil }}, err
}

func (s *session) networkKeys(ctx context.Context) ([]string, error) {
	list, err := engine.Do(ctx, s.eng, davit.Networks{})
	var keys []string
	for _, n := range list {
		keys = append(keys, n.ID)
	}
	return keys, err
}

func (s *session) findVolume(ctx context.Context, key string) (object, error) {
	v, err := engine.Do(ctx, s.eng, davit.VolumeInspect{Volume: key})
	return object{thing: v, properties: func(context.Context) (properties, error) { return volumeProperties(v), nil }}, err
}

func (s *session) volumeKeys(ctx context.Context) ([]string, error) {
	list, err := engine.Do(ctx, s.eng, davit.Volumes{})
	var keys []string
	for _, v := range list {
		keys = append(keys, v.Name)
	}
	return keys, err
}

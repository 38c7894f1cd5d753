// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/objectpath"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/engine"
)

// object is what a path names.
type object struct {
	iface      string // "" for a node that is only there for its children
	thing      any    // what the interface's handlers work on
	properties func(context.Context) (values.Properties, error)
	// set changes a property that can be written; nil: none can.
	set      func(c *call, name string, value godbus.Variant) error
	children func(context.Context) ([]string, error) // nil: there are none
}

// manager is the thing behind values.Root.
type manager struct{}

// collection is a directory of objects below values.Root. Keys are what path
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
		{"exec", execInterface, (*session).findExec, (*session).execKeys},
		{"image", imageInterface, (*session).findImage, (*session).imageKeys},
		{"job", jobInterface, (*session).findJob, (*session).jobKeys},
		{"network", networkInterface, (*session).findNetwork, (*session).networkKeys},
		{"volume", volumeInterface, (*session).findVolume, (*session).volumeKeys},
	}
}

// static tells whether the path exists whatever the engine does.
func static(path godbus.ObjectPath) bool {
	if path == values.Root || path == logControlPath || len(childrenOf(path)) > 0 {
		return true
	}
	dir, ok := strings.CutPrefix(string(path), string(values.Root)+"/")
	return ok && slices.ContainsFunc(collections(), func(c collection) bool { return c.name == dir })
}

// childrenOf lists the nodes on the way from path to the objects that always
// are.
func childrenOf(path godbus.ObjectPath) (names []string) {
	above := strings.TrimSuffix(string(path), "/") + "/"
	for _, object := range []godbus.ObjectPath{values.Root, logControlPath} {
		if rest, ok := strings.CutPrefix(string(object), above); ok {
			name, _, _ := strings.Cut(rest, "/")
			names = append(names, name)
		}
	}
	return slices.Compact(names)
}

// resolve finds the object of a path.
func (s *session) resolve(ctx context.Context, path godbus.ObjectPath) (object, error) {
	switch below, ok := strings.CutPrefix(string(path), string(values.Root)+"/"); {
	case ok:
		return s.resolveBelow(ctx, path, below)
	case path == values.Root:
		return object{iface: managerInterface, thing: manager{}, properties: s.managerProperties, children: func(context.Context) (names []string, _ error) {
			for _, c := range collections() {
				names = append(names, c.name)
			}
			return names, nil
		}}, nil
	case path == logControlPath:
		return object{iface: logControlInterface, thing: logControl{}, properties: s.logProperties, set: setLogProperty}, nil
	case static(path):
		return object{children: func(context.Context) ([]string, error) { return childrenOf(path), nil }}, nil
	}
	return object{}, unknown(path)
}

func (s *session) resolveBelow(ctx context.Context, path godbus.ObjectPath, below string) (object, error) {
	dir, element, deep := strings.Cut(below, "/")
	i := slices.IndexFunc(collections(), func(c collection) bool { return c.name == dir })
	if i < 0 {
		return object{}, unknown(path)
	}
	c := collections()[i]
	if !deep {
		return object{children: func(ctx context.Context) ([]string, error) { return s.list(ctx, c) }}, nil
	}
	key, ok := objectpath.Unescape(element)
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

// list returns the elements of a directory, for those who may look: to others
// it is empty, and they are not asked to authenticate for it.
func (s *session) list(ctx context.Context, c collection) ([]string, error) {
	caller := engine.CallerOf(ctx)
	caller.Interactive = false
	if denied := s.eng.Authorize(engine.WithCaller(ctx, caller), inspect); denied != nil {
		return nil, nil //nolint:nilerr // not to be allowed is no error here
	}
	keys, err := c.keys(s, asDaemon(ctx))
	for i, k := range keys {
		keys[i] = objectpath.Escape(k)
	}
	return keys, err
}

func unknown(path godbus.ObjectPath) error {
	return refusal.New(refusal.NameUnknownObject, "no such object: %s", path)
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
	return object{thing: j, properties: func(ctx context.Context) (values.Properties, error) {
		snap := j.Snapshot()
		p := values.Job(s.clock, snap)
		p["SubjectPath"] = s.subjectPath(ctx, snap)
		return p, nil
	}}, nil
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
	return object{thing: c, properties: func(context.Context) (values.Properties, error) {
		p := values.Container(c)
		maps.Copy(p, values.Host(c))
		return p, nil
	}}, err
}

func (s *session) containerKeys(ctx context.Context) ([]string, error) {
	list, err := engine.Do(ctx, s.eng, davit.Containers{All: true})
	var keys []string
	for _, c := range list {
		keys = append(keys, c.ID)
	}
	return keys, err
}

func (s *session) findExec(ctx context.Context, key string) (object, error) {
	x, err := engine.Do(ctx, s.eng, davit.ExecInspect{ID: key})
	return object{thing: x, properties: func(context.Context) (values.Properties, error) { return values.Exec(x), nil }}, err
}

// execKeys lists the sessions that run.
func (s *session) execKeys(ctx context.Context) ([]string, error) {
	list, err := engine.Do(ctx, s.eng, davit.Containers{All: true})
	var keys []string
	for _, c := range list {
		keys = append(keys, c.ExecIDs...)
	}
	return keys, err
}

func (s *session) findImage(ctx context.Context, key string) (object, error) {
	i, err := engine.Do(ctx, s.eng, davit.ImageInspect{Image: "sha256:" + key})
	if err == nil && values.Hex(i.ID) != key {
		err = davit.Errorf(davit.NoSuchImage, "no such image: %s", key)
	}
	return object{thing: i, properties: func(context.Context) (values.Properties, error) { return values.Image(i), nil }}, err
}

func (s *session) imageKeys(ctx context.Context) ([]string, error) {
	list, err := engine.Do(ctx, s.eng, davit.Images{})
	var keys []string
	for _, i := range list {
		keys = append(keys, values.Hex(i.ID))
	}
	return keys, err
}

func (s *session) findNetwork(ctx context.Context, key string) (object, error) {
	n, err := engine.Do(ctx, s.eng, davit.NetworkInspect{Network: key})
	if err == nil && n.ID != key {
		err = davit.Errorf(davit.NoSuchNetwork, "no such network: %s", key)
	}
	return object{thing: n, properties: func(context.Context) (values.Properties, error) { return values.Network(n), nil }}, err
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
	return object{thing: v, properties: func(ctx context.Context) (values.Properties, error) {
		n, err := s.references(ctx, v.Name)
		return values.Volume(v, n), err
	}}, err
}

func (s *session) volumeKeys(ctx context.Context) ([]string, error) {
	list, err := engine.Do(ctx, s.eng, davit.Volumes{})
	var keys []string
	for _, v := range list {
		keys = append(keys, v.Name)
	}
	return keys, err
}

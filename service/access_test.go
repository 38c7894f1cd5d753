// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/service"
)

// asked notes what a job needs, and refuses it.
type asked struct{ last engine.Access }

// Authorize implements [engine.Authorizer].
func (a *asked) Authorize(_ context.Context, _ engine.Caller, q engine.Access) error {
	a.last = q
	return engine.ErrDenied
}

// perm is what a type of job needs of a caller who is not root: of a harmless
// container, and of one that equals root.
type perm struct{ plain, strong string }

func always(action string) perm { return perm{action, action} }

func entered(action string) perm { return perm{action, davit.ActionRunPrivileged} }

// permissions is the table of all jobs that a front door can submit. A type of
// job that is not in it fails the test, until it is decided here what it needs:
// what gives its caller a process, a terminal or the files of a container is
// entered(…).
var permissions = map[string]perm{
	"version": always(davit.ActionInspect), "info": always(davit.ActionInspect), "commands": always(davit.ActionInspect),
	"system_df": always(davit.ActionInspect), "events": always(davit.ActionInspect), "noop": always(""), "reload": always(""),
	"job_cancel": always(davit.ActionManageJobs), "prune": always(davit.ActionPrune), "reapply_networks": always(davit.ActionManageNetworks),

	"create": always(davit.ActionManageContainers), "run": always(davit.ActionManageContainers), "start": always(davit.ActionManageContainers),
	"stop": always(davit.ActionManageContainers), "restart": always(davit.ActionManageContainers), "kill": always(davit.ActionManageContainers),
	"delete": always(davit.ActionManageContainers), "rename": always(davit.ActionManageContainers), "update": always(davit.ActionManageContainers), "resize": always(davit.ActionManageContainers),
	"pause": always(davit.ActionManageContainers), "unpause": always(davit.ActionManageContainers),
	"containers": always(davit.ActionInspect), "container_inspect": always(davit.ActionInspect), "top": always(davit.ActionInspect),
	"wait": always(davit.ActionInspect), "container_changes": always(davit.ActionInspect), "stats": always(davit.ActionInspect),
	"container_by_pid": always(davit.ActionInspect), "os_release": always(davit.ActionInspect), "exec_inspect": always(davit.ActionInspect),
	"logs": always(davit.ActionReadLogs), "exec_resize": always(davit.ActionExec), "exec_kill": always(davit.ActionExec),

	"attach": entered(davit.ActionShell), "exec_create": entered(davit.ActionExec), "exec_start": entered(davit.ActionExec),
	"container_stat_path": entered(davit.ActionTransferFiles), "container_copy": entered(davit.ActionTransferFiles),
	"container_extract": entered(davit.ActionTransferFiles), "export": entered(davit.ActionTransferFiles), "commit": entered(davit.ActionManageImages),
	"root_directory": always(davit.ActionRunPrivileged), "volume_directory": always(davit.ActionRunPrivileged),

	"images": always(davit.ActionInspect), "image_inspect": always(davit.ActionInspect), "history": always(davit.ActionInspect),
	"pull": always(davit.ActionManageImages), "import": always(davit.ActionManageImages), "load": always(davit.ActionManageImages),
	"tag": always(davit.ActionManageImages), "image_delete": always(davit.ActionManageImages), "image_export": always(davit.ActionManageImages),
	"push": always(davit.ActionPushImages), "search": always(davit.ActionManageImages), "auth": always(davit.ActionManageImages),

	"networks": always(davit.ActionInspect), "network_inspect": always(davit.ActionInspect),
	"volumes": always(davit.ActionInspect), "volume_inspect": always(davit.ActionInspect),
	"volume_create": always(davit.ActionManageVolumes), "volume_delete": always(davit.ActionManageVolumes),
}

// TestEveryJobHasAPermission submits each type of job for a user, about a
// harmless container and about one that equals root.
func TestEveryJobHasAPermission(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		d.run("plain")
		d.run("strong", func(q *davit.Create) { q.HostConfig.Privileged = true })
		sessions := map[string]string{
			"plain":  do(d, davit.ExecCreate{Exec: davit.Exec{ContainerID: "plain", Cmd: []string{"x"}}}),
			"strong": do(d, davit.ExecCreate{Exec: davit.Exec{ContainerID: "strong", Cmd: []string{"x"}}}),
		}
		a := &asked{}
		d.eng.SetAuthorizer(a)
		user := engine.WithCaller(t.Context(), engine.Caller{Transport: engine.Bus, UID: 1000, Name: ":1.1"})
		missing := maps.Clone(permissions)
		for _, typ := range d.eng.Types() {
			delete(missing, typ.Name)
			if typ.Internal {
				continue
			}
			want, ok := permissions[typ.Name]
			if !ok {
				t.Errorf("nobody has decided what %s needs", typ.Name)
				continue
			}
			for name, action := range map[string]string{"plain": want.plain, "strong": want.strong} {
				a.last = engine.Access{}
				q, err := d.eng.NewRequest(typ.Name, about(name, sessions[name]))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.eng.Submit(user, q); davit.CodeOf(err) != davit.AccessDenied {
					t.Errorf("%s of %s was not refused: %v", typ.Name, name, err)
				}
				if a.last.Action != action || a.last.Open {
					t.Errorf("%s of %s asks for %q, want %q", typ.Name, name, a.last.Action, action)
				}
				if a.last.Details["type"] != typ.Name {
					t.Errorf("%s: details %v", typ.Name, a.last.Details)
				}
				if got, ok := a.last.Details["subject"]; want.plain != want.strong && (!ok || got != name) {
					t.Errorf("%s of %s is said to be about %q", typ.Name, name, got)
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(missing)) {
			t.Logf("%s is not handled yet", name)
		}
	})
}

// about fills in the fields of a request that name a container or a session.
func about(container, session string) func(any) error {
	return func(q any) error {
		switch q := q.(type) {
		case *davit.Attach:
			q.Container = container
		case *davit.ExecCreate:
			q.Exec.ContainerID = container
		case *davit.ExecStart:
			q.ID = session
		case *davit.ContainerStatPath:
			q.Container = container
		case *davit.ContainerCopy:
			q.Container = container
		case *davit.ContainerExtract:
			q.Container = container
		case *davit.Export:
			q.Container = container
		case *davit.ContainerCommit:
			q.Container = container
		}
		return nil
	}
}

// renaming is an authorizer that allows harmless jobs, and changes names
// meanwhile.
type renaming struct{ rename func() }

// Authorize implements [engine.Authorizer].
func (r *renaming) Authorize(_ context.Context, _ engine.Caller, a engine.Access) error {
	if a.Action == davit.ActionRunPrivileged {
		return engine.ErrDenied
	}
	if f := r.rename; f != nil {
		r.rename = nil
		f()
	}
	return nil
}

// TestNamesAreFixedBeforeTheyAreLookedAt swaps the names of a harmless container
// and one that equals root while a member is authorized for the harmless one.
func TestNamesAreFixedBeforeTheyAreLookedAt(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.boot()
		mine := d.run("mine")
		theirs := d.run("theirs", func(q *davit.Create) { q.HostConfig.Privileged = true })
		r := &renaming{rename: func() {
			do(d, davit.Rename{Container: mine, Name: "other"})
			do(d, davit.Rename{Container: theirs, Name: "mine"})
		}}
		d.eng.SetAuthorizer(r)
		member := engine.WithCaller(t.Context(), engine.Caller{Transport: engine.REST, UID: 1000})
		id, err := engine.Do(member, d.eng, davit.ExecCreate{Exec: davit.Exec{ContainerID: "mine", Cmd: []string{"id"}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := do(d, davit.ExecInspect{ID: id}).ContainerID; got != mine {
			t.Errorf("the session is in %s, want %s: that of the container that was asked about", davit.ShortID(got), davit.ShortID(mine))
		}
		if _, err := engine.Do(member, d.eng, davit.ContainerCopy{Container: "mine", Path: "/", Open: func(davit.FileStat) (io.Writer, error) { return io.Discard, nil }}); davit.CodeOf(err) != davit.AccessDenied {
			t.Errorf("copying of what is called so now: %v", err)
		}
	})
}

// listed allows some paths.
type listedPaths []string

// MayBind implements access.Binder.
func (l listedPaths) MayBind(source string, _ bool) error {
	if slices.Contains(l, source) {
		return nil
	}
	return fmt.Errorf("not listed")
}

// TestBindsAreKeptAsTheyWereChecked mounts what was looked at.
func TestBindsAreKeptAsTheyWereChecked(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		d := h.build(func(o *service.Options) { o.Binds = listedPaths{"/srv//data/./x"} })
		if err := d.svc.Boot(d.context(), nil, func(string) {}); err != nil {
			t.Fatal(err)
		}
		d.eng.SetAuthorizer(&renaming{})
		member := engine.WithCaller(t.Context(), engine.Caller{Transport: engine.REST, UID: 1000})
		made, err := engine.Do(member, d.eng, request("mine", volume("/srv//data/./x", "/mnt")))
		if err != nil {
			t.Fatal(err)
		}
		if got := d.inspect(made.ID).Mounts[0].Source; got != "/srv/data/x" {
			t.Errorf("the record mounts %s, want /srv/data/x", got)
		}
		if _, err := engine.Do(member, d.eng, request("other", volume("/etc", "/mnt"))); davit.CodeOf(err) != davit.AccessDenied {
			t.Errorf("a bind that is not listed: %v", err)
		}
	})
}

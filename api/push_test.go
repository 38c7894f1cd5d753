// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestPush(t *testing.T) {
	d := openDoor(t)
	asked := make(chan davit.Push, 8)
	manifest := davit.Descriptor{Digest: digest.FromString("manifest"), Size: 527}
	handle(d, engine.Change, func(_ context.Context, j *engine.Job, q davit.Push) (davit.Descriptor, error) {
		asked <- q
		if strings.HasPrefix(q.Reference, "nobody") {
			return davit.Descriptor{}, davit.Errorf(davit.NoSuchImage, "an image does not exist locally with the tag: %s", q.Reference)
		}
		j.Report(engine.Progress{Phase: "Preparing", Item: "aaaaaaaaaaaa"})
		if strings.HasPrefix(q.Reference, "private") {
			return davit.Descriptor{}, davit.Errorf(davit.RegistryUnauthorized, "push access denied for private")
		}
		j.Report(engine.Progress{Phase: "Pushed", Item: "aaaaaaaaaaaa", Current: 7, Total: 7})
		return manifest, nil
	})
	answer(d, engine.Query, davit.Images{}, []davit.ImageSummary{
		{Tags: []string{"localhost:5000/team/app:v1", "other:v1"}}, {Tags: []string{"localhost:5000/team/app:v2", "localhost:5000/team/app2:v1"}},
	})
	end := "digest: " + manifest.Digest.String() + " size: 527\n"
	for _, c := range []struct {
		args   []string
		want   string // the output holds it
		pushed []string
		status int
	}{
		{[]string{"push", "localhost:5000/team/app:v1"}, "The push refers to repository [localhost:5000/team/app]\n", []string{"localhost:5000/team/app:v1"}, 0},
		{[]string{"push", "localhost:5000/team/app:v1"}, "v1: " + end, []string{"localhost:5000/team/app:v1"}, 0},
		{[]string{"push", "app"}, "latest: " + end, []string{"app:latest"}, 0},
		{[]string{"push", "-q", "app"}, "docker.io/library/app:latest\n", []string{"app:latest"}, 0},
		{[]string{"push", "-a", "localhost:5000/team/app"}, "v2: " + end, []string{"localhost:5000/team/app:v1", "localhost:5000/team/app:v2"}, 0},
		{[]string{"push", "nobody"}, "an image does not exist locally with the tag: nobody:latest", []string{"nobody:latest"}, 1},
		{[]string{"push", "private"}, "push access denied for private", []string{"private:latest"}, 1},
		{[]string{"push", "-a", "nothing"}, "an image does not exist locally with the name: nothing", nil, 1},
	} {
		out, errs, code := docker(t, d, "", c.args...)
		if code != c.status || !strings.Contains(out+errs, c.want) {
			t.Errorf("docker %q: exit %d\n%s%s", c.args, code, out, errs)
		}
		for _, want := range c.pushed {
			if q := <-asked; q.Reference != want {
				t.Errorf("docker %q pushed %s, want %s", c.args, q.Reference, want)
			}
		}
	}
	r := d.do("POST", "/images/app/push?tag=v1", "")
	if want := `"aux":{"Tag":"v1","Digest":"` + manifest.Digest.String() + `","Size":527}`; !strings.Contains(r.body, want) {
		t.Errorf("the reply has no %s:\n%s", want, r.body)
	}
	if q := <-asked; q.Auth != nil {
		t.Errorf("credentials came from nowhere: %+v", q.Auth)
	}
	if r := d.do("POST", "/images/UPPER/push?tag=v1", ""); r.status != 400 {
		t.Errorf("a bad name: %d %s", r.status, r.body)
	}
}

func TestAuthAndSearch(t *testing.T) {
	d := openDoor(t)
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.Auth) (davit.AuthResult, error) {
		if q.Auth.Password != "secret" || q.Auth.ServerAddress != "reg.example:5000" {
			return davit.AuthResult{}, davit.Errorf(davit.RegistryUnauthorized, "registry %s does not accept the credentials", q.Auth.ServerAddress)
		}
		return davit.AuthResult{Status: "Login Succeeded", IdentityToken: "token"}, nil
	})
	const body = `{"username":"user","password":"secret","email":"a@b","serveraddress":"reg.example:5000"}`
	if r := d.do("POST", "/auth", body); r.status != 200 || r.body != `{"IdentityToken":"token","Status":"Login Succeeded"}`+"\n" {
		t.Errorf("auth: %d %s", r.status, r.body)
	}
	r := d.do("POST", "/auth", strings.Replace(body, "secret", "guess", 1))
	if r.status != 401 || r.message() != "registry reg.example:5000 does not accept the credentials" || strings.Contains(d.log.String(), "guess") {
		t.Errorf("auth with a wrong password: %d %s", r.status, r.body)
	}
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.Search) ([]davit.SearchResult, error) {
		if diff := cmp.Diff(davit.Search{Term: "app", Limit: 5, Filters: map[string][]string{"stars": {"3"}}}, q); diff != "" {
			t.Errorf("asked for (-want +got):\n%s", diff)
		}
		return []davit.SearchResult{{Name: "team/app", Description: "an app", Stars: 4, Official: true}}, nil
	})
	out, errs, code := docker(t, d, "", "search", "--limit=5", "--filter=stars=3", "--format={{.Name}} {{.StarCount}} {{.IsOfficial}} {{.Description}}", "app")
	if out != "team/app 4 [OK] an app\n" || code != 0 {
		t.Errorf("docker search: exit %d %s%s", code, out, errs)
	}
}

func TestCommit(t *testing.T) {
	d := openDoor(t)
	asked := make(chan davit.ContainerCommit, 1)
	handle(d, engine.Change, func(_ context.Context, _ *engine.Job, q davit.ContainerCommit) (davit.Image, error) {
		asked <- q
		if q.Container == "nobody" {
			return davit.Image{}, davit.Errorf(davit.NoSuchContainer, "No such container: nobody")
		}
		return testImage, nil
	})
	for _, c := range []struct {
		args []string
		want davit.ContainerCommit
	}{
		{[]string{"commit", "web"}, davit.ContainerCommit{Container: "web", Pause: true}},
		{
			[]string{"commit", "--pause=false", "-a", "somebody", "-m", "why", "-c", "CMD [\"x\"]", "-c", "ENV a=b", "web", "localhost:5000/team/app:v1"},
			davit.ContainerCommit{
				Container: "web", Reference: "localhost:5000/team/app:v1", Author: "somebody", Message: "why", Changes: []string{`CMD ["x"]`, "ENV a=b"},
			},
		},
	} {
		out, errs, code := docker(t, d, "", c.args...)
		if out != testImage.ID.String()+"\n" || code != 0 {
			t.Errorf("docker %q: exit %d %s%s", c.args, code, out, errs)
		}
		if diff := cmp.Diff(c.want, <-asked); diff != "" {
			t.Errorf("docker %q asked for (-want +got):\n%s", c.args, diff)
		}
	}
	r := d.do("POST", "/commit?container=web&repo=app&tag=v1", `{"Cmd":["/app"],"Env":["A=1"]}`)
	if want := `{"Id":"` + testImage.ID.String() + `"}` + "\n"; r.status != 201 || r.body != want {
		t.Errorf("commit: %d %s", r.status, r.body)
	}
	want := davit.ContainerCommit{Container: "web", Reference: "app:v1", Pause: true, Config: &davit.ContainerConfig{Cmd: []string{"/app"}, Env: []string{"A=1"}}}
	if diff := cmp.Diff(want, <-asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	if r := d.do("POST", "/commit?container=nobody", ""); r.status != 404 {
		t.Errorf("an unknown container: %d %s", r.status, r.body)
	}
	<-asked
	for path, body := range map[string]string{"/commit": "", "/commit?container=web": `{"Nonsense":1}`} {
		if r := d.do("POST", path, body); r.status != 400 {
			t.Errorf("%s %s: %d %s", path, body, r.status, r.body)
		}
	}
}

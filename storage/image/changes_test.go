// SPDX-License-Identifier: Apache-2.0

package image

import (
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/google/go-cmp/cmp"
)

func TestApplyChanges(t *testing.T) {
	tests := []struct {
		changes string
		want    davit.ContainerConfig
	}{
		{`CMD ["sh", "-c", "echo a"]`, davit.ContainerConfig{Cmd: []string{"sh", "-c", "echo a"}}},
		{`cmd echo  "a" $B`, davit.ContainerConfig{Cmd: []string{"/bin/sh", "-c", `echo  "a" $B`}}},
		{`CMD [not json`, davit.ContainerConfig{Cmd: []string{"/bin/sh", "-c", "[not json"}}},
		{`ENTRYPOINT ["/init"]`, davit.ContainerConfig{Entrypoint: []string{"/init"}}},
		{"ENV A=1 B='x y' C=\"q\\\"$A\" D=a\\ b", davit.ContainerConfig{Env: []string{"A=1", "B=x y", `C=q"`, "D=a b"}}},
		{"ENV A=1\nENV B=${A}2 C='$A' D=$A\\$A\nENV A=3", davit.ContainerConfig{Env: []string{"A=3", "B=12", "C=$A", "D=1$A"}}},
		{"ENV A hello  world", davit.ContainerConfig{Env: []string{"A=hello  world"}}},
		{"ENV A=", davit.ContainerConfig{Env: []string{"A="}}},
		{"EXPOSE 80 53/udp 8000-8001/TCP", davit.ContainerConfig{ExposedPorts: map[string]struct{}{"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}}}},
		{"USER nobody:nogroup", davit.ContainerConfig{User: "nobody:nogroup"}},
		{"WORKDIR /a\nWORKDIR b/../c", davit.ContainerConfig{WorkingDir: "/a/c"}},
		{`VOLUME ["/a", "/b c"]`, davit.ContainerConfig{Volumes: map[string]struct{}{"/a": {}, "/b c": {}}}},
		{"VOLUME /a /b", davit.ContainerConfig{Volumes: map[string]struct{}{"/a": {}, "/b": {}}}},
		{`LABEL a=b "c d"='e f'`, davit.ContainerConfig{Labels: map[string]string{"a": "b", "c d": "e f"}}},
		{"STOPSIGNAL SIGQUIT", davit.ContainerConfig{StopSignal: "SIGQUIT"}},
		{"HEALTHCHECK NONE", davit.ContainerConfig{Healthcheck: &davit.Healthcheck{Test: []string{"NONE"}}}},
		{
			"HEALTHCHECK --interval=30s --retries=2 CMD curl -f http://localhost || exit 1",
			davit.ContainerConfig{Healthcheck: &davit.Healthcheck{Test: []string{"CMD-SHELL", "curl -f http://localhost || exit 1"}, Interval: 30 * time.Second, Retries: 2}},
		},
		{`HEALTHCHECK CMD ["true"]`, davit.ContainerConfig{Healthcheck: &davit.Healthcheck{Test: []string{"CMD", "true"}}}},
		{"ONBUILD RUN make", davit.ContainerConfig{OnBuild: []string{"RUN make"}}},
		{"# a comment\n\n", davit.ContainerConfig{}},
	}
	for _, tt := range tests {
		var got davit.ContainerConfig
		if err := applyChanges(&got, []string{tt.changes}); err != nil {
			t.Errorf("%q: %v", tt.changes, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.changes, diff)
		}
	}
}

func TestEntrypointTakesTheCommandAway(t *testing.T) {
	for changes, want := range map[string][]string{
		`ENTRYPOINT ["/init"]`:                  nil,
		"ENTRYPOINT [\"/init\"]\nCMD [\"new\"]": {"new"},
		"CMD [\"new\"]\nENTRYPOINT [\"/init\"]": {"new"},
		"USER joe":                              {"old"},
	} {
		c := davit.ContainerConfig{Cmd: []string{"old"}}
		if err := applyChanges(&c, []string{changes}); err != nil {
			t.Errorf("%q: %v", changes, err)
		}
		if diff := cmp.Diff(want, c.Cmd); diff != "" {
			t.Errorf("%q: the command (-want +got):\n%s", changes, diff)
		}
	}
}

func TestApplyChangesRefuses(t *testing.T) {
	for _, change := range []string{
		"RUN make", "FROM scratch", "nonsense", "CMD", "ENV", "ENV A", "ENV A=1 B", "ENV A='1", "EXPOSE http", "EXPOSE 70000", "EXPOSE 9-8", "EXPOSE 0",
		"USER a b", "HEALTHCHECK CMD", "HEALTHCHECK --interval=x CMD true", "HEALTHCHECK --what=1 CMD true", "ONBUILD FROM x", "ENV A=${B:-c}", "ENV A=${B", `VOLUME [""]`,
	} {
		err := applyChanges(&davit.ContainerConfig{}, []string{change})
		if davit.CodeOf(err) != davit.InvalidConfiguration {
			t.Errorf("%q: %v, want InvalidConfiguration", change, err)
			continue
		}
		if word, _, _ := strings.Cut(change, " "); !strings.Contains(err.Error(), word) {
			t.Errorf("%q: %v does not name it", change, err)
		}
	}
}

func FuzzApplyChanges(f *testing.F) {
	f.Add("ENV A=\"$B\" C='d'")
	f.Add("HEALTHCHECK --interval=1s CMD [\"true\"]")
	f.Add("EXPOSE 1-2/udp")
	f.Fuzz(func(t *testing.T, change string) {
		err := applyChanges(&davit.ContainerConfig{}, []string{change})
		if err != nil && davit.CodeOf(err) != davit.InvalidConfiguration {
			t.Errorf("%q: %v", change, err)
		}
	})
}

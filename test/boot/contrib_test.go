// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// units copies contrib/systemd with a daemon that exists, so that
// systemd-analyze finds nothing missing but what the units lack.
func units(t *testing.T) (dir string, names []string) {
	t.Helper()
	dir = t.TempDir()
	daemon := filepath.Join(dir, "davitd")
	if err := os.WriteFile(daemon, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../contrib/systemd/*.s[elo]*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no units in contrib/systemd: %v", err)
	}
	for _, file := range files {
		switch filepath.Ext(file) {
		case ".service", ".socket", ".slice":
		default:
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		text = []byte(strings.ReplaceAll(string(text), "/usr/sbin/davitd", daemon))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return dir, names
}

func analyze(t *testing.T, dir string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze")
	}
	cmd := exec.Command("systemd-analyze", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":", "SYSTEMD_COLORS=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestUnitsVerify(t *testing.T) {
	dir, names := units(t)
	out := analyze(t, dir, append([]string{"verify", "--man=no"}, names...)...)
	for line := range strings.Lines(out) {
		if strings.Contains(line, "davit") {
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
}

// TestServiceIsSandboxed holds the daemon's exposure under 5.0 ("OK").
func TestServiceIsSandboxed(t *testing.T) {
	dir, _ := units(t)
	out := analyze(t, dir, "security", "--offline=true", "--threshold=50", "--no-pager", "./davit.service")
	for line := range strings.Lines(out) {
		if strings.Contains(line, "Overall exposure level") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

func TestMaintainerScripts(t *testing.T) {
	scripts, err := filepath.Glob("../../packaging/scripts/*")
	if err == nil {
		scripts = slices.DeleteFunc(scripts, func(path string) bool { return filepath.Base(path) == "rpm" })
		rpm, rerr := filepath.Glob("../../packaging/scripts/rpm/*")
		scripts, err = append(scripts, rpm...), rerr
	}
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no maintainer scripts: %v", err)
	}
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("needs shellcheck")
	}
	others := []string{"tree.sh", "../demo/demo.sh", "../bench/bench.sh", "../../packaging/deps.sh", "../../packaging/notices.sh", "../../.ci/run"}
	host(t, append(append([]string{"shellcheck"}, others...), scripts...)...)
}

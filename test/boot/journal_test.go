// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// isJournaled asks the journal for what the daemon did with a container, by
// the fields that it gives its records.
func isJournaled(t *testing.T, g *guest) {
	id := g.must("docker inspect --format '{{.Id}}' web")
	g.must("docker exec web true && journalctl --sync")
	jobs := map[string]map[string]any{}
	out := g.must("journalctl --no-pager --boot --output=json --unit=davit.service SYSLOG_IDENTIFIER=davitd CONTAINER_NAME=web CONTAINER_ID_FULL=" + id)
	for line := range strings.Lines(out) {
		entry := map[string]any{}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if job, ok := entry["JOB_TYPE"].(string); ok {
			jobs[job] = entry
		}
	}
	for _, job := range []string{"create", "start", "exec_create"} {
		entry := jobs[job]
		if entry == nil {
			t.Errorf("there is no record of the job %s: %s", job, out)
			continue
		}
		for name, want := range map[string]string{
			"PRIORITY": "6", "CONTAINER_ID": id[:12], "_TRANSPORT": "journal", "_SYSTEMD_UNIT": "davit.service", "DAVIT_RESULT": "done",
			"CODE_FUNC": "github.com/davit-engine/davit/engine.(*Engine).logEnd", "DAVIT_TRANSPORT": "rest",
		} {
			if entry[name] != want {
				t.Errorf("job %s: %s is %v, want %s", job, name, entry[name], want)
			}
		}
		text, _ := entry["MESSAGE"].(string)
		if number, _ := entry["JOB_ID"].(string); number == "" || !strings.HasPrefix(text, "job ends job="+number+" type="+job+" container=web container_id="+id[:12]+" ") {
			t.Errorf("job %s: JOB_ID is %q, MESSAGE %q", job, number, text)
		}
	}
	want(t, g.must("journalctl --no-pager --boot --output=cat --unit=davit.service _TRANSPORT=stdout _COMM=davitd"), "")
}

// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/internal/testutil"
	"github.com/google/go-cmp/cmp"
)

const docsHead = `<!-- Written by go test ./api -run TestDocs -update; the words are in api/docs_test.go, api/routes.go and api/body/refused.go. -->

# The API, field by field

Davit serves the Docker Engine API, versions %s to %s, as swagger.yaml of github.com/moby/moby/api %s
describes it. Below is each endpoint of containers, exec sessions, volumes, events and the system, with every parameter
and every field of its body that is documented there:

- **honoured**: it changes what the engine does, or what it answers;
- **refused**: a request that sets it fails, with 501 if Docker would serve it and 400 or 409 if not, and the message names it;
- **no effect**: it says nothing where Davit runs; the reason is given.

Nothing is ignored in silence. These tables are made by tests that send each of them to the real door and look at what the
engine is asked; they fail for what is documented and not here.

What is *not* documented is treated in two ways. A parameter is ignored, as Docker does: clients send more than they
mean (fromSrc= with each pull). A field of a body is refused when it says anything: clients of other versions send fields that
have gone, or have not come yet, at their defaults, and who sets one wants something.

An error is {"message": …} with the status that is documented. Besides, any endpoint may answer 403 (the caller may not),
501 (refused, as above), 503 (the daemon stops) and 504 (a step took too long).
`

// version is that of a module in go.mod.
func moduleVersion(t *testing.T, module string) string {
	t.Helper()
	text, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == module {
			return f[1]
		}
	}
	t.Fatalf("%s is not in go.mod", module)
	return ""
}

// TestDocs holds docs/api.md to what was found; -update writes it.
func TestDocs(t *testing.T) {
	spec, rec, table := readSwagger(t), newRecorder(t), newRouter(routes())
	var b strings.Builder
	fmt.Fprintf(&b, docsHead, davit.MinAPIVersion, davit.APIVersion, moduleVersion(t, "github.com/moby/moby/api"))
	for _, op := range spec.operations() {
		if inScope(op) {
			method, path, _ := strings.Cut(op, " ")
			row, _ := table.find(method, splitPath(path))
			rec.writeOperation(&b, spec, op, row)
			writeUnfilled(&b, op)
		}
	}
	writeOthers(&b, spec, table)
	path := "../docs/api.md"
	if testutil.Update() {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("docs/api.md (-want +got; go test ./api -run TestDocs -update writes it anew):\n%s", diff)
	}
}

// line writes a row of a table.
func line(b *strings.Builder, name string, s state, remark string) {
	if remark != "" {
		remark = ": " + strings.TrimPrefix(strings.TrimPrefix(remark, ":"), " ")
	}
	fmt.Fprintf(b, "| `%s` | %s%s |\n", name, s, remark)
}

func (rec *recorder) writeOperation(b *strings.Builder, spec *swagger, op string, row *route) {
	o := spec.operation(op)
	fmt.Fprintf(b, "\n## %s\n\nAnswers %s.\n", op, strings.Join(slices.Sorted(maps.Keys(o.Responses)), ", "))
	known := strings.Fields(row.query)
	documented := o.names("query")
	names := slices.Concat(known, slices.Collect(maps.Keys(row.refuses)))
	slices.Sort(names)
	if len(names) > 0 {
		b.WriteString("\n| parameter | |\n|---|---|\n")
	}
	for _, name := range names {
		remark := row.remarks[name] + row.refuses[name]
		if name == "filters" {
			remark = "`" + strings.Join(strings.Fields(row.filters), "`, `") + "`"
		}
		if !slices.Contains(documented, name) {
			remark = strings.TrimPrefix(remark+"; not documented, but sent", "; ")
		}
		line(b, name, rec.queryState(op, name, row), remark)
	}
	if is, ok := bodies[op]; ok {
		b.WriteString("\n| field | |\n|---|---|\n")
		told := ""
		for _, l := range spec.leaves(o.body()) {
			name, remark := l.name(), notAField[op+" "+l.name()]+is.remarks[l.name()]
			r := refusalOf(is.refusals, name)
			if r != nil && r.Field == told {
				continue
			}
			if r != nil {
				name, told = r.Field, r.Field
				remark = strings.TrimPrefix(strings.TrimPrefix(r.Reason(), ":"), " ")
				if remark == "yet" {
					remark = "not yet"
				}
				if r.But != "" {
					remark += "; honoured: " + r.But
				}
			}
			s := refused
			if r == nil {
				s, _ = rec.fieldState(op, l, spec.sampleOf(l))
			}
			if s == ignored {
				remark = "an answer, not a question"
			}
			line(b, name, s, remark)
		}
	}
}

// writeUnfilled lists the fields of an answer that are never filled.
func writeUnfilled(b *strings.Builder, op string) {
	without, ok := unfilled[op]
	switch {
	case ok && len(without) == 0:
		b.WriteString("\nEvery documented field of the answer is filled when there is something to say.\n")
	case ok:
		b.WriteString("\n| never filled in the answer | |\n|---|---|\n")
		for _, name := range slices.Sorted(maps.Keys(without)) {
			fmt.Fprintf(b, "| `%s` | %s |\n", name, without[name])
		}
	}
}

// writeOthers lists the endpoints of later steps, and those that are not
// documented.
func writeOthers(b *strings.Builder, spec *swagger, table *router) {
	states := map[string]string{}
	for _, row := range routes() {
		s := "served"
		switch fmt.Sprintf("%p", row.handle) {
		case fmt.Sprintf("%p", notImplemented):
			s = "refused: not yet"
		case fmt.Sprintf("%p", noSwarmManager), fmt.Sprintf("%p", notInSwarm):
			s = "as of a daemon that is in no swarm"
		}
		states[row.method+" "+row.pattern] = s
	}
	b.WriteString("\n## Images, networks, build, plugins, swarm\n\nParameter by parameter in later steps.\n\n| endpoint | |\n|---|---|\n")
	documented := map[string]bool{}
	for _, op := range spec.operations() {
		method, path, _ := strings.Cut(op, " ")
		row, _ := table.find(method, splitPath(path))
		documented[row.method+" "+row.pattern] = true
		if !inScope(op) {
			fmt.Fprintf(b, "| `%s` | %s |\n", op, states[row.method+" "+row.pattern])
		}
	}
	b.WriteString("\n## Not in swagger.yaml\n\nThose of `/davit/` are Davit's own, the others are of experimental or older Docker.\n\n| endpoint | |\n|---|---|\n")
	for _, op := range slices.Sorted(maps.Keys(states)) {
		if !documented[op] {
			fmt.Fprintf(b, "| `%s` | %s |\n", op, states[op])
		}
	}
}

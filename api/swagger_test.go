// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// swagger is what these tests read of the API's own description.
type swagger struct {
	Paths       map[string]map[string]operation
	Definitions map[string]*schema
}

type operation struct {
	Parameters []struct {
		Name, In, Description string
		Required              bool
		Schema                *schema
	}
	Responses map[string]struct{ Schema *schema }
}

type schema struct {
	Ref        string `yaml:"$ref"`
	Type       string
	Properties map[string]*schema
	AllOf      []*schema `yaml:"allOf"`
	Items      *schema
	More       yaml.Node `yaml:"additionalProperties"`
}

// readSwagger reads the description that go.mod names.
func readSwagger(t *testing.T) *swagger {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/api").Output()
	if err != nil {
		t.Skipf("the module cache cannot be read: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "swagger.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s := &swagger{}
	if err := yaml.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// operations lists "GET /path" in order.
func (s *swagger) operations() (out []string) {
	for path, methods := range s.Paths {
		for m := range methods {
			out = append(out, strings.ToUpper(m)+" "+path)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		_, pa, _ := strings.Cut(a, " ")
		_, pb, _ := strings.Cut(b, " ")
		return cmp.Or(strings.Compare(pa, pb), strings.Compare(a, b))
	})
	return out
}

func (s *swagger) operation(name string) operation {
	method, path, _ := strings.Cut(name, " ")
	return s.Paths[path][strings.ToLower(method)]
}

// names lists the operation's parameters of a kind.
func (o operation) names(in string) (out []string) {
	for _, p := range o.Parameters {
		if p.In == in {
			out = append(out, p.Name)
		}
	}
	slices.Sort(out)
	return out
}

// body returns the schema of the operation's body, nil for none.
func (o operation) body() *schema {
	for _, p := range o.Parameters {
		if p.In == "body" {
			return p.Schema
		}
	}
	return nil
}

// filterLine is how a filter is documented: an item of a list.
var filterLine = regexp.MustCompile("(?m)^- `([a-z-]+)")

// filters lists what the parameter filters is documented to hold.
func (o operation) filters() (out []string) {
	for _, p := range o.Parameters {
		if p.Name != "filters" {
			continue
		}
		for _, m := range filterLine.FindAllStringSubmatch(p.Description, -1) {
			out = append(out, m[1])
			if strings.Contains(p.Description, "`"+m[1]+"!=") {
				out = append(out, m[1]+"!")
			}
		}
	}
	slices.Sort(out)
	return out
}

// resolve follows references.
func (s *swagger) resolve(t *schema) *schema {
	for t != nil && t.Ref != "" {
		t = s.Definitions[strings.TrimPrefix(t.Ref, "#/definitions/")]
	}
	return t
}

// elem returns what a list or a map holds; nil for other things.
func (s *swagger) elem(t *schema) *schema {
	if t.Type == "array" {
		return s.resolve(t.Items)
	}
	var more schema
	if t.More.Kind != yaml.MappingNode || t.More.Decode(&more) != nil {
		return nil
	}
	return s.resolve(&more)
}

// fields returns the fields of an object, those of what it is made of
// included.
func (s *swagger) fields(t *schema) map[string]*schema {
	t = s.resolve(t)
	if t == nil {
		return nil
	}
	out := maps.Clone(t.Properties)
	for _, part := range t.AllOf {
		for name, f := range s.fields(part) {
			if out == nil {
				out = map[string]*schema{}
			}
			out[name] = f
		}
	}
	return out
}

// leaf is a field without fields, with the objects on the way to it. A name
// ends in [] or {} when it is a list or a map of what comes next.
type leaf struct {
	path []string
	of   *schema
}

// name is the path without the marks of lists and maps.
func (l leaf) name() string {
	return strings.NewReplacer("[]", "", "{}", "").Replace(strings.Join(l.path, "."))
}

// leaves lists the fields of an object that have none themselves, in order.
func (s *swagger) leaves(t *schema, path ...string) (out []leaf) {
	fields := s.fields(t)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		f, mark := s.resolve(fields[name]), ""
		inner := f
		for e := s.elem(inner); e != nil; e = s.elem(inner) {
			if inner.Type == "array" {
				mark += "[]"
			} else {
				mark += "{}"
			}
			inner = e
		}
		here := slices.Concat(path, []string{name + mark})
		if len(s.fields(inner)) > 0 {
			out = append(out, s.leaves(inner, here...)...)
			continue
		}
		out = append(out, leaf{slices.Concat(path, []string{name}), f})
	}
	return out
}

// object and list are JSON's.
type (
	object = map[string]any
	list   = []any
)

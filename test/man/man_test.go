// SPDX-License-Identifier: Apache-2.0

// Package man_test holds the manual pages in docs/man to the code: what can be
// generated is generated (go test ./test/man -update), and all of it has to be
// there.
package man_test

import (
	"encoding/xml"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/davit-engine/davit/internal/testutil"
)

const (
	daemonPage = "../../docs/man/davitd.8"
	busPage    = "../../docs/man/org.davit.Engine1.5"
)

// roff escapes text: a line that begins with a dot or a quote would be a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

// compare holds the part of a page between its marks to what it should be, or
// writes it.
func compare(t *testing.T, page, part, wanted string) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), ".\\\" BEGIN "+part+"\n")
	got, after, closed := strings.Cut(rest, ".\\\" END "+part+"\n")
	if !ok || !closed {
		t.Fatalf("%s has no part %s", page, part)
	}
	if got == wanted {
		return
	}
	if !testutil.Update() {
		t.Errorf("the part %s of %s is not what the code says: run go test ./test/man -update", part, page)
		return
	}
	text := before + ".\\\" BEGIN " + part + "\n" + wanted + ".\\\" END " + part + "\n" + after
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// list is words in bold, with commas between them.
func list(words []string) string {
	var out strings.Builder
	for i, w := range words {
		end := " ,"
		if i == len(words)-1 {
			end = " ."
		}
		out.WriteString(".BR " + roff(w) + end + "\n")
	}
	return out.String()
}

var flagLine = regexp.MustCompile(`^ +(?:-(\w), )?--([a-z-]+)(?: (\S+))? {2,}(.+)$`)

func TestFlags(t *testing.T) {
	davitd := filepath.Join(t.TempDir(), "davitd")
	build := exec.Command("go", "build", "-o", davitd, "../../cmd/davitd")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build davitd: %v\n%s", err, out)
	}
	out, err := exec.Command(davitd, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	var wanted strings.Builder
	n := 0
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, " --") {
			continue
		}
		m := flagLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("cannot read the line of --help: %q", line)
		}
		n++
		wanted.WriteString(".TP\n\\fB")
		if m[1] != "" {
			wanted.WriteString(`\-` + m[1] + `\fR, \fB`)
		}
		wanted.WriteString(`\-\-` + roff(m[2]) + `\fR`)
		if m[3] != "" {
			wanted.WriteString(` \fI` + roff(strings.TrimSuffix(m[3], "Array")) + `\fR`)
		}
		wanted.WriteString("\n" + roff(strings.ToUpper(m[4][:1])+m[4][1:]) + ".\n")
	}
	if n < 30 {
		t.Fatalf("--help shows %d flags", n)
	}
	compare(t, daemonPage, "flags", wanted.String())
}

// parse reads a file of the root package.
func parse(t *testing.T, name string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../"+name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestKeys(t *testing.T) {
	var keys []string
	ast.Inspect(parse(t, "config.go"), func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Config" {
			return true
		}
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			tag, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			key, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			if key != "-" {
				keys = append(keys, key)
			}
		}
		return false
	})
	if len(keys) < 25 {
		t.Fatalf("%d keys in config.go", len(keys))
	}
	slices.Sort(keys)
	compare(t, daemonPage, "keys", list(keys))
}

func TestActions(t *testing.T) {
	var actions []string
	ast.Inspect(parse(t, "access.go"), func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Action") {
			return true
		}
		action, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		actions = append(actions, action)
		return false
	})
	if len(actions) < 10 {
		t.Fatalf("%d actions in access.go", len(actions))
	}
	compare(t, daemonPage, "actions", list(actions))
}

// node is an introspection file.
type node struct {
	Interfaces []struct {
		Name    string `xml:"name,attr"`
		Methods []struct {
			Name string `xml:"name,attr"`
			Args []arg  `xml:"arg"`
		} `xml:"method"`
		Signals []struct {
			Name string `xml:"name,attr"`
			Args []arg  `xml:"arg"`
		} `xml:"signal"`
		Properties []struct {
			Name   string `xml:"name,attr"`
			Type   string `xml:"type,attr"`
			Access string `xml:"access,attr"`
		} `xml:"property"`
	} `xml:"interface"`
}

type arg struct {
	Name      string `xml:"name,attr"`
	Type      string `xml:"type,attr"`
	Direction string `xml:"direction,attr"`
}

func signature(args []arg) string {
	var words []string
	for _, a := range args {
		words = append(words, strings.TrimSpace(a.Direction+" "+a.Type+" "+a.Name))
	}
	return "(" + strings.Join(words, ", ") + ")"
}

// TestBus writes the interfaces as the pages of systemd's daemons do, and wants
// a word about each member in the prose.
func TestBus(t *testing.T) {
	files, err := filepath.Glob("../../dbus/xml/org.davit.*.xml")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d interfaces: %v", len(files), err)
	}
	page, err := os.ReadFile(busPage)
	if err != nil {
		t.Fatal(err)
	}
	prose := string(page)
	var wanted strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var n node
		if err := xml.Unmarshal(text, &n); err != nil {
			t.Fatal(err)
		}
		for _, i := range n.Interfaces {
			about := section(t, prose, strings.TrimPrefix(i.Name, "org.davit.Engine1."))
			mentioned := func(name string) {
				if !regexp.MustCompile(`\b` + name + `\b`).MatchString(about) {
					t.Errorf("%s says nothing of %s.%s", busPage, i.Name, name)
				}
			}
			fmt.Fprintf(&wanted, ".SS %s\n.nf\n", roff(i.Name))
			for _, m := range i.Methods {
				mentioned(m.Name)
				fmt.Fprintf(&wanted, "\\fB%s\\fR%s\n", m.Name, roff(signature(m.Args)))
			}
			for _, s := range i.Signals {
				mentioned(s.Name)
				fmt.Fprintf(&wanted, "signal \\fB%s\\fR%s\n", s.Name, roff(signature(s.Args)))
			}
			for _, p := range i.Properties {
				mentioned(p.Name)
				fmt.Fprintf(&wanted, "%s %s \\fB%s\\fR\n", p.Access, roff(p.Type), p.Name)
			}
			wanted.WriteString(".fi\n")
		}
	}
	compare(t, busPage, "interfaces", wanted.String())
}

// section returns the prose about an interface: from its heading to the next.
func section(t *testing.T, page, name string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n.SH "+strings.ToUpper(name)+"\n")
	if !ok {
		t.Fatalf("%s has no section %s", busPage, strings.ToUpper(name))
	}
	about, _, _ := strings.Cut(rest, "\n.SH ")
	return about
}

// TestPagesAreRoff has man format the pages: it complains of what it does not
// understand.
func TestPagesAreRoff(t *testing.T) {
	if _, err := exec.LookPath("man"); err != nil {
		t.Skip("needs man")
	}
	pages, err := filepath.Glob("../../docs/man/*.[1-8]")
	if err != nil || len(pages) < 2 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	for _, page := range pages {
		cmd := exec.Command("man", "--warnings", "--encoding=UTF-8", "--local-file", "-Tutf8", page)
		cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80", "PAGER=cat")
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if err != nil || complaints.Len() > 0 {
			t.Errorf("man %s: %v\n%s", page, err, &complaints)
		}
		if len(out) < 1000 {
			t.Errorf("man %s shows %d bytes", page, len(out))
		}
	}
}

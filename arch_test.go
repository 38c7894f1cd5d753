// SPDX-License-Identifier: Apache-2.0

package davit_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The walls of the module and the budgets of its style, as a test. It parses
// the files itself: a test that asks "go list" is served from the test cache
// after another package has changed.

const module = "github.com/davit-engine/davit"

// ours says what each folder may import of this module: "." is the root
// package. A folder may always import what lies below it. Folders never import
// one another: what two of them share is a noun of the root or a mechanism in
// internal.
var ours = map[string][]string{
	".":                 nil,
	"engine":            nil,
	"internal":          nil,
	"activation":        nil,
	"api":               {".", "engine", "internal"},
	"dbus":              {".", "engine", "internal"},
	"service":           {".", "engine", "internal"},
	"libcontainer-exec": {".", "internal"},
	"bridge":            {".", "internal"},
	"storage":           {".", "internal"},
	"registry":          {".", "internal"},
	"test":              {"internal"},
	"cmd": {
		".", "engine", "internal", "activation", "api", "dbus", "service",
		"libcontainer-exec", "bridge", "storage", "registry",
	},
}

// oursInTests are importable in the tests of every folder but internal and
// test: to prove that a driver satisfies the service's interfaces, and to
// drive a front door.
var oursInTests = []string{".", "engine", "internal", "service"}

// theirs says which modules a folder and those below it may import. Tests may
// import any.
var theirs = map[string][]string{
	".":          {"github.com/opencontainers/go-digest", "github.com/distribution/reference"},
	"activation": {"github.com/coreos/go-systemd/v22", "golang.org/x/sys"},
	"api": {
		"github.com/moby/moby/api", "github.com/coder/websocket", "github.com/docker/go-units",
		"github.com/distribution/reference", "github.com/opencontainers/go-digest",
	},
	"dbus":    {"github.com/godbus/dbus/v5", "github.com/opencontainers/go-digest"},
	"service": {"github.com/opencontainers/go-digest", "github.com/distribution/reference"},
	"libcontainer-exec": {
		"github.com/coreos/go-systemd/v22", "github.com/godbus/dbus/v5", "golang.org/x/sys",
		"github.com/opencontainers/go-digest", "github.com/opencontainers/runtime-spec", "tags.cncf.io/container-device-interface",
	},
	"libcontainer-exec/monitor": {
		"github.com/opencontainers/runc/libcontainer", "github.com/opencontainers/cgroups",
		"github.com/opencontainers/runtime-spec", "github.com/moby/profiles", "github.com/moby/sys", "github.com/seccomp/libseccomp-golang",
	},
	"bridge": {
		"github.com/vishvananda/netlink", "github.com/vishvananda/netns", "github.com/coreos/go-iptables",
		"github.com/containernetworking/plugins/pkg/netlinksafe", "golang.org/x/net/dns/dnsmessage", "golang.org/x/sys",
		"github.com/godbus/dbus/v5",
	},
	"storage": {
		"go.etcd.io/bbolt", "github.com/google/renameio/v2", "github.com/containerd/containerd/v2/pkg/archive",
		"github.com/klauspost/compress", "github.com/opencontainers/go-digest", "github.com/opencontainers/image-spec",
		"github.com/distribution/reference", "golang.org/x/sys", "golang.org/x/sync", "github.com/moby/sys/user",
	},
	"registry": {
		"oras.land/oras-go/v2", "github.com/opencontainers/go-digest", "github.com/opencontainers/image-spec",
		"github.com/distribution/reference", "github.com/klauspost/compress", "golang.org/x/sync",
	},
	"internal":           {"golang.org/x/sys", "github.com/google/renameio/v2", "github.com/klauspost/compress", "github.com/moby/go-archive"},
	"cmd":                {"github.com/spf13/pflag", "golang.org/x/sys"},
	"cmd/davitctl":       {"github.com/spf13/cobra", "golang.org/x/term", "github.com/godbus/dbus/v5"},
	"cmd/davit-monitor":  {"github.com/opencontainers/runc/libcontainer", "github.com/opencontainers/cgroups"},
	"service/drivertest": {"github.com/google/go-cmp"}, // only tests import it
	"internal/testutil":  {"github.com/google/go-cmp"}, // as above
	"test":               {"golang.org/x/sys"},
	"test/boot/pester":   {"github.com/godbus/dbus/v5"},
}

// never says what must not be reached from a package, through any number of
// this module's own.
var never = map[string]string{
	"cmd/davitd":                 "github.com/opencontainers/runc", // a process that is re-executed for every start, and no cgo
	"cmd/davitctl":               "github.com/opencontainers/runc",
	"cmd/davit-holder":           module, // stays in memory for each container
	"libcontainer-exec/protocol": module,
}

// The budgets. Lengths are in lines.
const (
	functionP95     = 50
	functionMax     = 80
	fileMax         = 700
	packageMax      = 4000
	interfaceMax    = 8
	depthMax        = 5
	parametersP95   = 4
	wrappedMin      = 0.8
	allowLong       = "//arch:allow-long " // and why; on a line of its own in the function or its comment
	spdx            = "// SPDX-License-Identifier: Apache-2.0"
	reexecDirectory = "libcontainer-exec/monitor" // its init is the hook that libcontainer's re-execution needs
)

var vagueNames = []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "pkg", "base"}

// source is one parsed file.
type source struct {
	path, dir string // with slashes, from the root of the tree
	test      bool   // _test.go
	lines     int
	text      []string
	ast       *ast.File
	set       *token.FileSet
	imports   []string
}

// load parses the tree's files. Directories with a go.mod of their own are
// other modules.
func load(root string) ([]source, error) {
	var out []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(name, "go.mod"))
			if rel != "." && (err == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		s, err := parse(name, rel)
		out = append(out, s)
		return err
	})
	return out, err
}

func parse(name, rel string) (source, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return source{}, err
	}
	s := source{path: rel, dir: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), set: token.NewFileSet()}
	s.text = strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	s.lines = len(s.text)
	s.ast, err = parser.ParseFile(s.set, rel, data, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return s, err
	}
	for _, i := range s.ast.Imports {
		imp, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return s, err
		}
		s.imports = append(s.imports, imp)
	}
	return s, nil
}

func (s source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.set.Position(n.Pos()).Line)
}

func (s source) generated() bool { return ast.IsGenerated(s.ast) }

// TestArchitecture holds the tree against all rules.
func TestArchitecture(t *testing.T) {
	files, err := load(".")
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]func([]source) []string{
		"imports": checkImports, "reach": checkReach, "depth": checkDepth, "package": checkPackages, "file": checkFiles,
		"function": checkFunctions, "interface": checkInterfaces, "parameters": checkParameters, "wrapping": checkWrapping, "habits": checkHabits,
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		t.Run(name, func(t *testing.T) {
			for _, finding := range rules[name](files) {
				t.Error(finding)
			}
		})
	}
}

func top(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

// own returns the directory of a package of this module.
func own(imp string) (dir string, ok bool) {
	if imp == module {
		return ".", true
	}
	return strings.CutPrefix(imp, module+"/")
}

// within tells whether p is prefix or lies below it.
func within(p, prefix string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }

func checkImports(files []source) (findings []string) {
	for _, f := range files {
		folder := top(f.dir)
		may, known := ours[folder]
		if !known {
			findings = append(findings, fmt.Sprintf("%s: no rule for folder %s", f.path, folder))
			continue
		}
		if f.test && folder != "internal" && folder != "test" {
			may = slices.Concat(may, oursInTests)
		}
		for _, imp := range f.imports {
			if dir, ok := own(imp); ok {
				if top(dir) != folder && !slices.Contains(may, top(dir)) {
					findings = append(findings, fmt.Sprintf("%s: folder %s may not import %s", f.path, folder, imp))
				}
				continue
			}
			if strings.Contains(top(imp), ".") && !f.test && !mayUse(f.dir, imp) {
				findings = append(findings, fmt.Sprintf("%s: folder %s may not import %s", f.path, f.dir, imp))
			}
		}
	}
	return findings
}

// mayUse tells whether the directory, or one above it, may import a package of
// another module. The root's modules are not those of every folder.
func mayUse(dir, imp string) bool {
	for d := dir; ; d = path.Dir(d) {
		if slices.ContainsFunc(theirs[d], func(p string) bool { return within(imp, p) }) {
			return true
		}
		if !strings.Contains(d, "/") {
			return false
		}
	}
}

// graph returns the imports of each package, tests left out.
func graph(files []source) map[string][]string {
	g := map[string][]string{}
	for _, f := range files {
		if !f.test {
			g[f.dir] = append(g[f.dir], f.imports...)
		}
	}
	return g
}

func checkReach(files []source) (findings []string) {
	g := graph(files)
	for _, from := range slices.Sorted(maps.Keys(never)) {
		bad := never[from]
		seen := map[string]bool{}
		var visit func(dir, chain string)
		visit = func(dir, chain string) {
			if seen[dir] {
				return
			}
			seen[dir] = true
			for _, imp := range g[dir] {
				if imp == bad || (bad != module && within(imp, bad)) {
					findings = append(findings, fmt.Sprintf("%s must not reach %s: %s -> %[2]s", from, imp, chain))
				}
				if to, ok := own(imp); ok {
					visit(to, chain+" -> "+to)
				}
			}
		}
		visit(from, from)
	}
	return findings
}

func checkDepth(files []source) (findings []string) {
	g := graph(files)
	var depth func(dir string, chain []string) []string
	depth = func(dir string, chain []string) []string {
		chain = append(slices.Clone(chain), dir)
		longest := chain
		if len(chain) > 2*depthMax {
			return longest // a cycle, which does not compile anyway
		}
		for _, imp := range g[dir] {
			if to, ok := own(imp); ok {
				if c := depth(to, chain); len(c) > len(longest) {
					longest = c
				}
			}
		}
		return longest
	}
	for _, dir := range slices.Sorted(maps.Keys(g)) {
		if chain := depth(dir, nil); len(chain) > depthMax+1 { // as many arrows, one more package
			findings = append(findings, fmt.Sprintf("%s: imports are %d deep, more than %d: %s", dir, len(chain)-1, depthMax, strings.Join(chain, " -> ")))
		}
	}
	return findings
}

func checkPackages(files []source) (findings []string) {
	comments, lines, names := map[string]int{}, map[string]int{}, map[string]string{}
	for _, f := range files {
		if f.test {
			continue
		}
		comments[f.dir] += 0
		if f.ast.Doc != nil {
			comments[f.dir]++
		}
		lines[f.dir] += f.lines
		names[f.dir] = f.ast.Name.Name
	}
	for _, dir := range slices.Sorted(maps.Keys(comments)) {
		if n := comments[dir]; n != 1 {
			findings = append(findings, fmt.Sprintf("%s: %d package comments, not one", dir, n))
		}
		if n := lines[dir]; n > packageMax {
			findings = append(findings, fmt.Sprintf("%s: package of %d lines, more than %d", dir, n, packageMax))
		}
		if slices.Contains(vagueNames, names[dir]) {
			findings = append(findings, fmt.Sprintf("%s: package %s has a name that says nothing", dir, names[dir]))
		}
	}
	return findings
}

func checkFiles(files []source) (findings []string) {
	for _, f := range files {
		if f.text[0] != spdx && !f.generated() {
			findings = append(findings, fmt.Sprintf("%s: the first line is not %q", f.path, spdx))
		}
		if f.lines > fileMax {
			findings = append(findings, fmt.Sprintf("%s: %d lines, more than %d", f.path, f.lines, fileMax))
		}
	}
	return findings
}

// functions calls visit with each function of the files that are not tests.
func functions(files []source, visit func(source, *ast.FuncDecl)) {
	for _, f := range files {
		if f.test || f.generated() {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				visit(f, fn)
			}
		}
	}
}

func checkFunctions(files []source) (findings []string) {
	lengths := map[string][]int{}
	functions(files, func(f source, fn *ast.FuncDecl) {
		first, last := f.set.Position(fn.Pos()).Line, f.set.Position(fn.End()).Line
		n := last - first + 1
		lengths[top(f.dir)] = append(lengths[top(f.dir)], n)
		if fn.Doc != nil {
			first = f.set.Position(fn.Doc.Pos()).Line
		}
		excused := slices.ContainsFunc(f.text[first-1:last], func(line string) bool {
			_, why, ok := strings.Cut(line, allowLong)
			return ok && strings.TrimSpace(why) != ""
		})
		if n > functionMax && !excused {
			findings = append(findings, fmt.Sprintf("%s: %s has %d lines, more than %d (split it, or say why: %s…)", f.at(fn), fn.Name.Name, n, functionMax, allowLong))
		}
	})
	for _, folder := range slices.Sorted(maps.Keys(lengths)) {
		if p := p95(lengths[folder]); p > functionP95 {
			findings = append(findings, fmt.Sprintf("%s: a function in twenty is longer than %d lines, 95%% are within %d", folder, functionP95, p))
		}
	}
	return findings
}

// p95 returns the value that 95 in 100 do not exceed.
func p95(values []int) int {
	slices.Sort(values)
	return values[(len(values)*95+99)/100-1]
}

func checkInterfaces(files []source) (findings []string) {
	for _, f := range files {
		if f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			i, ok := spec.Type.(*ast.InterfaceType)
			if !ok {
				return true
			}
			methods := 0
			for _, m := range i.Methods.List {
				methods += max(1, len(m.Names))
			}
			if methods > interfaceMax {
				findings = append(findings, fmt.Sprintf("%s: interface %s has %d methods, more than %d", f.at(spec), spec.Name.Name, methods, interfaceMax))
			}
			return true
		})
	}
	return findings
}

func checkParameters(files []source) []string {
	var counts []int
	var most []string
	functions(files, func(f source, fn *ast.FuncDecl) {
		n := 0
		for _, p := range fn.Type.Params.List {
			n += max(1, len(p.Names))
		}
		counts = append(counts, n)
		if n > parametersP95 {
			most = append(most, fmt.Sprintf("%s: %s has %d", f.at(fn), fn.Name.Name, n))
		}
	})
	if len(counts) == 0 || p95(counts) <= parametersP95 {
		return nil
	}
	return []string{fmt.Sprintf("a function in twenty has more than %d parameters:\n\t%s", parametersP95, strings.Join(most, "\n\t"))}
}

// errorName is what variables that hold errors are called here.
var errorName = regexp.MustCompile(`^(err|.*Err|err[A-Z].*)$`)

func checkWrapping(files []source) (findings []string) {
	with, without := 0, []string(nil)
	for _, f := range files {
		if f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !isCall(call, "fmt", "Errorf") || len(call.Args) < 2 {
				return true
			}
			if !slices.ContainsFunc(call.Args[1:], isError) {
				return true
			}
			if format, ok := call.Args[0].(*ast.BasicLit); ok && strings.Contains(format.Value, "%w") {
				with++
			} else {
				without = append(without, f.at(call))
			}
			return true
		})
	}
	if n := with + len(without); n > 0 && float64(with)/float64(n) < wrappedMin {
		findings = append(findings, fmt.Sprintf("%d of %d errors that are made of errors wrap them with %%w, fewer than %.0f%%; not: %s",
			with, n, wrappedMin*100, strings.Join(without, ", ")))
	}
	return findings
}

// isError tells whether an expression looks like an error; without types, its
// name must do.
func isError(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return errorName.MatchString(e.Name)
	case *ast.CallExpr:
		sel, ok := e.Fun.(*ast.SelectorExpr)
		return ok && sel.Sel.Name == "Err"
	case *ast.SelectorExpr:
		return errorName.MatchString(e.Sel.Name) || e.Sel.Name == "Err"
	}
	return false
}

// isCall tells whether a call is of pkg.name, for any of the names.
func isCall(call *ast.CallExpr, pkg string, names ...string) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg && slices.Contains(names, sel.Sel.Name)
}

// checkHabits finds what is not wanted wherever it stands.
func checkHabits(files []source) (findings []string) {
	for _, f := range files {
		say := func(n ast.Node, what string) { findings = append(findings, f.at(n)+": "+what) }
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" && !f.test && !within(f.dir, reexecDirectory) && f.dir != "cmd/davit-monitor" {
					say(n, "init() does what nobody called for")
				}
			case *ast.CallExpr:
				habitsOfCall(f, n, say)
			case *ast.BinaryExpr:
				if !f.test && (n.Op == token.EQL || n.Op == token.NEQ) && (isErrorText(n.X) || isErrorText(n.Y)) {
					say(n, "an error is compared by its text; use errors.Is or errors.As")
				}
			}
			return true
		})
	}
	return findings
}

func habitsOfCall(f source, call *ast.CallExpr, say func(ast.Node, string)) {
	switch {
	case isCall(call, "time", "Sleep") && f.test:
		say(call, "a test sleeps; wait for what it waits for, with a deadline")
	case isCall(call, "context", "Background", "TODO") && !f.test && f.ast.Name.Name != "main":
		say(call, "a context of its own; take the caller's")
	case !f.test && (isCall(call, "strings", "Contains", "HasPrefix", "HasSuffix", "EqualFold", "Index", "Count") ||
		isCall(call, "bytes", "Contains", "HasPrefix", "HasSuffix")) && slices.ContainsFunc(call.Args, isErrorText):
		say(call, "an error is recognized by its text; use errors.Is or errors.As")
	}
}

// isErrorText tells whether an expression is x.Error(), perhaps converted.
func isErrorText(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Error" && len(call.Args) == 0 {
		return true
	}
	return slices.ContainsFunc(call.Args, isErrorText)
}

// TestArchitectureFinds proves on small trees that each rule finds what it is
// there for, and nothing in a tree that keeps them all.
func TestArchitectureFinds(t *testing.T) {
	body := func(lines int) string { return "func f() {\n" + strings.Repeat("\t_ = 0\n", lines-2) + "}\n" }
	const digest, runc = `"github.com/opencontainers/go-digest"`, `"github.com/opencontainers/runc/libcontainer"`
	tests := []struct {
		name, path, code string
		check            func([]source) []string
		want             string // "" finds nothing
	}{
		{"sibling", "api/a.go", `import "` + module + `/bridge"`, checkImports, "api may not import " + module + "/bridge"},
		{"service in a driver", "bridge/a.go", `import "` + module + `/service"`, checkImports, "may not import"},
		{"service in a driver's test", "bridge/a_test.go", `import "` + module + `/service"`, checkImports, ""},
		{"below", "storage/a.go", `import "` + module + `/storage/image"`, checkImports, ""},
		{"root in internal", "internal/x/a.go", `import "` + module + `"`, checkImports, "may not import"},
		{"unknown folder", "stuff/a.go", ``, checkImports, "no rule for folder stuff"},
		{"module", "service/a.go", `import "golang.org/x/sys/unix"`, checkImports, "service may not import golang.org/x/sys/unix"},
		{"module in a test", "service/a_test.go", `import "golang.org/x/sys/unix"`, checkImports, ""},
		{"longer name", "engine/a.go", `import ` + digest, checkImports, "engine may not import"},
		{"libcontainer", "libcontainer-exec/a.go", `import ` + runc, checkImports, "may not import"},
		{"libcontainer in its place", "libcontainer-exec/monitor/x/a.go", `import ` + runc, checkImports, ""},
		{"reach", "cmd/davitd/a.go", `import "` + module + `/libcontainer-exec/monitor"`, checkReach, "cmd/davitd -> libcontainer-exec/monitor ->"},
		{"nouns in the holder", "cmd/davit-holder/a.go", `import "` + module + `/reaches"`, checkReach, "must not reach " + module},
		{"depth", "d1/a.go", `import "` + module + `/d2"`, checkDepth, "6 deep"},
		{"no package comment", "api/a.go", ``, checkPackages, "api: 0 package comments"},
		{"long package", "api/a.go", strings.Repeat("//\n", packageMax), checkPackages, "package of 400"},
		{"long file", "api/a_test.go", strings.Repeat("//\n", fileMax), checkFiles, "more than 700"},
		{"long function", "api/a.go", body(functionMax + 1), checkFunctions, "f has 81 lines"},
		{"excused function", "api/a.go", "//arch:allow-long a table\n" + body(functionMax+1) + strings.Repeat("\nfunc g() {}\n", 40), checkFunctions, ""},
		{"excuse without a reason", "api/a.go", "//arch:allow-long \n" + body(functionMax+1), checkFunctions, "f has 81 lines"},
		{"long functions", "api/a.go", body(functionP95 + 1), checkFunctions, "95% are within 51"},
		{"interface", "api/a.go", "type I interface { A(); B(); C(); D(); E(); F(); G(); H(); J() }", checkInterfaces, "I has 9 methods"},
		{"parameters", "api/a.go", "func f(a, b, c int, d, e string) {}", checkParameters, "f has 5"},
		{"wrapping", "api/a.go", `func f(err error) error { return fmt.Errorf("x: %v", err) }`, checkWrapping, "0 of 1"},
		{"init", "api/a.go", "func init() {}", checkHabits, "init()"},
		{"init of the re-execution", "libcontainer-exec/monitor/a.go", "func init() {}", checkHabits, ""},
		{"background", "api/a.go", "var x = context.Background()", checkHabits, "a context of its own"},
		{"background in a test", "api/a_test.go", "var x = context.Background()", checkHabits, ""},
		{"sleep", "api/a_test.go", "func f() { time.Sleep(1) }", checkHabits, "sleeps"},
		{"error text", "api/a.go", `func f(err error) bool { return strings.Contains(strings.ToLower(err.Error()), "x") }`, checkHabits, "by its text"},
		{"error text compared", "api/a.go", `func f(err error) bool { return err.Error() == "x" }`, checkHabits, "by its text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			findings := strings.Join(tt.check(synthetic(t, tt.path, tt.code)), "\n")
			if (tt.want == "") != (findings == "") || !strings.Contains(findings, tt.want) {
				t.Errorf("found %q, want %q", findings, tt.want)
			}
		})
	}
	if _, err := load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no tree: %v", err)
	}
}

// synthetic makes a tree of one file with the code, of the packages that it
// asks for, and of a module that is not this one.
func synthetic(t *testing.T, name, code string) []source {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(code, "/monitor") {
		write("libcontainer-exec/monitor/m.go", spdx+"\n\npackage m\n\nimport \"github.com/opencontainers/runc/libcontainer\"\n")
	}
	if strings.Contains(code, "/reaches") {
		write("reaches/r.go", spdx+"\n\npackage r\n\nimport \""+module+"\"\n")
	}
	for i := 2; i <= depthMax+2 && strings.Contains(code, "/d2"); i++ {
		write(fmt.Sprintf("d%d/d.go", i), fmt.Sprintf("%s\n\npackage d\n\nimport \"%s/d%d\"\n", spdx, module, i+1))
	}
	write("other/go.mod", "module other\n")
	write("other/broken.go", "not Go")
	write(name, spdx+"\n\npackage x\n\n"+code+"\n")
	files, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

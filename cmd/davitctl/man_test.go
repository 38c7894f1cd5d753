// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-engine/davit/internal/testutil"
)

const manualPage = "../../docs/man/davitctl.1"

// TestManualPage holds davitctl(1) to the tree of commands: "go test
// ./cmd/davitctl -update" writes it anew.
func TestManualPage(t *testing.T) {
	page := manual()
	if testutil.Update() {
		if err := os.WriteFile(manualPage, []byte(page), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(manualPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(page, string(have)); diff != "" {
		t.Errorf("%s is not what the commands say (-want +got):\n%s", manualPage, diff)
	}
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("needs groff to check the page")
	}
	out, err := exec.Command("groff", "-man", "-ww", "-b", "-Tutf8", "-z", manualPage).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}

// roff escapes text (groff(7)): a line that begins with a dot or a quote would
// be a request, and a hyphen that is typed is a minus.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, `"`, `\(dq`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

// sentences puts each on a line of its own, as man-pages(7) asks for.
func sentences(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.ReplaceAll(roff(text), ". ", ".\n") + "\n"
}

func manual() string {
	root := newRoot(stdio{})
	var b strings.Builder
	b.WriteString(".\\\" SPDX-License-Identifier: Apache-2.0\n.\\\" Written by go test ./cmd/davitctl -update.\n")
	b.WriteString(".TH DAVITCTL 1 \"\" \"Davit\" \"User Commands\"\n.SH NAME\ndavitctl \\- show and steer the Davit container engine\n")
	b.WriteString(".SH SYNOPSIS\n.B davitctl\n.RI [ OPTION \".\\|.\\|.] \" COMMAND \" [\" ARGUMENT \".\\|.\\|.]\"\n")
	b.WriteString(".SH DESCRIPTION\n" + sentences(root.Long))
	for _, g := range root.Groups() {
		b.WriteString(".SH " + strings.ToUpper(strings.TrimSuffix(g.Title, ":")) + "\n")
		for _, c := range root.Commands() {
			if c.GroupID == g.ID && !c.Hidden {
				b.WriteString(manualCommand(c))
			}
		}
	}
	b.WriteString(".SH OPTIONS\nThese are for all commands.\n" + manualFlags(root.PersistentFlags()))
	b.WriteString(manualEnd)
	return b.String()
}

func manualCommand(c *cobra.Command) string {
	var b strings.Builder
	name, arguments, _ := strings.Cut(c.Use, " ")
	b.WriteString(".TP\n\\fB" + roff(name) + "\\fR")
	if c.LocalNonPersistentFlags().HasAvailableFlags() {
		b.WriteString(" [\\fIOPTION\\fR...]")
	}
	if arguments != "" {
		b.WriteString(" \\fI" + roff(arguments) + "\\fR")
	}
	b.WriteString("\n" + sentences(c.Long))
	if len(c.Aliases) > 0 {
		b.WriteString("The command is also called " + roff(strings.Join(c.Aliases, ", ")) + ".\n")
	}
	if flags := manualFlags(c.LocalNonPersistentFlags()); flags != "" {
		b.WriteString(".RS\n" + flags + ".RE\n")
	}
	return b.String()
}

func manualFlags(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		b.WriteString(".TP\n")
		if f.Shorthand != "" {
			b.WriteString(`\fB\-` + f.Shorthand + `\fR, `)
		}
		b.WriteString(`\fB\-\-` + roff(f.Name) + `\fR`)
		if value != "" {
			b.WriteString(`=\fI` + roff(value) + `\fR`)
		}
		usage = strings.ToUpper(usage[:1]) + usage[1:]
		if d := f.DefValue; d != "" && d != "false" && d != "true" && d != "[]" {
			usage += " (default " + d + ")"
		}
		b.WriteString("\n" + roff(usage) + ".\n")
	})
	return b.String()
}

var manualEnd = `.SH EXIT STATUS
` + fmt.Sprintf(`.TP
0
The command was carried out.
.TP
%d
It failed, or the job did.
.TP
%d
It was used wrongly.
.TP
%d
No engine is on the bus.
.TP
%d
The user may not do it.
.TP
%d
It was interrupted; a job that it had made is cancelled.
`, exitFailed, exitUsage, exitNotRunning, exitDenied, exitInterrupted) + `.PP
.B run \-\-wait
and
.B shell
exit with the status of the container and of the program.
.SH ENVIRONMENT
.TP
.B DBUS_SYSTEM_BUS_ADDRESS
The bus to use in place of the system bus.
.TP
.B NO_COLOR
When it is set and not empty, nothing is coloured, unless
.B \-\-color=always
is given.
.TP
.B TERM
On a terminal called
.I dumb
there are neither colours nor bars.
.SH AUTHENTICATION
Whoever is not root needs the permission of polkit.
On a terminal,
.BR pkttyagent (1)
asks for a password where the rules want one, if it is installed and no agent of a desktop does; see
.BR \-\-no\-ask\-password .
.SH EXAMPLES
.nf
davitctl run \-\-name web \-\-publish 8080:80 \-p MemoryMax=256M my\-site
davitctl status web
davitctl logs \-f \-n 20 web
davitctl shell web
davitctl list\-jobs \-\-state=running
davitctl boot\-plot >start.svg
.fi
.SH SEE ALSO
.BR davitd (8),
.BR org.davit.Engine1 (5),
.BR busctl (1),
.BR machinectl (1),
.BR systemctl (1),
.BR polkit (8)
`

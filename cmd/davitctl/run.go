// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"
)

// runFlags are the flags of run, in systemd-run's spelling where it has them.
type runFlags struct {
	name, user, directory, network                   string
	environment, publish, binds, labels, assignments []string
	privileged, tty, wait, collect, noBlock          bool
}

func newRun(o *options) *cobra.Command {
	r := &runFlags{}
	cmd := &cobra.Command{
		Use: "run IMAGE [ARG...]", Short: "Make a container of an image and start it", Args: arguments(1, -1),
		Long: "Make a container of an image, which is pulled if it is not here, and start it. Its id is printed, and on standard error what it runs as. " +
			"Interrupting the command cancels the job, which takes back what it has done. With --wait it waits for the container " +
			"and exits with the container's status; interrupting it then leaves the container running.",
		ValidArgsFunction: completeImages(o),
		RunE:              o.onBus(r.run),
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the image is the container's
	f.StringVar(&r.name, "name", "", "call the container `NAME`")
	f.StringArrayVarP(&r.environment, "setenv", "e", nil, "set the variable `NAME[=VALUE]`, without a value to the one it has here")
	f.StringArrayVar(&r.publish, "publish", nil, "publish a port: `[[ADDRESS:]PORT:]PORT[/PROTOCOL]`")
	f.StringArrayVar(&r.binds, "bind", nil, "mount a directory or a volume: `SOURCE:DESTINATION[:OPTIONS]`")
	f.StringArrayVar(&r.labels, "label", nil, "set the label `NAME=VALUE`")
	f.StringArrayVarP(&r.assignments, "property", "p", nil, "set a property, `NAME=VALUE`, such as MemoryMax=512M, TasksMax=100, CPUQuota=50%, Restart=always")
	f.StringVar(&r.user, "uid", "", "run as `USER[:GROUP]`")
	f.StringVar(&r.directory, "working-directory", "", "run in this `DIRECTORY` of the container")
	f.StringVar(&r.network, "network", "", "use this `NETWORK`: the default one, none or host")
	f.BoolVar(&r.privileged, "privileged", false, "give the container what equals being root on the host")
	f.BoolVarP(&r.tty, "pty", "t", false, "give the container a terminal")
	f.BoolVar(&r.wait, "wait", false, "wait until the container has ended, and exit with its status")
	f.BoolVarP(&r.collect, "collect", "G", false, "with --wait: remove the container when it has ended")
	f.BoolVar(&r.noBlock, "no-block", false, "print the number of the job and do not wait for it")
	_ = cmd.RegisterFlagCompletionFunc("property", completeProperties) // the flag is there
	return cmd
}

func (r *runFlags) run(c *client, args []string) error {
	values, err := r.properties()
	if err != nil {
		return err
	}
	if r.noBlock && r.wait {
		return usageError{errors.New("--no-block and --wait exclude each other")}
	}
	if r.collect && !r.wait {
		return usageError{errors.New("--collect is for --wait")}
	}
	argv := append([]string{}, args[1:]...)
	j, err := c.submit("RunContainer", args[0], r.name, argv, values, uint64(0))
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", args[0], err)
	}
	if r.noBlock {
		return c.say("%d", j.id)
	}
	path, err := r.started(c, j)
	if err != nil || !r.wait {
		return err
	}
	status, err := c.awaitExit(path)
	if err != nil {
		return err
	}
	if r.collect {
		if err := c.collect(path); err != nil {
			return err
		}
	}
	if status != 0 {
		return statusError(status)
	}
	return nil
}

// started follows the job to its end and says what it made.
func (r *runFlags) started(c *client, j submitted) (dbus.ObjectPath, error) {
	defer c.abandon(j)
	if err := c.showProgress(j, c.std.err); err != nil {
		return "", err
	}
	_, output, err := c.outcome(j)
	if err != nil {
		return "", err
	}
	path := property[dbus.ObjectPath](output, "Container")
	p, err := c.properties(path, containerInterface)
	var gone dbus.Error
	if err != nil && !errors.As(err, &gone) { // it may have removed itself
		return "", err
	}
	if c.asJSON {
		plain := output.plain()
		plain["Name"], plain["Unit"] = p.text("Name"), p.text("Unit")
		return path, c.printJSON(plain)
	}
	for _, w := range property[[]string](output, "Warnings") {
		c.note("Warning: " + w)
	}
	switch unit, name := p.text("Unit"), p.text("Name"); {
	case unit != "":
		c.note("Running as unit " + unit + ".")
	case name != "":
		c.note("Running as container " + name + ".")
	}
	return path, c.say("%s", output.text("Id"))
}

// note tells the user something beside the output.
func (c *client) note(text string) {
	_, _ = io.WriteString(c.std.err, printable(text)+"\n") // the output counts
}

// awaitExit waits for a container and returns its status.
func (c *client) awaitExit(path dbus.ObjectPath) (int, error) {
	var status int32
	var message string
	if err := c.call(path, containerInterface+".Wait", "not-running").Store(&status, &message); err != nil {
		return 0, fmt.Errorf("cannot wait for the container: %w", err)
	}
	if message != "" {
		return 0, fmt.Errorf("the container failed: %s", message)
	}
	return int(status), nil
}

func (c *client) collect(path dbus.ObjectPath) error {
	var j submitted
	if err := c.callIn(context.WithoutCancel(c.ctx), path, containerInterface+".Remove", uint64(0)).Store(&j.id, &j.path); err != nil {
		return fmt.Errorf("cannot remove the container: %w", err)
	}
	_, _, err := c.outcome(j)
	return err
}

// properties returns the flags as properties of RunContainer.
func (r *runFlags) properties() (map[string]dbus.Variant, error) {
	p := &runProperties{values: map[string]dbus.Variant{}}
	for _, e := range r.environment {
		name, value, ok := strings.Cut(e, "=")
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				return nil, usageError{fmt.Errorf("--setenv %q: the variable is not set here", name)}
			}
		}
		p.list("Environment", name+"="+value)
	}
	labels := map[string]string{}
	for _, l := range r.labels {
		name, value, _ := strings.Cut(l, "=")
		labels[name] = value
	}
	if len(labels) > 0 {
		p.set("Labels", labels)
	}
	for _, b := range r.publish {
		p.list("Publish", b)
	}
	for _, b := range r.binds {
		p.list("Binds", b)
	}
	for name, value := range map[string]string{"User": r.user, "WorkingDirectory": r.directory, "Network": r.network} {
		if value != "" {
			p.set(name, value)
		}
	}
	if r.privileged {
		p.set("Privileged", true)
	}
	if r.tty {
		p.set("TTY", true)
	}
	for _, assignment := range r.assignments {
		if err := p.assign(propertyKinds, assignment); err != nil {
			return nil, usageError{fmt.Errorf("--property %w", err)}
		}
	}
	return p.values, nil
}

type runProperties struct{ values map[string]dbus.Variant }

func (p *runProperties) set(name string, v any) { p.values[name] = dbus.MakeVariant(v) }

func (p *runProperties) list(name, value string) {
	old, _ := p.values[name].Value().([]string)
	p.set(name, append(slices.Clone(old), value))
}

// kinds are properties that can be set, and how their values are read.
type kinds map[string]func(p *runProperties, name, value string) error

// propertyKinds are those of --property.
var propertyKinds = kinds{
	"MemoryMax":         sizeProperty,
	"TasksMax":          numberProperty,
	"CPUQuota":          quotaProperty,
	"Restart":           textProperty,
	"User":              textProperty,
	"WorkingDirectory":  textProperty,
	"Network":           textProperty,
	"LogNamespace":      textProperty,
	"Environment":       listProperty,
	"Publish":           listProperty,
	"BindPaths":         bindProperty,
	"BindReadOnlyPaths": bindProperty,
	"After":             listProperty,
	"RequiresMountsFor": listProperty,
	"Privileged":        boolProperty,
	"TTY":               boolProperty,
}

// assign reads "MemoryMax=512M".
func (p *runProperties) assign(known kinds, assignment string) error {
	name, value, ok := strings.Cut(assignment, "=")
	if !ok {
		return fmt.Errorf("%q is not of the form NAME=VALUE", assignment)
	}
	kind := known[name]
	if kind == nil {
		return fmt.Errorf("%s is not known (known: %s)", name, strings.Join(known.names(), ", "))
	}
	if err := kind(p, name, value); err != nil {
		return fmt.Errorf("%s: %w", assignment, err)
	}
	return nil
}

func (k kinds) names() []string { return slices.Sorted(maps.Keys(k)) }

func textProperty(p *runProperties, name, value string) error {
	p.set(name, value)
	return nil
}

func listProperty(p *runProperties, name, value string) error {
	p.list(name, value)
	return nil
}

// bindProperty reads systemd.exec(5)'s form, SOURCE[:DESTINATION].
func bindProperty(p *runProperties, name, value string) error {
	source, destination, ok := strings.Cut(value, ":")
	if !ok {
		destination = source
	}
	if source == "" || destination == "" {
		return errors.New("it is not of the form SOURCE[:DESTINATION]")
	}
	bind := source + ":" + destination
	if name == "BindReadOnlyPaths" {
		bind += ":ro"
	}
	p.list("Binds", bind)
	return nil
}

func boolProperty(p *runProperties, name, value string) error {
	switch strings.ToLower(value) {
	case "yes", "y", "true", "t", "on", "1":
		p.set(name, true)
	case "no", "n", "false", "f", "off", "0":
		p.set(name, false)
	default:
		return errors.New("it is yes or no")
	}
	return nil
}

func numberProperty(p *runProperties, name, value string) error {
	if value == "infinity" {
		p.set(name, noLimit)
		return nil
	}
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || n == 0 {
		return errors.New("it is a number, or infinity")
	}
	p.set(name, n)
	return nil
}

// sizeProperty reads bytes with systemd's suffixes, powers of 1024.
func sizeProperty(p *runProperties, name, value string) error {
	const suffixes = "BKMGTPE"
	number, shift := value, 0
	if value != "" {
		if i := strings.IndexByte(suffixes, value[len(value)-1]); i >= 0 {
			number, shift = value[:len(value)-1], 10*i
		}
	}
	if shift == 0 && number == value {
		return numberProperty(p, name, value)
	}
	f, err := strconv.ParseFloat(number, 64)
	bytes := f * float64(uint64(1)<<shift)
	if err != nil || !(bytes >= 1) || bytes >= 1<<63 {
		return errors.New("it is a size such as 512M, or infinity")
	}
	p.set(name, uint64(bytes))
	return nil
}

// quotaProperty reads a percentage of one CPU, as systemd.resource-control(5)
// has it; the bus has it in microseconds of each second.
func quotaProperty(p *runProperties, _, value string) error {
	number, ok := strings.CutSuffix(value, "%")
	f, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(f > 0) || f > 1e6 {
		return errors.New("it is a percentage of one CPU, such as 50% or 200%")
	}
	p.set("CPUQuotaPerSecUSec", uint64(f*10_000))
	return nil
}

// completeProperties completes the names of properties.
func completeProperties(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return propertyKinds.completions()
}

func (k kinds) completions() ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, name := range k.names() {
		names = append(names, name+"=")
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// SPDX-License-Identifier: Apache-2.0

package nat

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-iptables/iptables"
	"github.com/davit-engine/davit"
)

// lockWait is how many seconds iptables waits for the lock that programs
// which change the tables share (/run/xtables.lock).
const lockWait = 30

// Firewall is the firewall of one bridge. What it should hold is kept here and
// written whole, in one run of iptables-restore; publishing and withdrawing
// an endpoint's ports change only their rules. All methods may be called from
// any goroutine.
type Firewall struct {
	tool    *iptables.IPTables
	program string // path of iptables; its companions are beside it
	backend string

	mu        sync.Mutex
	rules     Rules
	published map[string]Publication
	dirty     bool // the last write failed: what the tables hold is unknown
}

// Open finds iptables: the named program, or if it is "" the first in PATH or
// in the usual directories of system programs. iptables-save and -restore are
// taken from beside it, so that all are of the same variant (nft or legacy).
func Open(program string) (*Firewall, error) {
	if program == "" {
		var err error
		if program, err = find("iptables"); err != nil {
			return nil, davit.Errorf(davit.Failed, "cannot find iptables, which publishes ports and lets containers out: install it, or set \"iptables\": false: %w", err)
		}
	}
	for _, companion := range []string{program + "-save", program + "-restore"} {
		if _, err := os.Stat(companion); err != nil {
			return nil, davit.Errorf(davit.Failed, "cannot find %s, a part of iptables: %w", companion, err)
		}
	}
	tool, err := iptables.New(iptables.IPFamily(iptables.ProtocolIPv4), iptables.Path(program), iptables.Timeout(lockWait))
	if err != nil {
		return nil, fmt.Errorf("cannot run %s: %w", program, err)
	}
	return &Firewall{tool: tool, program: program, backend: variant(program), published: map[string]Publication{}}, nil
}

// variant tells by the program that all names of a variant are links to.
func variant(program string) string {
	target, err := filepath.EvalSymlinks(program)
	switch name := filepath.Base(target); {
	case err == nil && strings.Contains(name, "nft"):
		return "iptables-nft"
	case err == nil && strings.Contains(name, "legacy"):
		return "iptables-legacy"
	}
	return "iptables"
}

func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	return path, err
}

// Backend is "iptables-nft", "iptables-legacy", or "iptables" if it cannot be
// told.
func (f *Firewall) Backend() string { return f.backend }

// Apply makes the firewall hold the rules and exactly the published ports, by
// endpoint id.
func (f *Firewall) Apply(ctx context.Context, r Rules, published map[string]Publication) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.published = r, maps.Clone(published)
	return f.apply(ctx)
}

// Sync writes everything again, after others have changed or emptied the tables.
func (f *Firewall) Sync(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.apply(ctx)
}

func (f *Firewall) apply(ctx context.Context) error {
	now, err := f.present(ctx, f.rules.Link)
	if err != nil {
		return err
	}
	return f.run(ctx, document(f.rules, f.published, now))
}

// Publish lets the ports of an endpoint be reached. An endpoint that is
// published already stays as it is.
func (f *Firewall) Publish(ctx context.Context, endpoint string, pub Publication) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.published[endpoint]; ok || len(pub.Ports) == 0 {
		return nil
	}
	f.published[endpoint] = pub
	err := f.change(ctx, "-A ", pub)
	if err != nil {
		delete(f.published, endpoint)
	}
	return err
}

// Withdraw undoes Publish. An endpoint that is not published is no error.
func (f *Firewall) Withdraw(ctx context.Context, endpoint string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	pub, ok := f.published[endpoint]
	if !ok {
		return nil
	}
	delete(f.published, endpoint)
	err := f.change(ctx, "-D ", pub)
	if err != nil {
		f.published[endpoint] = pub
	}
	return err
}

// change adds or deletes the rules of one endpoint. If that fails, someone
// else has emptied or changed the tables, and all of ours is made again.
func (f *Firewall) change(ctx context.Context, verb string, pub Publication) error {
	rules := prefixed(verb, chainsOf(f.rules.Link).dnat, pub)
	if !f.dirty && f.run(ctx, "*nat\n"+strings.Join(rules, "\n")+"\nCOMMIT\n") == nil {
		return nil
	}
	return f.apply(ctx)
}

// Remove takes the chains of a link away, and the rules that lead to them.
// The administrator's chain stays.
func (f *Firewall) Remove(ctx context.Context, link string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := f.present(ctx, link)
	if err != nil {
		return err
	}
	c := chainsOf(link)
	for _, table := range []string{"filter", "nat"} {
		var b strings.Builder
		for _, j := range c.jumps(link) {
			if j.table == table {
				writeRules(&b, deletions(now.jumps[j]))
			}
		}
		if b.Len() == 0 {
			continue
		}
		if err := f.run(ctx, "*"+table+"\n"+b.String()+"COMMIT\n"); err != nil {
			return err
		}
	}
	for _, own := range []struct{ table, chain string }{
		{"filter", c.forward}, {"filter", c.input}, {"nat", c.dnat}, {"nat", c.postrouting},
	} {
		if err := f.tool.ClearAndDeleteChain(own.table, own.chain); err != nil {
			return fmt.Errorf("cannot remove chain %s of table %s: %w", own.chain, own.table, err)
		}
	}
	return nil
}

// present reads which rules lead to our chains.
func (f *Firewall) present(ctx context.Context, link string) (present, error) {
	saved, err := f.exec(ctx, "-save", nil, "")
	if err != nil {
		return present{}, fmt.Errorf("cannot read the firewall: %w", err)
	}
	return parse(saved, chainsOf(link).jumps(link)), nil
}

// run feeds a document to iptables-restore.
func (f *Firewall) run(ctx context.Context, document string) error {
	_, err := f.exec(ctx, "-restore", []string{"--noflush", fmt.Sprintf("--wait=%d", lockWait)}, document)
	f.dirty = err != nil
	if err != nil {
		return fmt.Errorf("cannot program the firewall: %w", err)
	}
	return nil
}

// exec runs a companion of iptables. It takes milliseconds and is not
// cancelled half-way, so that its outcome is known.
func (f *Firewall) exec(ctx context.Context, companion string, args []string, input string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*lockWait*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, f.program+companion, args...)
	cmd.Env = environment()
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %.500s: %w", cmd.Path, strings.Join(strings.Fields(stderr.String()), " "), err)
	}
	return stdout.String(), err
}

// environment is what iptables needs of ours: nothing of systemd's contract
// with the daemon (NOTIFY_SOCKET, LISTEN_FDS) goes to a child.
func environment() []string {
	env := []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "XTABLES_LOCKFILE", "XTABLES_LIBDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

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
	restore string // path of iptables-restore
	backend string

	mu        sync.Mutex
	rules     Rules
	published map[string]Publication
	dirty     bool // the last write failed: what the tables hold is unknown
}

// Open finds iptables: the named program, or if it is "" the first in PATH or
// in the usual directories of system programs. iptables-restore is taken from
// beside it, so that both are of the same variant (nft or legacy).
func Open(ctx context.Context, program string) (*Firewall, error) {
	if program == "" {
		var err error
		if program, err = find("iptables"); err != nil {
			return nil, davit.Errorf(davit.Failed, "cannot find iptables, which publishes ports and lets containers out: install it, or set \"iptables\": false: %w", err)
		}
	}
	dir, name := filepath.Split(program)
	restore := filepath.Join(dir, name+"-restore")
	if _, err := os.Stat(restore); err != nil {
		return nil, davit.Errorf(davit.Failed, "cannot find the companion of %s: %w", program, err)
	}
	tool, err := iptables.New(iptables.IPFamily(iptables.ProtocolIPv4), iptables.Path(program), iptables.Timeout(lockWait))
	if err != nil {
		return nil, fmt.Errorf("cannot run %s: %w", program, err)
	}
	version, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot run %s --version: %w", program, err)
	}
	backend := "iptables-legacy"
	if strings.Contains(string(version), "nf_tables") {
		backend = "iptables-nft"
	}
	return &Firewall{tool: tool, restore: restore, backend: backend, published: map[string]Publication{}}, nil
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

// Backend is "iptables-nft" or "iptables-legacy".
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
	now, err := f.present(f.rules.Link)
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
	c := chainsOf(link)
	now, err := f.present(link)
	if err != nil {
		return err
	}
	var b strings.Builder
	for table, own := range map[string][]string{"filter": {c.forward, c.input}, "nat": {c.dnat, c.postrouting}} {
		b.WriteString("*" + table + "\n")
		for j, rules := range now.jumps {
			if j.table == table {
				writeRules(&b, deletions(rules))
			}
		}
		for _, chain := range own {
			// Declaring a chain makes it or empties it: either way it can go.
			fmt.Fprintf(&b, ":%s - [0:0]\n-X %s\n", chain, chain)
		}
		b.WriteString("COMMIT\n")
	}
	return f.run(ctx, b.String())
}

// present reads which rules lead to our chains.
func (f *Firewall) present(link string) (present, error) {
	now := present{jumps: map[jump][]string{}}
	for _, j := range chainsOf(link).jumps(link) {
		lines, err := f.tool.List(j.table, j.chain)
		if err != nil {
			return now, fmt.Errorf("cannot list chain %s of table %s: %w", j.chain, j.table, err)
		}
		for _, line := range lines {
			if isJumpTo(line, j.target) {
				now.jumps[j] = append(now.jumps[j], line)
			}
		}
	}
	var err error
	if now.userChain, err = f.tool.ChainExists("filter", UserChain); err != nil {
		return now, fmt.Errorf("cannot look for chain %s: %w", UserChain, err)
	}
	return now, nil
}

// run feeds a document to iptables-restore. It takes milliseconds and is not
// cancelled half-way, so that its outcome is known.
func (f *Firewall) run(ctx context.Context, document string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*lockWait*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, f.restore, "--noflush", fmt.Sprintf("--wait=%d", lockWait))
	cmd.Stdin = strings.NewReader(document)
	cmd.Env = environment()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	f.dirty = err != nil
	if err == nil {
		return nil
	}
	if text := strings.Join(strings.Fields(stderr.String()), " "); text != "" {
		return fmt.Errorf("cannot program the firewall: %.500s: %w", text, err)
	}
	return fmt.Errorf("cannot run %s: %w", f.restore, err)
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

// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/davit-engine/davit/internal/atomicfile"
)

// record is what is kept of the network across a reboot.
type record struct {
	ID       string
	Created  time.Time
	Address  netip.Prefix // of the bridge
	IPTables bool         // rules may have been written

	known bool // it was read
}

func (d *Driver) recordFile() string { return filepath.Join(d.opts.StateDir, d.cfg.Link+".json") }

// readRecord returns a new network's record when there is none. One that
// cannot be parsed is replaced: only the identity and the range are lost.
func (d *Driver) readRecord() (record, error) {
	fresh := record{ID: randomID(), Created: time.Now().UTC()}
	if d.opts.StateDir == "" {
		return fresh, nil
	}
	raw, err := os.ReadFile(d.recordFile())
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("cannot read the record of network %s: %w", networkName, err)
	}
	var rec record
	if err := json.Unmarshal(raw, &rec); err != nil || rec.ID == "" {
		d.log.Warn("the record of the network is damaged: a new one is made", "file", d.recordFile(), "error", err)
		fresh.IPTables = true
		return fresh, nil
	}
	rec.known = true
	return rec, nil
}

// writeRecord replaces the record, at once and durably.
func (d *Driver) writeRecord(rec record) error {
	if d.opts.StateDir == "" {
		return nil
	}
	raw, err := json.Marshal(rec)
	if err == nil {
		err = os.MkdirAll(d.opts.StateDir, 0o700)
	}
	if err == nil {
		err = atomicfile.Write(d.recordFile(), append(raw, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write the record of network %s: %w", networkName, err)
	}
	return nil
}

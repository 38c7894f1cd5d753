// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"encoding/json"
	"os"
)

// WriteFile replaces the file at path by v as JSON, mode 0600: a reader sees
// the old content or the new, whole. It does not sync; the directory is a
// tmpfs and nothing in it is of use after a reboot.
func WriteFile(path string, v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, p, 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return nil
}

// ReadFile decodes the JSON file at path into v. The error wraps
// [os.ErrNotExist] when there is none.
func ReadFile(path string, v any) error {
	p, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(p, v); err != nil {
		return &os.PathError{Op: "decode", Path: path, Err: err}
	}
	return nil
}

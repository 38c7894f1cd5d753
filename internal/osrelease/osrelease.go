// SPDX-License-Identifier: Apache-2.0

// Package osrelease reads os-release(5).
package osrelease

import "strings"

// Paths are where the file is looked for, in this order.
var Paths = [...]string{"/etc/os-release", "/usr/lib/os-release"}

// Parse reads the assignments of an os-release file. What is none is skipped,
// as the man page wants it.
func Parse(text []byte) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		if !ok || key == "" || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			continue
		}
		out[key] = unquote(value)
	}
	return out
}

// unquote reads a value as a shell does that expands nothing: in double quotes
// a backslash protects $ " ` and itself.
func unquote(s string) string {
	if len(s) < 2 || s[0] != s[len(s)-1] || (s[0] != '"' && s[0] != '\'') {
		return s
	}
	quote, s := s[0], s[1:len(s)-1]
	if quote == '\'' {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\$`, `$`, "\\`", "`").Replace(s)
}

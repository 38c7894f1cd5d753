// SPDX-License-Identifier: Apache-2.0

// Package objectpath makes elements of object paths of names, as systemd does.
package objectpath

import (
	"strconv"
	"strings"
)

// Escape makes an element of an object path of any string, as
// sd_bus_path_encode(3) does.
func Escape(s string) string {
	if s == "" {
		return "_"
	}
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('_')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// Unescape is the inverse of [Escape]. Only what Escape makes is valid, so
// that an object has one path.
func Unescape(element string) (string, bool) {
	if element == "_" {
		return "", true
	}
	var b strings.Builder
	for i := 0; i < len(element); i++ {
		c := element[i]
		if c == '_' {
			if i+2 >= len(element) {
				return "", false
			}
			n, err := strconv.ParseUint(element[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c = byte(n)
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String(), Escape(b.String()) == element
}

// SPDX-License-Identifier: Apache-2.0

// Package refusal makes errors with the standard names of the D-Bus
// specification ("Standard error names").
package refusal

import (
	"fmt"
	"strings"
	"unicode/utf8"

	godbus "github.com/godbus/dbus/v5"
)

// The names.
const (
	prefix               = "org.freedesktop.DBus.Error."
	NameAccessDenied     = prefix + "AccessDenied"
	NameAuthRequired     = prefix + "InteractiveAuthorizationRequired"
	NameInvalidArgs      = prefix + "InvalidArgs"
	NameLimitsExceeded   = prefix + "LimitsExceeded"
	NameNotSupported     = prefix + "NotSupported"
	NamePropertyReadOnly = prefix + "PropertyReadOnly"
	NameTimeout          = prefix + "Timeout"
	NameUnknownInterface = prefix + "UnknownInterface"
	NameUnknownMethod    = prefix + "UnknownMethod"
	NameUnknownObject    = prefix + "UnknownObject"
	NameUnknownProperty  = prefix + "UnknownProperty"
)

// New makes an error of a name, with a text as of [fmt.Errorf].
func New(name, format string, args ...any) error {
	return godbus.NewError(name, []any{Text(fmt.Sprintf(format, args...))})
}

// InvalidArgs refuses arguments.
func InvalidArgs(format string, args ...any) error { return New(NameInvalidArgs, format, args...) }

// textLimit bounds the texts of errors and subjects, in bytes.
const textLimit = 4096

// Text makes s fit for the bus, which drops the connection of a sender whose
// strings are not valid UTF-8 or hold a zero byte. What is too long is cut.
func Text(s string) string {
	if len(s) > textLimit {
		s = s[:textLimit] + "…"
	}
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

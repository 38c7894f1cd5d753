// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
)

// ErrNoBus is in the chain of the error of [Server.Serve] when nothing listens
// at the bus's address.
var ErrNoBus = errors.New("there is no message bus")

// ErrNameTaken is in the chain of the error of [Server.Serve] when another
// process, such as a second engine, owns the bus name.
var ErrNameTaken = errors.New("another process owns it")

// The standard error names that calls are refused with (D-Bus specification,
// "Standard error names").
const (
	standardErrors   = "org.freedesktop.DBus.Error."
	accessDenied     = standardErrors + "AccessDenied"
	authRequired     = standardErrors + "InteractiveAuthorizationRequired"
	invalidArgs      = standardErrors + "InvalidArgs"
	limitsExceeded   = standardErrors + "LimitsExceeded"
	notSupported     = standardErrors + "NotSupported"
	propertyReadOnly = standardErrors + "PropertyReadOnly"
	timedOut         = standardErrors + "Timeout"
	unknownInterface = standardErrors + "UnknownInterface"
	unknownMethod    = standardErrors + "UnknownMethod"
	unknownObject    = standardErrors + "UnknownObject"
	unknownProperty  = standardErrors + "UnknownProperty"
)

// textLimit bounds the texts of errors and subjects, in bytes.
const textLimit = 4096

// refuse makes an error with a standard name.
func refuse(name, format string, args ...any) error {
	return godbus.NewError(name, []any{text(fmt.Sprintf(format, args...))})
}

// errorName returns the bus error name and the text of an error: the standard
// names where there is one, else the error's code behind the service's name.
func errorName(err error) (name, message string) {
	var e *godbus.Error
	if errors.As(err, &e) {
		return e.Name, e.Error()
	}
	message = text(err.Error())
	switch code := davit.CodeOf(err); {
	case code == davit.AccessDenied:
		return accessDenied, message
	case code == davit.AuthenticationRequired:
		return authRequired, message
	case code == davit.NotSupported:
		return notSupported, message
	case code != davit.Failed && isWord(string(code)):
		return davit.BusName + "." + string(code), message
	case errors.Is(err, context.DeadlineExceeded):
		return timedOut, message
	}
	return davit.BusName + "." + string(davit.Failed), message
}

func isWord(s string) bool {
	for _, r := range s {
		if (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return s != ""
}

// text makes s fit for the bus, which drops the connection of a sender whose
// strings are not valid UTF-8 or hold a zero byte.
func text(s string) string {
	if len(s) > textLimit {
		s = s[:textLimit] + "…"
	}
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func texts(in []string) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		out = append(out, text(s))
	}
	return out
}

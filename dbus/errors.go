// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"
	"errors"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/dbus/wire"
)

// ErrNoBus is in the chain of the error of [Server.Serve] when nothing listens
// at the bus's address.
var ErrNoBus = wire.ErrNoBus

// ErrNameTaken is in the chain of the error of [Server.Serve] when another
// process, such as a second engine, owns the bus name.
var ErrNameTaken = errors.New("another process owns it")

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
		return refusal.NameAccessDenied, message
	case code == davit.AuthenticationRequired:
		return refusal.NameAuthRequired, message
	case code == davit.NotSupported:
		return refusal.NameNotSupported, message
	case code != davit.Failed && isWord(string(code)):
		return davit.BusName + "." + string(code), message
	case errors.Is(err, context.DeadlineExceeded):
		return refusal.NameTimeout, message
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

// text makes s fit for the bus.
func text(s string) string { return refusal.Text(s) }

func texts(in []string) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		out = append(out, text(s))
	}
	return out
}

// SPDX-License-Identifier: Apache-2.0

package values

import (
	"context"
	"errors"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/refusal"
)

// ErrorName returns the bus error name and the text of an error: the standard
// names where there is one, else the error's code behind the service's name.
func ErrorName(err error) (name, message string) {
	var e *godbus.Error
	if errors.As(err, &e) {
		return e.Name, e.Error()
	}
	message = Text(err.Error())
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

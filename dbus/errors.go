// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"errors"

	"github.com/davit-engine/davit/dbus/wire"
)

// ErrNoBus is in the chain of the error of [Server.Serve] when nothing listens
// at the bus's address.
var ErrNoBus = wire.ErrNoBus

// ErrNameTaken is in the chain of the error of [Server.Serve] when another
// process, such as a second engine, owns the bus name.
var ErrNameTaken = errors.New("another process owns it")

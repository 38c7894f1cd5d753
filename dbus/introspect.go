// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"embed"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/catalog"
)

// The interfaces that this service implements.
const (
	managerInterface   = davit.BusName + ".Manager"
	jobInterface       = davit.BusName + ".Job"
	containerInterface = davit.BusName + ".Container"
	execInterface      = davit.BusName + ".Exec"
	imageInterface     = davit.BusName + ".Image"
	networkInterface   = davit.BusName + ".Network"
	volumeInterface    = davit.BusName + ".Volume"

	logControlInterface = "org.freedesktop.LogControl1"
	peerInterface       = "org.freedesktop.DBus.Peer"
	introspectInterface = "org.freedesktop.DBus.Introspectable"
	propertiesInterface = "org.freedesktop.DBus.Properties"
)

// standardInterfaces are on every object.
var standardInterfaces = []string{peerInterface, introspectInterface, propertiesInterface}

//go:embed xml/*.xml
var xmlFiles embed.FS

// loadCatalog reads the embedded files.
func loadCatalog() (catalog.Catalog, error) { return catalog.Load(xmlFiles, "xml") }

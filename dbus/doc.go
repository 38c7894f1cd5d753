// SPDX-License-Identifier: Apache-2.0

// Package dbus is the engine's front door on the system bus: it turns method
// calls on [davit.BusName] into jobs, and notices of the engine into signals.
// It decides nothing.
//
// What it serves is written in xml/*.xml, one file for each interface; the
// table of methods in methods.go is held against them by a test, the
// introspection of every object is made of them, and the bodies of calls are
// checked against them before a handler sees one. Every method that changes
// something answers (u job_id, o job_path) at once.
//
// The descriptors that a method returns are closed after the reply was sent,
// and those that a caller attaches are closed when they are received, whatever
// the call turns out to be; see wire.go for why that is done below godbus.
package dbus

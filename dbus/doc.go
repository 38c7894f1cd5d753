// SPDX-License-Identifier: Apache-2.0

// Package dbus is the engine's front door on the system bus: it turns method
// calls on [davit.BusName] into jobs, and notices of the engine into signals.
// It decides nothing: who may do what is asked of the engine, for jobs when
// they are submitted, and by the gates of gates.go for what is none.
//
// What it serves is written in xml/*.xml, one file for each interface; the
// table of methods in methods.go is held against them by a test, the
// introspection of every object and the bus's policy are made of them, and the
// bodies of calls are checked against them before a handler sees one. Every
// method that changes something answers (u job_id, o job_path) at once.
//
// Descriptors go both ways. Those that a method returns are closed after the
// reply was sent. Those that a caller attaches must be just as many as the
// method's arguments name; a handler takes them, and what none took is closed,
// whatever the call turned out to be. See package wire for why calls are read
// below godbus.
package dbus

// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"testing"

	godbus "github.com/godbus/dbus/v5"
)

func FuzzSenderOf(f *testing.F) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		m := &godbus.Message{Type: godbus.TypeMethodCall, Body: []any{"x"}, Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldPath: godbus.MakeVariant(godbus.ObjectPath("/a")), godbus.FieldMember: godbus.MakeVariant("M"), godbus.FieldSender: godbus.MakeVariant(":1.42"),
			godbus.FieldSignature: godbus.MakeVariant(godbus.SignatureOf("x")), godbus.FieldUnixFDs: godbus.MakeVariant(uint32(0)),
		}}
		var buf bytes.Buffer
		if err := m.EncodeTo(&buf, order); err != nil {
			f.Fatal(err)
		}
		if sender, ok := senderOf(buf.Bytes()); !ok || sender != ":1.42" {
			f.Fatalf("%q, %v", sender, ok)
		}
		f.Add(buf.Bytes())
	}
	f.Fuzz(func(_ *testing.T, header []byte) {
		if len(header) >= headSize {
			senderOf(header)
		}
	})
}

func TestSocketName(t *testing.T) {
	tests := map[string]string{
		"unix:path=/run/dbus/system_bus_socket":     "/run/dbus/system_bus_socket",
		"unix:path=/tmp/a%20b,guid=0123":            "/tmp/a b",
		"unix:guid=0123,abstract=/tmp/dbus-x":       "@/tmp/dbus-x",
		"tcp:host=localhost,port=1":                 "",
		"unix:tmpdir=/tmp":                          "",
		"nonsense":                                  "",
		"unix:path=/tmp/%zz":                        "",
		"unixexec:path=/bin/sh,argv1=-c,argv2=exit": "",
	}
	for address, want := range tests {
		got, err := socketName(address)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("socketName(%q) = %q, %v, not %q", address, got, err, want)
		}
	}
}

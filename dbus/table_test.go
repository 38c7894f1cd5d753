// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// TestTable holds the table of methods against the XML files, both ways.
func TestTable(t *testing.T) {
	c, err := loadCatalog()
	if err != nil {
		t.Fatal(err)
	}
	var inXML, inTable []string
	for name, iface := range c {
		for _, m := range iface.Methods {
			inXML = append(inXML, name+"."+m.Name)
			for _, a := range m.Args {
				if a.Direction == "in" && strings.Contains(a.Type, "h") {
					t.Errorf("%s.%s takes a descriptor: wire.go closes it", name, m.Name)
				}
			}
		}
	}
	for _, r := range rows() {
		inTable = append(inTable, r.iface+"."+r.member)
		if r.handle == nil {
			t.Errorf("%s.%s has no handler", r.iface, r.member)
		}
	}
	slices.Sort(inXML)
	slices.Sort(inTable)
	if d := cmp.Diff(inXML, inTable); d != "" {
		t.Errorf("XML files (-) and table (+) differ:\n%s", d)
	}
}

// TestPropertyTypes holds the properties against the XML files.
func TestPropertyTypes(t *testing.T) {
	c, err := loadCatalog()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]properties{
		jobInterface:       jobProperties(engine.Snapshot{}),
		containerInterface: containerProperties(davit.ContainerInfo{}),
		imageInterface:     imageProperties(davit.Image{}),
		networkInterface:   networkProperties(davit.NetworkInfo{}),
		volumeInterface:    volumeProperties(davit.Volume{}),
	}
	for iface, p := range tests {
		want, got := map[string]string{}, map[string]string{}
		for _, x := range c[iface].Properties {
			want[x.Name] = x.Type
		}
		for name, v := range p {
			got[name] = godbus.SignatureOf(v).String()
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: XML (-) and properties (+) differ:\n%s", iface, d)
		}
	}
	for _, name := range containerChanges {
		if _, ok := tests[containerInterface][name]; !ok {
			t.Errorf("%s is not a property of containers", name)
		}
	}
}

// TestLineTypes holds the rows of lists against the XML files.
func TestLineTypes(t *testing.T) {
	c, err := loadCatalog()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]any{
		"ListJobs": []jobLine{}, "ListJobTypes": []typeLine{}, "ListContainers": []containerLine{}, "ListImages": []imageLine{},
		"ListNetworks": []networkLine{}, "ListVolumes": []volumeLine{},
	}
	for member, v := range tests {
		m, _ := c.method(managerInterface, member)
		if want, got := signatureOf(m, "out"), godbus.SignatureOf(v).String(); want != got {
			t.Errorf("%s answers %s, not %s", member, got, want)
		}
	}
}

func TestEscape(t *testing.T) {
	tests := map[string]string{
		"": "_", "1": "_31", "3f4e": "_33f4e", "web": "web", "a1": "a1", "a_b": "a_5fb", "a-b/ü": "a_2db_2f_c3_bc", "../x": "_2e_2e_2fx",
	}
	for in, want := range tests {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, not %q", in, got, want)
		}
		if got, ok := unescape(want); got != in || !ok {
			t.Errorf("unescape(%q) = %q, %v, not %q", want, got, ok, in)
		}
	}
	for _, bad := range []string{"1", "_3", "_", "_zz", "_5F", "a_62", "_41"} {
		if got, ok := unescape(bad); ok && bad != "_" {
			t.Errorf("unescape(%q) = %q: not its only spelling", bad, got)
		}
	}
}

func FuzzUnescape(f *testing.F) {
	f.Add("_31")
	f.Fuzz(func(t *testing.T, element string) {
		if s, ok := unescape(element); ok && escape(s) != element {
			t.Errorf("%q has another spelling: %q", element, escape(s))
		}
	})
}

func FuzzSenderOf(f *testing.F) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		m := &godbus.Message{Type: godbus.TypeMethodCall, Body: []any{"x"}, Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldPath: godbus.MakeVariant(rootPath), godbus.FieldMember: godbus.MakeVariant("M"), godbus.FieldSender: godbus.MakeVariant(":1.42"),
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

func TestText(t *testing.T) {
	long := strings.Repeat("ü", textLimit)
	tests := map[string]string{"a": "a", "a\x00b": "a\uFFFDb", "\xff": "\uFFFD", "": ""}
	for in, want := range tests {
		if got := text(in); got != want {
			t.Errorf("text(%q) = %q, not %q", in, got, want)
		}
	}
	if got := text("x" + long); len(got) > textLimit+8 || !strings.HasSuffix(got, "…") {
		t.Errorf("%d bytes remain of %d", len(got), len(long))
	}
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

func TestPublishPorts(t *testing.T) {
	tests := []struct {
		in   string
		port string
		want davit.PortBinding
	}{
		{"80", "80/tcp", davit.PortBinding{}},
		{"8080:80", "80/tcp", davit.PortBinding{HostPort: "8080"}},
		{"127.0.0.1::53/udp", "53/udp", davit.PortBinding{HostIP: "127.0.0.1"}},
		{"127.0.0.1:5353:53/udp", "53/udp", davit.PortBinding{HostIP: "127.0.0.1", HostPort: "5353"}},
		{"[::1]:8080:80", "80/tcp", davit.PortBinding{HostIP: "::1", HostPort: "8080"}},
		{"8000-8010:80", "80/tcp", davit.PortBinding{HostPort: "8000-8010"}},
		{in: ""},
		{in: ":"},
		{in: "0"},
		{in: "80:"},
		{in: "x:80"},
		{in: "80/sctp"},
		{in: "1:2:3"},
		{in: "70000"},
		{in: "localhost:1:80"},
		{in: "::1:80:80"},
		{in: "8000-:80"},
		{in: "80-90"},
	}
	for _, tt := range tests {
		var c davit.Create
		err := publishPorts(&c, []string{tt.in})
		if tt.port == "" {
			if err == nil {
				t.Errorf("%q is accepted: %v", tt.in, c.HostConfig.PortBindings)
			}
			continue
		}
		want := map[string][]davit.PortBinding{tt.port: {tt.want}}
		if d := cmp.Diff(want, c.HostConfig.PortBindings); err != nil || d != "" {
			t.Errorf("%q: %v\n%s", tt.in, err, d)
		}
		if got := slices.Collect(maps.Keys(c.Config.ExposedPorts)); !slices.Equal(got, []string{tt.port}) {
			t.Errorf("%q exposes %v", tt.in, got)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/catalog"
	"github.com/davit-engine/davit/dbus/host"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/engine"
	godbus "github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
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
			if in := catalog.Signature(m, "in"); strings.Count(in, "h") > 1 || strings.Contains(in, "ah") {
				t.Errorf("%s.%s takes descriptors in a way that checkDescriptors does not count", name, m.Name)
			}
		}
	}
	for _, r := range rows() {
		inTable = append(inTable, r.iface+"."+r.member)
		if r.handle == nil || r.gate == nil {
			t.Errorf("%s.%s has no handler or no gate", r.iface, r.member)
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
	log, err := (&session{Server: &Server{}}).logProperties(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]values.Properties{
		jobInterface:        values.Job(host.NewClock(), engine.Snapshot{}),
		containerInterface:  values.Container(davit.ContainerInfo{}),
		execInterface:       values.Exec(davit.Exec{}),
		imageInterface:      values.Image(davit.Image{}),
		networkInterface:    values.Network(davit.NetworkInfo{}),
		volumeInterface:     values.Volume(davit.Volume{}, 0),
		logControlInterface: log,
	}
	tests[jobInterface]["SubjectPath"] = godbus.ObjectPath("/")
	maps.Copy(tests[containerInterface], values.Host(davit.ContainerInfo{}))
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
	for _, name := range slices.Concat(values.ContainerChanges(), values.ContainerInvalid()) {
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
		"Manager.ListJobs": []jobLine{}, "Manager.ListJobTypes": []typeLine{}, "Manager.ListContainers": []containerLine{}, "Manager.ListImages": []imageLine{},
		"Manager.ListNetworks": []networkLine{}, "Manager.ListVolumes": []volumeLine{}, "Manager.SearchImages": []foundLine{},
		"Job.GetAfter": []afterLine{}, "Container.GetProcesses": []processLine{}, "Container.GetAddresses": []addressLine{}, "Container.GetChanges": []changeLine{}, "Container.Attach": []namedFD{},
	}
	for name, v := range tests {
		iface, member, _ := strings.Cut(name, ".")
		m, _ := c.Method(davit.BusName+"."+iface, member)
		if want, got := catalog.Signature(m, "out"), godbus.SignatureOf(v).String(); want != got {
			t.Errorf("%s answers %s, not %s", name, got, want)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package polkit_test

import (
	"encoding/xml"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit"
)

const (
	policyFile = "../../contrib/polkit/org.davit.Engine1.policy"
	rulesFile  = "../../contrib/polkit/org.davit.Engine1.rules"
)

// TestPolicyFile checks that the actions of the file are those of the code, and
// that none is allowed by default.
func TestPolicyFile(t *testing.T) {
	data, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Actions []struct {
			ID       string `xml:"id,attr"`
			Any      string `xml:"defaults>allow_any"`
			Inactive string `xml:"defaults>allow_inactive"`
			Active   string `xml:"defaults>allow_active"`
		} `xml:"action"`
	}
	if err := xml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, a := range file.Actions {
		name := strings.TrimPrefix(a.ID, davit.BusName+".")
		ids = append(ids, name)
		active := "auth_admin_keep"
		if name == davit.ActionRunPrivileged || name == davit.ActionPrune {
			active = "auth_admin"
		}
		if a.Any != "auth_admin" || a.Inactive != "auth_admin" || a.Active != active {
			t.Errorf("%s: defaults %s, %s, %s, want auth_admin, auth_admin, %s", a.ID, a.Any, a.Inactive, a.Active, active)
		}
	}
	slices.Sort(ids)
	if want := slices.Sorted(slices.Values(davit.Actions())); !slices.Equal(ids, want) {
		t.Errorf("the file has the actions\n%v, the code\n%v", ids, want)
	}
}

func TestPolicyFileIsValid(t *testing.T) {
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Skip("needs xmllint")
	}
	args := []string{"--noout"}
	const dtd = "/usr/share/polkit-1/policyconfig-1.dtd"
	if _, err := os.Stat(dtd); err == nil {
		args = append(args, "--dtdvalid", dtd)
	}
	if out, err := exec.Command("xmllint", append(args, policyFile)...).CombinedOutput(); err != nil {
		t.Errorf("xmllint: %v\n%s", err, out)
	}
}

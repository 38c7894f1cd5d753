// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestTextFits has each text that a user can choose arrive in one packet, with
// its kind, its beginning and its end.
func TestTextFits(t *testing.T) {
	for _, filling := range []string{"x", "\x01", "\xff", "<", "\u2028", "ü", "🚢", "\\"} {
		for _, n := range []int{0, 100, MaxPacket, 10 * MaxPacket} {
			text := "begin " + strings.Repeat(filling, n) + ": no such file or directory"
			ours, fd, err := Pair()
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := NewConn(fd)
			if err != nil {
				t.Fatal(err)
			}
			sent := &Packet{
				Seq: 1, Error: &Error{Kind: KindStart, Message: text},
			}
			if err := ours.Send(sent); err != nil {
				t.Fatalf("%d times %q: %v", n, filling, err)
			}
			var got Packet
			if _, err := theirs.Receive(&got); err != nil {
				t.Fatal(err)
			}
			if got.Error == nil || got.Error.Kind != KindStart || !strings.HasPrefix(got.Error.Message, "begin ") || !strings.HasSuffix(got.Error.Message, ": no such file or directory") {
				t.Errorf("%d times %q: %+v", n, filling, got)
			}
			if n <= 100 && filling != "\xff" && got.Error.Message != text {
				t.Errorf("a short text was changed: %q", got.Error.Message)
			}
			update := &Packet{Update: &State{Status: Exited, Exit: &Exit{Code: 128, Error: text}, Cgroups: map[string]string{"memory": strings.Repeat("c", 4096)}}}
			if err := ours.Send(update); err != nil {
				t.Errorf("an update, %d times %q: %v", n, filling, err)
			}
			_ = ours.Close()
			_ = theirs.Close()
		}
	}
}

// TestTextKeepsFields checks that bounding a text loses nothing beside it.
func TestTextKeepsFields(t *testing.T) {
	p, err := json.Marshal(Packet{Exit: &Exit{Code: 3, OOMKilled: true, Restarts: 2}, Error: &Error{Kind: KindDenied, Message: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	var got Packet
	if err := json.Unmarshal(p, &got); err != nil {
		t.Fatal(err)
	}
	if got.Exit.Code != 3 || !got.Exit.OOMKilled || got.Exit.Restarts != 2 || *got.Error != (Error{Kind: KindDenied, Message: "m"}) {
		t.Errorf("got %+v from %s", got, p)
	}
}

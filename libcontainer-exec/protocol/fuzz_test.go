// SPDX-License-Identifier: Apache-2.0

package protocol_test

import (
	"errors"
	"io"
	"testing"

	"github.com/davit-engine/davit/libcontainer-exec/protocol"
	"golang.org/x/sys/unix"
)

// FuzzReceive has a peer that sends any packet, with a descriptor or without: it
// is read, or it is an error and its descriptor is closed.
func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"Seq":1,"Op":"attach","With":[true,false,true]}`), true)
	f.Add([]byte(`{"Seq":18446744073709551615,"Error":{"Kind":"start","Message":"x"}}`), false)
	f.Add([]byte(`{"Update":{"Status":"running","Health":{"Log":[{"Output":"\u0000\ufffd"}]}}}`), false)
	f.Add([]byte(`[]`), true)
	f.Add([]byte{0xff, 0}, true)
	conn, theirs, err := protocol.Pair()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		unix.Close(theirs)
		conn.Close()
	})
	f.Fuzz(func(t *testing.T, packet []byte, with bool) {
		if len(packet) == 0 || len(packet) > protocol.MaxPacket {
			return // an end, or more than a packet can have
		}
		for _, v := range []any{&protocol.Request{}, &protocol.Packet{}, &protocol.Report{}} {
			var rights []byte
			if with {
				rights = unix.UnixRights(theirs)
			}
			if err := unix.Sendmsg(theirs, packet, rights, nil, 0); err != nil {
				t.Fatal(err)
			}
			fds, err := conn.Receive(v)
			if errors.Is(err, io.EOF) {
				t.Error("an end")
			}
			if wanted := 1; err == nil && with && len(fds) != wanted || err != nil && len(fds) > 0 {
				t.Errorf("%d descriptors came, %v", len(fds), err)
			}
			protocol.CloseFDs(fds)
		}
	})
}

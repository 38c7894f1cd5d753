// SPDX-License-Identifier: Apache-2.0

package holder

import "testing"

// TestDroppable keeps the holder from dropping pages that the file has not: of a
// holder that somebody builds position-independent, those are its relocations.
func TestDroppable(t *testing.T) {
	for line, want := range map[string]bool{
		"00400000-00601000 r-xp 00000000 fe:00 1234 /usr/libexec/davit/davit-holder\n":         true,
		"00601000-007a5000 r--p 00201000 fe:00 1234 /usr/libexec/davit/davit-holder\n":         true,
		"007a5000-007c0000 rw-p 003a5000 fe:00 1234 /usr/libexec/davit/davit-holder\n":         false,
		"00601000-007a5000 r--p 00000000 00:00 0 \n":                                           false,
		"7ffc1000-7ffc3000 r-xp 00000000 00:00 0                [vdso]\n":                      false,
		"55d0c8a00000-55d0c8c00000 r--p 00201000 fe:00 1234 /usr/libexec/davit/davit-holder\n": false,
		"7f3a10000000-7f3a10020000 r--p 00000000 fe:00 99 /usr/lib/libc.so.6\n":                false,
	} {
		first, last, ok := droppable([]byte(line))
		if ok != want {
			t.Errorf("droppable %v, want %v: %s", ok, want, line)
		}
		if ok && (first < 0x400000 || last <= first) {
			t.Errorf("%x to %x is not what it says: %s", first, last, line)
		}
	}
}

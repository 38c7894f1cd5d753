// SPDX-License-Identifier: Apache-2.0

package linux

// Device tells a device node from others (mknod(2)).
type Device struct {
	Block        bool
	Major, Minor uint32
}

// harmless are the nodes that every container has in /dev, and 0:0, which is
// no device and overlayfs's whiteout.
var harmless = map[Device]bool{
	{false, 0, 0}: true,
	{false, 1, 3}: true, // null
	{false, 1, 5}: true, // zero
	{false, 1, 7}: true, // full
	{false, 1, 8}: true, // random
	{false, 1, 9}: true, // urandom
	{false, 5, 0}: true, // tty
	{false, 5, 2}: true, // ptmx
}

// Harmless tells whether a node gives nobody anything, wherever it is and
// whoever opens it. Other nodes are not left in containers' files: a
// container's device rules do not bind its user on the host, who reaches those
// files by /proc/PID/root of a process of the same uid.
func (d Device) Harmless() bool { return harmless[d] }

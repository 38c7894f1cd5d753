// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"slices"
	"strings"
)

// capabilities are those of capabilities(7), Linux 5.9 and later, by number.
var capabilities = strings.Fields(`
	CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
	NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
	SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
	MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// Capability returns the name of a capability in the form CAP_X, which is given
// in any case and with or without CAP_, and whether there is one of that name.
func Capability(name string) (string, bool) {
	bare := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	return "CAP_" + bare, slices.Contains(capabilities, bare)
}

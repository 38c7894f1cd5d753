// SPDX-License-Identifier: Apache-2.0

// Davit-holder stays with one container for as long as that lives, restarts
// included. The daemon starts it, or systemd as the main process of the
// container's unit.
//
//	davit-holder ID
package main

import (
	"fmt"
	"os"

	"github.com/davit-engine/davit/libcontainer-exec/holder"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: davit-holder ID (davitd starts it)")
		os.Exit(2)
	}
	os.Exit(holder.Main(os.Args[1]))
}

// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DefaultLink is the link of the default network of the first engine of a
// host.
const DefaultLink = "davit0"

// Claim is one engine's right to a link, among the engines of a network
// namespace. It is an abstract unix socket (unix(7)): those belong to the
// namespace, and go with their process however it ends.
type Claim struct {
	Link   string
	socket net.Listener
}

// ClaimLink claims link. Without a name it claims [DefaultLink], or, when that
// is another engine's, a name made of stateDir, and the same one ever after.
// The caller closes the claim.
func ClaimLink(link, stateDir string) (*Claim, error) {
	if link != "" {
		return claim(link)
	}
	own := "davit-" + shortHash(stateDir)
	if !recorded(stateDir, DefaultLink) && (recorded(stateDir, own) || inUse(DefaultLink)) {
		return claim(own)
	}
	c, err := claim(DefaultLink)
	if errors.Is(err, errClaimed) {
		return claim(own)
	}
	return c, err
}

// Close gives the claim back.
func (c *Claim) Close() error { return c.socket.Close() }

var errClaimed = errors.New("a running engine has it")

func claim(link string) (*Claim, error) {
	socket, err := net.Listen("unix", "@davit/link/"+link)
	if errors.Is(err, unix.EADDRINUSE) {
		err = errClaimed
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use link %s: %w: give this engine another one by --bridge", link, err)
	}
	return &Claim{Link: link, socket: socket}, nil
}

// recorded tells whether the engine has used the link before.
func recorded(stateDir, link string) bool {
	_, err := os.Stat(filepath.Join(stateDir, link+".json"))
	return !errors.Is(err, fs.ErrNotExist)
}

// inUse tells whether containers are connected to the link: those of an
// engine that is not running now, since its daemon may be stopped or dead.
func inUse(link string) bool {
	links, err := netlinksafe.LinkList()
	if err != nil {
		return false // Init will say what is wrong with netlink
	}
	for _, l := range links {
		if _, veth := l.(*netlink.Veth); veth && strings.HasPrefix(l.Attrs().Alias, "davit:"+link+":") {
			return true
		}
	}
	return false
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"runtime"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
)

// platform is the one of a descriptor in an index, or of an image's config.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// aliases are names of architectures that are not Go's: those of uname(2) and
// of Debian, with the variant that they imply.
var aliases = map[string]platform{
	"x86_64": {Architecture: "amd64"}, "x86-64": {Architecture: "amd64"}, "i386": {Architecture: "386"}, "i686": {Architecture: "386"},
	"aarch64": {Architecture: "arm64"}, "armhf": {Architecture: "arm", Variant: "v7"}, "armel": {Architecture: "arm", Variant: "v6"},
}

// baseline is the variant that is meant when none is named.
var baseline = map[string]string{"amd64": "v1", "arm": "v7", "arm64": "v8"}

// wanted fills in what a request leaves to the host.
func wanted(p davit.Platform) (davit.Platform, error) {
	if p.OS == "" {
		p.OS = "linux"
	}
	if p.OS != "linux" {
		return p, davit.Errorf(davit.NotSupported, "operating system %q cannot be used on this platform", p.OS)
	}
	if p.Architecture == "" {
		p.Architecture = runtime.GOARCH
	}
	p.Architecture = strings.ToLower(p.Architecture)
	if alias, ok := aliases[p.Architecture]; ok {
		p.Architecture = alias.Architecture
		if p.Variant == "" {
			p.Variant = alias.Variant
		}
	}
	return p, nil
}

// choose finds the manifest for a platform: of those whose variant the
// platform can run the newest, of equal ones the first.
func choose(list []content, want davit.Platform) (davit.Descriptor, error) {
	best, bestRank := -1, -1.0
	for i, c := range list {
		if c.Platform == nil {
			continue
		}
		if rank, fits := c.Platform.rank(want); fits && rank > bestRank {
			best, bestRank = i, rank
		}
	}
	if best < 0 {
		return davit.Descriptor{}, davit.Errorf(davit.NoSuchImage, "no matching manifest for %s in the manifest list entries", platformName(want))
	}
	return list[best].descriptor(), nil
}

// rank tells whether want can run p, and how new p's variant is.
func (p platform) rank(want davit.Platform) (float64, bool) {
	if p.OS != want.OS || p.Architecture != want.Architecture {
		return 0, false
	}
	fallback := baseline[p.Architecture]
	has, hasOK := variant(p.Variant, fallback)
	can, canOK := variant(want.Variant, fallback)
	if !hasOK || !canOK { // not numbered: only itself will do
		return 0, p.Variant == want.Variant
	}
	return has, has <= can
}

// variant reads "v8" or "v8.2".
func variant(v, fallback string) (float64, bool) {
	if v == "" {
		v = fallback
	}
	n, err := strconv.ParseFloat(strings.TrimPrefix(v, "v"), 64)
	return n, err == nil && strings.HasPrefix(v, "v")
}

func platformName(p davit.Platform) string {
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return name
}

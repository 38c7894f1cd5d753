// SPDX-License-Identifier: Apache-2.0

// Package petname makes names that people can say and remember.
package petname

import "math/rand/v2"

var qualities = [...]string{
	"able", "amber", "ample", "balmy", "bold", "brave", "breezy", "brisk", "bright", "calm", "candid", "clear",
	"clever", "coastal", "cool", "crisp", "daring", "deep", "eager", "early", "fair", "fleet", "fresh", "gentle",
	"glad", "golden", "grand", "hardy", "honest", "jolly", "keen", "kind", "lively", "loyal", "lucky", "mellow",
	"merry", "mighty", "modest", "neat", "nimble", "noble", "placid", "polished", "prompt", "proud", "quick", "quiet",
	"ready", "rapid", "rugged", "salty", "serene", "sharp", "silver", "smooth", "snug", "spry", "steady", "stout",
	"sturdy", "sunny", "swift", "tidal", "tidy", "trim", "trusty", "upright", "vivid", "warm", "willing", "windy",
}

var vessels = [...]string{
	"anchor", "barge", "barque", "beacon", "bollard", "boom", "bow", "brig", "bulwark", "buoy", "capstan", "caravel",
	"catamaran", "clipper", "coble", "corvette", "cutter", "derrick", "dhow", "dinghy", "dory", "drifter", "ferry", "felucca",
	"fender", "frigate", "galleon", "galley", "gangway", "gig", "halyard", "harbour", "hatch", "hawser", "helm", "hull",
	"jetty", "jib", "junk", "keel", "ketch", "launch", "lighter", "lugger", "mast", "mooring", "oar", "packet",
	"pilot", "pinnace", "pontoon", "porthole", "prow", "quay", "rigging", "rudder", "sampan", "schooner", "skiff", "sloop",
	"spar", "steamer", "stern", "tender", "tiller", "trawler", "tug", "wharf", "wherry", "winch", "yacht", "yawl",
}

// New returns a random name such as "brisk_cutter". There are some five
// thousand: the caller tries again, or appends digits, when one is taken.
func New() string {
	return qualities[rand.IntN(len(qualities))] + "_" + vessels[rand.IntN(len(vessels))]
}

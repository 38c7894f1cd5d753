// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"testing"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/request"
)

func TestParseDetachKeys(t *testing.T) {
	for keys, want := range map[string][]byte{
		"": {16, 17}, "ctrl-p,ctrl-q": {16, 17}, "a": {'a'}, "a,b,C": {'a', 'b', 'C'}, "ctrl-a": {1}, "ctrl-z": {26},
		"ctrl-@": {0}, "ctrl-[": {27}, `ctrl-\`: {28}, "ctrl-]": {29}, "ctrl-^": {30}, "ctrl-_": {31}, "ctrl-x,x": {24, 'x'},
	} {
		if got, err := request.DetachKeys(keys); err != nil || string(got) != string(want) {
			t.Errorf("%q is %v, %v, want %v", keys, got, err, want)
		}
	}
	for _, keys := range []string{"ctrl-", "ctrl-1", "ctrl-A,", "ab", ",", "a,,b", "ctrl-ab", "alt-x", "ü"} {
		if got, err := request.DetachKeys(keys); davit.CodeOf(err) != davit.InvalidConfiguration {
			t.Errorf("%q is %v, %v, want it refused", keys, got, err)
		}
	}
}

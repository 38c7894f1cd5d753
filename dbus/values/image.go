// SPDX-License-Identifier: Apache-2.0

package values

import "github.com/davit-engine/davit"

// Image is what is known of an image.
func Image(i davit.Image) Properties {
	return Properties{
		"Id": string(i.ID), "References": Texts(i.Tags), "Digests": Texts(i.Digests), "CreateTimestamp": USec(i.Created),
		"Size": uint64(max(0, i.Size)), "Architecture": Text(i.Architecture), "Os": Text(i.OS),
	}
}

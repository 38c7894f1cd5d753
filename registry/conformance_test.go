// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"testing"

	"github.com/davit-engine/davit/registry"
	"github.com/davit-engine/davit/service/drivertest"
	"github.com/davit-engine/davit/service/drivertest/fake"
	"github.com/davit-engine/davit/service/images"
)

func TestRegistryConforms(t *testing.T) {
	drivertest.TestRegistry(t, func(t *testing.T, hub *fake.Hub) (images.Registry, string) {
		return registry.New(registry.Options{UserAgent: "davit/test"}), hub.Serve(t) + "/"
	})
}

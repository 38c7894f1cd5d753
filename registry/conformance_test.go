// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"testing"

	"github.com/davit-engine/davit/registry"
	"github.com/davit-engine/davit/service"
	"github.com/davit-engine/davit/service/drivertest"
	"github.com/davit-engine/davit/service/drivertest/fake"
)

func TestRegistryConforms(t *testing.T) {
	drivertest.TestRegistry(t, func(t *testing.T, hub *fake.Hub) (service.Registry, string) {
		return registry.New(registry.Options{UserAgent: "davit/test"}), hub.Serve(t) + "/"
	})
}

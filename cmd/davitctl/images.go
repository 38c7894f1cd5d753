// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit"
)

// image is a line of ListImages, a(sasttto).
type image struct {
	ID         string          `json:"id"`
	References []string        `json:"references"`
	Created    uint64          `json:"created"` // microseconds since the epoch
	Size       uint64          `json:"size"`    // bytes, unpacked
	Containers uint64          `json:"containers"`
	Path       dbus.ObjectPath `json:"path"`
}

func newImages(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "images", Aliases: []string{"list-images"}, Short: "List the images", Args: arguments(0, 0),
		Long: "List the images, each under every name that it has.",
		RunE: o.onBus((*client).images),
	}
}

func (c *client) images([]string) error {
	images := []image{}
	if err := c.manager("ListImages", map[string]dbus.Variant{}, uint64(0)).Store(&images); err != nil {
		return fmt.Errorf("cannot list images: %w", err)
	}
	t := &table{titles: []string{"REFERENCE", "ID", "CREATED", "SIZE", "CONTAINERS"}, right: map[int]bool{3: true, 4: true}, noun: "images"}
	for _, i := range images {
		created := ""
		if at := fromUSec(i.Created); !at.IsZero() {
			created = at.Local().Format(time.DateTime)
		}
		names := i.References
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			t.row(printable(name), shortImage(i.ID), created, bytesText(i.Size), i.Containers)
		}
	}
	return c.print(t, images)
}

func shortImage(id string) string {
	_, hex, ok := strings.Cut(id, ":")
	if !ok {
		hex = id
	}
	return davit.ShortID(printable(hex))
}

func newPull(o *options) *cobra.Command {
	var platform string
	cmd := &cobra.Command{
		Use: "pull REFERENCE", Short: "Pull an image from a registry", Args: arguments(1, 1),
		Long: "Pull an image from a registry, and print its id. Interrupting it cancels the job.",
		RunE: o.onBus(func(c *client, args []string) error { return c.pull(args[0], platform) }),
	}
	cmd.Flags().StringVar(&platform, "platform", "", "the image for this `OS/ARCHITECTURE[/VARIANT]`, such as linux/arm64")
	return cmd
}

func (c *client) pull(reference, platform string) error {
	opts := map[string]dbus.Variant{}
	if platform != "" {
		opts["Platform"] = dbus.MakeVariant(platform)
	}
	j, err := c.submit("PullImage", reference, opts, uint64(0))
	if err != nil {
		return fmt.Errorf("cannot pull %s: %w", reference, err)
	}
	defer c.abandon(j)
	// The id is the output; what leads to it is for whoever looks on.
	if err := c.showProgress(j, c.std.err); err != nil {
		return err
	}
	_, output, err := c.outcome(j)
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(output.plain())
	}
	return c.say("%s", output.text("Id"))
}

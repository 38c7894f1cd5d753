// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"errors"
	"math"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/parameters"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/dbus/values"
	"github.com/davit-engine/davit/engine"
)

// imageLine is a line of ListImages, a(sasttto).
type imageLine struct {
	ID         string
	References []string
	Created    uint64 // microseconds since the epoch
	Size       uint64 // bytes, unpacked
	Containers uint64 // that were made of it
	Path       godbus.ObjectPath
}

func listImages(c *call) ([]any, error) {
	filters, err := listArgs(c)
	if err != nil {
		return nil, err
	}
	list, err := ask(c, davit.Images{Filters: filters})
	lines := []imageLine{}
	for _, i := range list {
		lines = append(lines, imageLine{
			string(i.ID), values.Texts(i.Tags), values.USec(i.Created), uint64(max(0, i.Size)), uint64(max(0, i.Containers)), values.ImagePath(i.ID),
		})
	}
	return []any{lines}, err
}

func getImage(c *call) ([]any, error) {
	i, err := ask(c, davit.ImageInspect{Image: arg[string](c, 0)})
	return []any{values.ImagePath(i.ID)}, err
}

// pullImage translates PullImage(reference, options, flags); the only option is
// Platform s, "linux/arm64/v8".
func pullImage(c *call) ([]any, error) {
	platform, err := platformOption(c)
	if err != nil {
		return nil, err
	}
	return c.submit(davit.Pull{Reference: arg[string](c, 0), Platform: platform})
}

// platformOption reads the second and third argument of a method whose only
// option is Platform.
func platformOption(c *call) (davit.Platform, error) {
	if err := checkFlags(arg[uint64](c, 2), 0); err != nil {
		return davit.Platform{}, err
	}
	o := parameters.Of(arg[map[string]godbus.Variant](c, 1))
	var platform string
	parameters.Take(o, "Platform", &platform)
	if err := o.Finish(); err != nil {
		return davit.Platform{}, err
	}
	return parameters.Platform(platform)
}

// pushImage translates PushImage(reference, options, flags); options are those
// of PullImage.
func pushImage(c *call) ([]any, error) { return pushNamed(c, arg[string](c, 0)) }

func pushNamed(c *call, reference string) ([]any, error) {
	platform, err := platformOption(c)
	if err != nil {
		return nil, err
	}
	return c.submit(davit.Push{Reference: reference, Platform: platform})
}

// pushThisImage translates Push(reference, options, flags) of an image, of
// which the reference must be a name; "" is its only one.
func pushThisImage(c *call, i davit.Image) ([]any, error) {
	reference := arg[string](c, 0)
	if reference == "" {
		if len(i.Tags) != 1 {
			return nil, refusal.InvalidArgs("the image has %d names: say which to push", len(i.Tags))
		}
		reference = i.Tags[0]
	}
	named, err := engine.Do(asDaemon(c.ctx), c.eng, davit.ImageInspect{Image: reference})
	if err != nil || named.ID != i.ID {
		return nil, refusal.InvalidArgs("%s is not a name of the image: tag it first", reference)
	}
	return pushNamed(c, reference)
}

// loadImages translates LoadImages(fd, flags).
func loadImages(c *call) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 1), 0); err != nil {
		return nil, err
	}
	f, err := c.borrowed(arg[godbus.UnixFDIndex](c, 0), false)
	if err != nil {
		return nil, err
	}
	return c.lend(davit.Load{Source: f}, f)
}

// saveImages translates SaveImages(references, fd, format, flags).
func saveImages(c *call) ([]any, error) { return saveNamed(c, arg[[]string](c, 0), 1) }

// saveThisImage translates Save(fd, format, flags) of an image.
func saveThisImage(c *call, i davit.Image) ([]any, error) {
	return saveNamed(c, []string{string(i.ID)}, 0)
}

func saveNamed(c *call, images []string, first int) ([]any, error) {
	format := arg[string](c, first+1)
	if err := errors.Join(checkFormat(format, "docker", "oci"), checkFlags(arg[uint64](c, first+2), 0)); err != nil {
		return nil, err
	}
	if format == "docker" {
		format = ""
	}
	if len(images) == 0 {
		return nil, refusal.InvalidArgs("no image is named")
	}
	f, err := c.borrowed(arg[godbus.UnixFDIndex](c, first), true)
	if err != nil {
		return nil, err
	}
	return c.lend(davit.Save{Images: images, Format: format, Open: f.Open}, f)
}

// importImage translates ImportImage(fd, reference, options, flags) with the
// options Comment s, Changes as, Platform s.
func importImage(c *call) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 3), 0); err != nil {
		return nil, err
	}
	q := davit.Import{Reference: arg[string](c, 1)}
	o := parameters.Of(arg[map[string]godbus.Variant](c, 2))
	var platform string
	parameters.Take(o, "Comment", &q.Message)
	parameters.Take(o, "Changes", &q.Changes)
	parameters.Take(o, "Platform", &platform)
	err := o.Finish()
	if err != nil {
		return nil, err
	}
	if q.Platform, err = parameters.Platform(platform); err != nil {
		return nil, err
	}
	f, err := c.borrowed(arg[godbus.UnixFDIndex](c, 0), false)
	if err != nil {
		return nil, err
	}
	q.Source = f
	return c.lend(q, f)
}

// foundLine is a line of SearchImages, a(ssubb).
type foundLine struct {
	Name, Description   string
	Stars               uint32
	Official, Automated bool
}

// searchImages translates SearchImages(term, options, flags): the option Limit
// u, and filters as the List methods take them.
func searchImages(c *call) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 2), 0); err != nil {
		return nil, err
	}
	given := arg[map[string]godbus.Variant](c, 1)
	o := parameters.Of(given)
	var limit uint32
	parameters.Take(o, "Limit", &limit)
	if o.Err() != nil {
		return nil, o.Err()
	}
	filters, err := parameters.Filters(given) // Limit has been taken out
	if err != nil {
		return nil, err
	}
	if limit > math.MaxInt32 {
		return nil, refusal.InvalidArgs("Limit is too large: %d", limit)
	}
	found, err := ask(c, davit.Search{Term: arg[string](c, 0), Limit: int(limit), Filters: filters})
	lines := []foundLine{}
	for _, f := range found {
		lines = append(lines, foundLine{values.Text(f.Name), values.Text(f.Description), uint32(max(0, f.Stars)), f.Official, f.Automated})
	}
	return []any{lines}, err
}

// registryLogin translates RegistryLogin(registry, user, secret, flags).
func registryLogin(c *call) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 3), 0); err != nil {
		return nil, err
	}
	// The job is asked about again. But whoever may not have it must not have a
	// descriptor read either, of which nothing may ever come.
	if err := c.eng.Authorize(c.ctx, engine.Access{Action: davit.ActionManageImages, Details: map[string]string{"type": davit.Auth{}.JobType()}}); err != nil {
		return nil, err
	}
	password, err := c.secret(arg[godbus.UnixFDIndex](c, 2))
	if err != nil {
		return nil, err
	}
	out, err := ask(c, davit.Auth{Auth: davit.RegistryAuth{ServerAddress: arg[string](c, 0), Username: arg[string](c, 1), Password: password}})
	return []any{values.Text(out.Status)}, err
}

func tagImage(c *call) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 2), 0); err != nil {
		return nil, err
	}
	return c.submit(davit.Tag{Image: arg[string](c, 0), Reference: arg[string](c, 1)})
}

func tagThisImage(c *call, i davit.Image) ([]any, error) {
	if err := checkFlags(arg[uint64](c, 1), 0); err != nil {
		return nil, err
	}
	return c.submit(davit.Tag{Image: string(i.ID), Reference: arg[string](c, 0)})
}

func removeImage(c *call) ([]any, error) {
	return deleteImage(c, arg[string](c, 0), arg[uint64](c, 1))
}

func removeThisImage(c *call, i davit.Image) ([]any, error) {
	return deleteImage(c, string(i.ID), arg[uint64](c, 0))
}

func deleteImage(c *call, image string, flags uint64) ([]any, error) {
	if err := checkFlags(flags, flagForce); err != nil {
		return nil, err
	}
	return c.submit(davit.ImageDelete{Image: image, Force: flags&flagForce != 0})
}

func describeImage(c *call, i davit.Image) ([]any, error) {
	return document(ask(c, davit.ImageInspect{Image: string(i.ID)}))
}

func imageRelease(c *call, i davit.Image) ([]any, error) {
	return releaseReply(ask(c, davit.OSRelease{Image: string(i.ID)}))
}

func imageHistory(c *call, i davit.Image) ([]any, error) {
	return document(ask(c, davit.History{Image: string(i.ID)}))
}

// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/lent"
	"github.com/davit-engine/davit/dbus/parameters"
	"github.com/davit-engine/davit/dbus/reach"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/engine"
)

// What a caller gives in place of a field that cannot be written down: a
// descriptor of the name, or the path of a file.
const (
	sourceFile = "Source" // or SourcePath: what is read
	targetFile = "Target" // or TargetPath: what is written
	authFile   = "Auth"   // credentials, the JSON of an X-Registry-Auth header; descriptor only
	pathSuffix = "Path"
)

// enqueueJob makes a job of any type that an outside caller may submit:
// EnqueueJob(type, subject, parameters, flags). Parameters are the request's
// fields by their names.
func enqueueJob(c *call) ([]any, error) {
	return enqueue(c, arg[map[string]godbus.Variant](c, 2), nil, arg[uint64](c, 3))
}

// enqueueJobWithFDs is [enqueueJob] with descriptors in the place of files.
func enqueueJobWithFDs(c *call) ([]any, error) {
	fds := map[string]godbus.UnixFDIndex{}
	for _, pair := range arg[[][]any](c, 3) {
		name, index := pair[0].(string), pair[1].(godbus.UnixFDIndex)
		if _, twice := fds[name]; twice {
			return nil, refusal.InvalidArgs("descriptor %s is given twice", name)
		}
		fds[name] = index
	}
	return enqueue(c, arg[map[string]godbus.Variant](c, 2), fds, arg[uint64](c, 4))
}

func enqueue(c *call, given map[string]godbus.Variant, fds map[string]godbus.UnixFDIndex, flags uint64) ([]any, error) {
	name, subject := arg[string](c, 0), arg[string](c, 1)
	if err := checkFlags(flags, 0); err != nil {
		return nil, err
	}
	types := c.eng.Types()
	i := slices.IndexFunc(types, func(t engine.TypeInfo) bool { return t.Name == name })
	if i < 0 || types[i].Internal {
		return nil, &engine.UnknownTypeError{Type: name}
	}
	if types[i].Class != engine.Change {
		return nil, davit.Errorf(davit.NotSupported, "job %s cannot be enqueued, it is a %s: call %s.%s", name, types[i].Class, davit.BusName, reach.Table()[name])
	}
	file, err := c.fileOf(types[i], given, fds)
	if err != nil {
		return nil, err
	}
	fields, err := parameters.Fields(types[i], subject, given)
	if err != nil {
		return nil, errors.Join(err, file.close())
	}
	q, err := c.eng.NewRequest(name, func(target any) error {
		return errors.Join(parameters.Fill(target, fields), file.fill(target))
	})
	if err != nil {
		return nil, errors.Join(err, file.close())
	}
	if file.file == nil {
		return c.submit(q)
	}
	return c.lend(q, file.file)
}

// jobFile is the file and the credentials that a job of [enqueue] gets.
type jobFile struct {
	file *lent.File // nil: it gets none
	auth *davit.RegistryAuth
}

func (f *jobFile) close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// fileParameters lists the parameters by which a type of job is given a path.
func fileParameters(jobType string) []string {
	switch jobType {
	case "load", "import", "container_extract":
		return []string{sourceFile + pathSuffix}
	case "image_export", "export", "container_copy":
		return []string{targetFile + pathSuffix}
	}
	return nil
}

// fileOf takes the file out of the parameters, or one of the descriptors.
func (c *call) fileOf(t engine.TypeInfo, given map[string]godbus.Variant, fds map[string]godbus.UnixFDIndex) (*jobFile, error) {
	f := &jobFile{}
	if index, ok := fds[authFile]; ok {
		delete(fds, authFile)
		text, err := c.secret(index)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(text), &f.auth); err != nil || f.auth == nil {
			return nil, refusal.InvalidArgs("descriptor Auth: not the JSON of credentials")
		}
	}
	wanted := ""
	if names := fileParameters(t.Name); len(names) > 0 {
		wanted = strings.TrimSuffix(names[0], pathSuffix)
	}
	index, passed := fds[wanted]
	delete(fds, wanted)
	for _, name := range slices.Sorted(maps.Keys(fds)) {
		return nil, refusal.InvalidArgs("job %s takes no descriptor %s", t.Name, name)
	}
	path, err := filePath(given, wanted)
	switch {
	case err != nil:
		return nil, err
	case wanted == "":
		return f, nil
	case passed == (path != ""):
		return nil, refusal.InvalidArgs("job %s needs a file: give the parameter %s%s to EnqueueJob, or the descriptor %s to EnqueueJobWithFDs", t.Name, wanted, pathSuffix, wanted)
	case passed:
		f.file, err = c.borrowed(index, wanted == targetFile)
	case wanted == targetFile:
		f.file = lent.Target(path)
	default:
		f.file, err = lent.Source(path)
	}
	return f, err
}

// filePath takes the path of a file out of the parameters. Paths are for root,
// as EnqueueJob is: for another the daemon would open what the caller may not.
func filePath(given map[string]godbus.Variant, wanted string) (path string, err error) {
	if wanted == "" {
		return "", nil
	}
	o := parameters.Of(given)
	parameters.Take(o, wanted+pathSuffix, &path)
	if o.Err() == nil && path != "" && (!filepath.IsAbs(path) || filepath.Clean(path) != path) {
		return "", refusal.InvalidArgs("%s%s %q is not an absolute, clean path", wanted, pathSuffix, path)
	}
	return path, o.Err()
}

// fill gives a request what of it is no parameter.
func (f *jobFile) fill(target any) error {
	switch q := target.(type) {
	case *davit.Load:
		q.Source = f.file
	case *davit.Import:
		q.Source = f.file
	case *davit.ContainerExtract:
		q.Source = f.file
	case *davit.Save:
		q.Open = f.file.Open
	case *davit.Export:
		q.Open = f.file.Open
	case *davit.ContainerCopy:
		q.Open = func(davit.FileStat) (io.Writer, error) { return f.file.Open() }
	case *davit.Pull:
		q.Auth, f.auth = f.auth, nil
	case *davit.Push:
		q.Auth, f.auth = f.auth, nil
	case *davit.Search:
		q.Auth, f.auth = f.auth, nil
	case *davit.Auth:
		if f.auth == nil {
			return refusal.InvalidArgs("this job needs the descriptor Auth: give it to EnqueueJobWithFDs")
		}
		q.Auth, f.auth = *f.auth, nil
	}
	if f.auth != nil {
		return refusal.InvalidArgs("this job takes no descriptor Auth")
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"

	"github.com/davit-engine/davit"
	"github.com/moby/moby/api/types/container"
)

func fileMode(m uint32) fs.FileMode { return fs.FileMode(m) }

// archivePath reads the path that all archive requests need.
func (c *call) archivePath() (string, error) {
	p := c.form.Get("path")
	if p == "" {
		return "", invalid("bad parameter: path cannot be empty")
	}
	return p, nil
}

// setStat tells of the path in the header, as docker cp expects it.
func (c *call) setStat(s davit.FileStat) error {
	b, err := json.Marshal(container.PathStat{Name: s.Name, Size: s.Size, Mode: fileMode(s.Mode), Mtime: s.Mtime, LinkTarget: s.LinkTarget})
	if err != nil {
		return err
	}
	c.w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(b))
	return nil
}

func statPath(c *call) error {
	path, err := c.archivePath()
	if err != nil {
		return err
	}
	st, err := query(c, davit.ContainerStatPath{Container: c.name, Path: path})
	if err != nil {
		return err
	}
	return c.replyEmpty(http.StatusOK, c.setStat(st))
}

// getArchive sends a tar. When it fails halfway the connection is cut, so
// that the client does not take the rest for the whole.
func getArchive(c *call) error {
	path, err := c.archivePath()
	if err != nil {
		return err
	}
	q := davit.ContainerCopy{Container: c.name, Path: path}
	wait := c.awaitJob(q)
	q.Open = func(st davit.FileStat) (io.Writer, error) {
		wait()
		if err := c.setStat(st); err != nil {
			return nil, err
		}
		c.w.Header().Set("Content-Type", "application/x-tar")
		c.begin(http.StatusOK)
		return c.w, nil
	}
	_, err = follow(c.r.Context(), c, q)
	if err != nil && c.status != 0 {
		panic(http.ErrAbortHandler)
	}
	return err
}

// exportContainer sends a container's files as getArchive does.
func exportContainer(c *call) error {
	q := davit.Export{Container: c.name}
	wait := c.awaitJob(q)
	q.Open = func() (io.Writer, error) {
		wait()
		c.w.Header().Set("Content-Type", "application/octet-stream")
		c.begin(http.StatusOK)
		return c.w, nil
	}
	_, err := follow(c.r.Context(), c, q)
	if err != nil && c.status != 0 {
		panic(http.ErrAbortHandler)
	}
	return err
}

func listChanges(c *call) error {
	list, err := query(c, davit.ContainerChanges{Container: c.name})
	if err != nil {
		return err
	}
	out := []container.FilesystemChange{}
	for _, f := range list {
		out = append(out, container.FilesystemChange{Kind: container.ChangeType(f.Kind), Path: f.Path})
	}
	return c.reply(http.StatusOK, out)
}

func putArchive(c *call) error {
	path, err := c.archivePath()
	if err != nil {
		return err
	}
	_, err = follow(c.r.Context(), c, davit.ContainerExtract{
		Container: c.name, Path: path, Source: c.r.Body,
		NoOverwriteDirNonDir: c.flag("noOverwriteDirNonDir"), CopyUIDGID: c.flag("copyUIDGID"),
	})
	return c.replyEmpty(http.StatusOK, err)
}

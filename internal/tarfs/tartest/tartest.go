// SPDX-License-Identifier: Apache-2.0

// Package tartest makes tar archives, good and hostile ones, for tests.
package tartest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// File is a regular file of mode 0644 with body as its content.
func File(name, body string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(body)), PAXRecords: map[string]string{bodyKey: body}}
}

// Dir is a directory of mode 0755.
func Dir(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}
}

// Symlink is a symbolic link to target.
func Symlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}

// Link is a hard link to target.
func Link(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}
}

const bodyKey = "TEST.body" // carried to Tar, and not written

// Make writes entries as a plain tar.
func Make(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range entries {
		body := e.PAXRecords[bodyKey]
		if body != "" {
			records := map[string]string{}
			for k, v := range e.PAXRecords {
				if k != bodyKey {
					records[k] = v
				}
			}
			e.PAXRecords = records
		}
		if e.ModTime.IsZero() {
			e.ModTime = time.Unix(1_000_000_000, 0)
		}
		if err := tw.WriteHeader(&e); err != nil {
			t.Fatalf("cannot write the tar entry %q: %v", e.Name, err)
		}
		if _, err := tw.Write([]byte(body)); err != nil {
			t.Fatalf("cannot write the tar entry %q: %v", e.Name, err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Gzip compresses data.
func Gzip(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Zstd compresses data.
func Zstd(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }() // EncodeAll leaves nothing to write
	return w.EncodeAll(data, nil)
}

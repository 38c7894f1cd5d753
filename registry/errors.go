// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/davit-engine/davit"
	"github.com/distribution/reference"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// maxErrorBody and maxErrorText bound what is read and shown of a registry's
// own explanation.
const (
	maxErrorBody = 64 << 10
	maxErrorText = 512
)

// passingError marks a failure that another try may not meet.
type passingError struct{ err error }

func (e *passingError) Error() string { return e.err.Error() }
func (e *passingError) Unwrap() error { return e.err }

// scoped tells the authentication what the requests are for.
func (s *session) scoped(ctx context.Context) context.Context {
	return auth.WithScopesForHost(ctx, s.host, auth.ScopeRepository(reference.Path(s.named), s.actions...))
}

// wrong is for a registry that gives something else than was announced.
func (s *session) wrong(format string, args ...any) error {
	return davit.Errorf(davit.DigestMismatch, "registry %s: %w", s.host, fmt.Errorf(format, args...))
}

// unreachable is for a request that the network failed. It may not fail again,
// but a certificate stays wrong, and a registry that no answer came of yet is
// more likely misspelt than restarting.
func (s *session) unreachable(err error) error {
	err = withoutURL(err)
	if noTLS(err) {
		return davit.Errorf(davit.RegistryUnreachable,
			"cannot reach registry %s: %w (only one listed in insecure-registries may do without TLS or a valid certificate)", s.host, err)
	}
	coded := davit.Errorf(davit.RegistryUnreachable, "cannot reach registry %s: %w", s.host, err)
	var dial *net.OpError
	var redirect redirectError
	if errors.As(err, &redirect) || errors.As(err, &dial) && dial.Op == "dial" && !s.reached.Load() {
		return coded
	}
	return &passingError{coded}
}

// noTLS tells whether the other end does not speak TLS, or has no certificate
// that holds.
func noTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &certificate) || errors.As(err, &record)
}

// failed is for a request that got no answer, or whose authentication did not
// succeed.
func (s *session) failed(err error) error {
	var answer *errcode.ErrorResponse
	var coded interface{ ErrorCode() string }
	var request *url.Error
	switch {
	case errors.As(err, &answer): // of the token server
		return s.status(answer.StatusCode, answer.Errors, "its token")
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return s.denied("no basic auth credentials")
	case errors.As(err, &coded):
		return err
	case errors.As(err, &request):
		return s.unreachable(err)
	}
	return davit.Errorf(davit.RegistryUnreachable, "cannot authenticate to registry %s: %w", s.host, err)
}

// refused is for an answer that is not what was asked for; what is "" for the
// manifest of the reference.
func (s *session) refused(resp *http.Response, what string) error {
	var body struct{ Errors errcode.Errors }
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err == nil {
		_ = json.Unmarshal(data, &body) // not its format: the status has to do
	}
	return s.status(resp.StatusCode, body.Errors, what)
}

// status has Docker's words (distribution/errors.go) where it has some: people
// and programs look for them.
func (s *session) status(status int, errs errcode.Errors, what string) error {
	text := strings.ToLower(http.StatusText(status))
	if text == "" {
		text = "no explanation"
	}
	code := ""
	if len(errs) > 0 {
		e := errcode.Error{Code: errs[0].Code, Message: errs[0].Message} // the details are for programs
		code, text = e.Code, printable(e.Error())
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return s.denied(text)
	case s.named == nil:
	case status == http.StatusNotFound && what != "":
		return davit.Errorf(davit.RegistryUnreachable, "registry %s does not have %s of %s: %s", s.host, what, s.name(), text)
	case status == http.StatusNotFound && code == errcode.ErrorCodeNameUnknown:
		return davit.Errorf(davit.NoSuchImage, "repository %s not found: %s", reference.FamiliarName(s.named), text)
	case status == http.StatusNotFound:
		return davit.Errorf(davit.NoSuchImage, "manifest for %s not found: %s", s.name(), text)
	}
	err := davit.Errorf(davit.RegistryUnreachable, "registry %s answered with status %d: %s", s.host, status, text)
	if slices.Contains([]int{
		http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	}, status) {
		return &passingError{err}
	}
	return err
}

func (s *session) denied(text string) error {
	if s.named == nil {
		return davit.Errorf(davit.RegistryUnauthorized, "registry %s does not accept the credentials: %s", s.host, text)
	}
	return davit.Errorf(davit.RegistryUnauthorized, "%s access denied for %s, repository does not exist or may require 'docker login': %s",
		s.verb, reference.FamiliarName(s.named), text)
}

// withoutURL drops the URL of a failed request: that of a redirect can hold a
// signature that lets anybody fetch.
func withoutURL(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// printable makes one short line of a remote text.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return text
}

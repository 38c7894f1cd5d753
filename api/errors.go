// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/engine"
)

// statusError is an error that has a status of its own, which no kind has.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

var (
	errNoPage   = &statusError{http.StatusNotFound, "page not found"}
	errStopping = davit.Errorf(davit.ShuttingDown, "the engine is shutting down")
)

// invalid returns the error of a request that is wrong in itself.
func invalid(format string, args ...any) error {
	return davit.Errorf(davit.InvalidConfiguration, format, args...)
}

// unsupported returns the error of a valid request that the engine cannot
// serve.
func unsupported(format string, args ...any) error {
	return davit.Errorf(davit.NotSupported, format, args...)
}

// statusOf maps an error to the status of its reply.
func statusOf(err error) int {
	var own *statusError
	if errors.As(err, &own) {
		return own.status
	}
	// A row of the table whose job nobody handles is not a missing page.
	var unhandled *engine.UnknownTypeError
	if errors.As(err, &unhandled) {
		return http.StatusNotImplemented
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return http.StatusGatewayTimeout
	}
	switch davit.KindOf(err) {
	case davit.Invalid:
		return http.StatusBadRequest
	case davit.Unauthorized:
		return http.StatusUnauthorized
	case davit.Denied:
		return http.StatusForbidden
	case davit.NotFound:
		return http.StatusNotFound
	case davit.Conflict:
		return http.StatusConflict
	case davit.NotModified:
		return http.StatusNotModified
	case davit.Unavailable:
		return http.StatusServiceUnavailable
	case davit.NotImplemented:
		return http.StatusNotImplemented
	case davit.Internal, davit.Cancelled, davit.Remote:
		// The API documents 500 for what is nobody's fault here: a registry
		// that fails, and a job that another caller has cancelled.
	}
	return http.StatusInternalServerError
}

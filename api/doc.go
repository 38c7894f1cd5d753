// SPDX-License-Identifier: Apache-2.0

// Package api is the REST front door: it speaks the Docker Engine API on
// sockets that are given to it, turns each request into a job of the engine
// and the job's result into the reply. It decides nothing: what a request may
// do and what becomes of it is the business of the handlers.
//
// The contract is moby/moby/api's swagger.yaml, versions [davit.MinAPIVersion]
// to [davit.APIVersion]. One table (routes.go) holds every endpoint of it, the
// ones that are not served yet included.
package api

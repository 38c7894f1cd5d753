// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/davit-engine/davit"
)

// indexHost is where Docker Hub has what is not the registry's API.
const indexHost = "index.docker.io"

// Auth checks credentials with the registry that they name; without a name it
// is Docker Hub. They go nowhere but to it and, where it has one, to its token
// server: by TLS, unless the registry is configured as insecure. Errors carry
// the codes InvalidName, RegistryUnauthorized and RegistryUnreachable.
func (c *Client) Auth(ctx context.Context, credential davit.RegistryAuth) (davit.AuthResult, error) {
	domain, err := serverName(credential.ServerAddress)
	if err != nil {
		return davit.AuthResult{}, err
	}
	host := domain
	if domain == hubDomain {
		host = hubHost
	}
	s, err := c.connect(ctx, domain, host, &credential)
	if err != nil {
		return davit.AuthResult{}, alive(ctx, err)
	}
	defer s.close()
	if err := s.retry(ctx, func() error { return s.login(ctx) }); err != nil {
		return davit.AuthResult{}, alive(ctx, err)
	}
	return davit.AuthResult{Status: "Login Succeeded"}, nil
}

// serverName returns the name of the registry of a server address, which the
// docker CLI gives as it was typed.
func serverName(address string) (string, error) {
	name := strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	name, _, _ = strings.Cut(name, "/")
	switch name {
	case "", hubDomain, hubHost, indexHost:
		return hubDomain, nil
	}
	if u, err := url.Parse("//" + name); err != nil || u.Host != name {
		// What is before an @ may be a password.
		return "", davit.Errorf(davit.InvalidName, "invalid registry %q: write it as HOST or HOST:PORT", name[strings.LastIndex(name, "@")+1:])
	}
	return name, nil
}

func (s *session) login(ctx context.Context) error {
	req, err := s.request(ctx, http.MethodGet, fmt.Sprintf("%s://%s/v2/", s.scheme, s.host))
	if err != nil {
		return err
	}
	resp, err := s.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return davit.Errorf(davit.RegistryUnreachable, "%s is no registry: it does not have the API of version 2", s.host)
	}
	if resp.StatusCode != http.StatusOK {
		return s.refused(resp, "")
	}
	return nil
}

// maxSearch bounds the answer to a search.
const maxSearch = 1 << 20

// Search asks a registry for repositories: Docker Hub, or the one that stands
// before the first slash of the term. It is the API of Docker's first
// registry, which few others have; of one that has not the error is
// NotSupported.
func (c *Client) Search(ctx context.Context, req davit.Search) ([]davit.SearchResult, error) {
	domain, host, term := hubDomain, indexHost, req.Term
	if first, rest, ok := strings.Cut(req.Term, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		name, err := serverName(first)
		if err != nil {
			return nil, err
		}
		term = rest
		if name != hubDomain {
			domain, host = name, name
		}
	}
	if domain == hubDomain {
		term = strings.TrimPrefix(term, "library/")
	}
	s, err := c.connect(ctx, domain, host, req.Auth)
	if err != nil {
		return nil, alive(ctx, err)
	}
	defer s.close()
	query := url.Values{"q": {term}, "n": {strconv.Itoa(req.Limit)}}
	var out []davit.SearchResult
	err = s.retry(ctx, func() (err error) {
		out, err = s.search(ctx, query)
		return err
	})
	if err != nil {
		return nil, alive(ctx, err)
	}
	return out, nil
}

func (s *session) search(ctx context.Context, query url.Values) ([]davit.SearchResult, error) {
	req, err := s.request(ctx, http.MethodGet, fmt.Sprintf("%s://%s/v1/search?%s", s.scheme, s.host, query.Encode()))
	if err != nil {
		return nil, err
	}
	resp, err := s.do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, davit.Errorf(davit.NotSupported, "registry %s cannot be searched: it does not have the API for it", s.host)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, s.refused(resp, "")
	}
	var body struct {
		Results []struct {
			Name, Description string
			Stars             int  `json:"star_count"`
			Official          bool `json:"is_official"`
			Automated         bool `json:"is_automated"`
		}
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxSearch)).Decode(&body); err != nil {
		return nil, davit.Errorf(davit.RegistryUnreachable, "registry %s answers a search with something else than a list: %w", s.host, err)
	}
	var out []davit.SearchResult
	for _, r := range body.Results {
		out = append(out, davit.SearchResult{
			Name: printable(r.Name), Description: printable(r.Description), Stars: r.Stars, Official: r.Official, Automated: r.Automated,
		})
	}
	return out, nil
}

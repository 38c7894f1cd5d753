// SPDX-License-Identifier: Apache-2.0

package service

import (
	"errors"
	"fmt"
	"slices"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/service/request"
)

// joins returns the modes of a container that may name another one, whose
// namespace it joins.
func joins(h *davit.HostConfig) []*string { return []*string{&h.NetworkMode, &h.PidMode, &h.IpcMode} }

// joinedIDs returns the containers whose namespaces a container joins.
func joinedIDs(h *davit.HostConfig) (ids []string) {
	for _, mode := range joins(h) {
		if id, ok := request.Joined(*mode); ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// pinJoined puts ids in the place of names, before anybody decides on them.
// What is not there stays, and is refused later.
func (s *Service) pinJoined(h davit.HostConfig) davit.HostConfig {
	for _, mode := range joins(&h) {
		if ref, ok := request.Joined(*mode); ok {
			if c, err := s.find(ref); err == nil {
				*mode = "container:" + c.id
			}
		}
	}
	return h
}

// checkJoined refuses to make a container that joins one which is not there, or
// which keeps its IPC to itself.
func (s *Service) checkJoined(h *davit.HostConfig) error {
	*h = s.pinJoined(*h)
	for _, id := range joinedIDs(h) {
		if _, err := s.find(id); err != nil {
			// Not NoSuchContainer: to a create, the docker CLI takes a 404 for a
			// missing image, and pulls it.
			return invalid("cannot join the namespaces of another container: %v", err)
		}
	}
	id, ok := request.Joined(h.IpcMode)
	if !ok {
		return nil
	}
	donor, err := s.find(id)
	if err != nil {
		return err
	}
	rec := donor.record()
	if _, joins := request.Joined(rec.HostConfig.IpcMode); !joins && !slices.Contains([]string{"shareable", "host"}, rec.HostConfig.IpcMode) {
		return invalid("failed to join IPC namespace: container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", rec.Name)
	}
	return nil
}

// checkDonors refuses to start a container while one that it joins has no
// process.
func (s *Service) checkDonors(rec *davit.Container) error {
	for _, id := range joinedIDs(&rec.HostConfig) {
		c, err := s.find(id)
		if err != nil {
			return davit.Errorf(davit.NameConflict, "cannot start container %s: the container whose namespaces it joins is gone: %v", rec.Name, err)
		}
		switch other := c.record(); {
		case other.State.Status == davit.StatusRestarting:
			return davit.Errorf(davit.ContainerNotRunning, "cannot join namespaces: Container %s is restarting, wait until the container is running", other.ID)
		case !other.State.Running():
			if net, _ := request.Joined(rec.HostConfig.NetworkMode); net == id {
				return davit.Errorf(davit.ContainerNotRunning, "cannot join network of a non running container: %s", other.ID)
			}
			return davit.Errorf(davit.ContainerNotRunning, "cannot join namespaces: container %s is not running", other.ID)
		}
	}
	return nil
}

// networkOwner returns the container whose network a container is in: itself,
// or at the end of a chain of joined ones.
func (s *Service) networkOwner(rec *davit.Container) (davit.Container, error) {
	owner := *rec
	for {
		id, joins := request.Joined(owner.HostConfig.NetworkMode)
		if !joins {
			return owner, nil
		}
		c, err := s.find(id)
		if err != nil {
			return owner, err
		}
		owner = c.record()
	}
}

// startInOrder starts containers in the background, each after those that it
// joins; the others in parallel.
func (s *Service) startInOrder(ids []string) error {
	depth := map[string]int{}
	for _, id := range ids {
		joinDepth(id, s.joinedBy, depth)
	}
	slices.SortStableFunc(ids, func(a, b string) int { return depth[a] - depth[b] })
	ended := map[string]<-chan struct{}{}
	var errs error
	for _, id := range ids {
		var before []<-chan struct{}
		if c, err := s.find(id); err == nil {
			rec := c.record()
			for _, other := range joinedIDs(&rec.HostConfig) {
				if ch, ok := ended[other]; ok {
					before = append(before, ch)
				}
			}
		}
		if len(before) == 0 {
			j, err := s.eng.Submit(s.base, davit.Start{Container: id})
			if err != nil {
				errs = errors.Join(errs, fmt.Errorf("cannot resume container %s: %w", davit.ShortID(id), err))
				continue
			}
			ended[id] = j.Done()
			continue
		}
		done := make(chan struct{})
		ended[id] = done
		s.watching.Go(func() {
			defer close(done)
			s.startAfter(id, before)
		})
	}
	return errs
}

// startAfter starts a container when others have been started, or have failed
// to: it then says itself what it lacks.
func (s *Service) startAfter(id string, before []<-chan struct{}) {
	for _, ch := range before {
		select {
		case <-ch:
		case <-s.done:
			return
		}
	}
	j, err := s.eng.Submit(s.base, davit.Start{Container: id})
	if err != nil {
		s.log.Warn("cannot resume a container", "container_id", id, "error", err)
		return
	}
	select {
	case <-j.Done():
	case <-s.done:
	}
}

// joinedBy returns the containers that one joins, none when it is gone.
func (s *Service) joinedBy(id string) []string {
	c, err := s.find(id)
	if err != nil {
		return nil
	}
	rec := c.record()
	return joinedIDs(&rec.HostConfig)
}

// joinDepth is the length of the longest chain of containers that one joins.
// Each is asked about once, however many chains it is in: known has their
// depths.
func joinDepth(id string, joined func(id string) []string, known map[string]int) int {
	if depth, ok := known[id]; ok {
		return depth
	}
	most := 0
	for _, other := range joined(id) {
		most = max(most, 1+joinDepth(other, joined, known))
	}
	known[id] = most
	return most
}

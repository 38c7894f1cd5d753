// SPDX-License-Identifier: Apache-2.0

package values

import (
	"math"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/host"
	"github.com/davit-engine/davit/engine"
)

// Fraction returns how far the item that was last reported is, 0 to 1; 0 when
// its total is unknown.
func Fraction(s engine.Snapshot) float64 {
	switch {
	case s.Result == engine.Done || s.Result == engine.Skipped:
		return 1
	case s.Progress.Total == 0:
		return 0
	}
	return min(1, float64(s.Progress.Current)/float64(s.Progress.Total))
}

// Total returns a progress total in the bus's form, where UINT64_MAX is
// unknown.
func Total(p engine.Progress) uint64 {
	if p.Total == 0 {
		return math.MaxUint64
	}
	return p.Total
}

// phaseOf returns what the job is at: its last reported progress says more
// than its step.
func phaseOf(s engine.Snapshot) string {
	if s.Progress.Phase != "" && s.State != engine.Finished {
		return Text(s.Progress.Phase)
	}
	return Text(s.Phase)
}

// Job is what is known of a job.
func Job(k host.Clock, s engine.Snapshot) Properties {
	p := Properties{
		"Id": s.ID, "Type": s.Type, "Parent": s.Parent, "Subject": Text(s.Subject),
		"State": string(s.State), "Result": string(s.Result), "ErrorName": "", "ErrorMessage": "",
		"Phase": phaseOf(s), "Progress": Fraction(s), "ProgressCurrent": s.Progress.Current, "ProgressTotal": Total(s.Progress),
		"Cancellable": s.Cancellable, "Transport": s.Caller.Transport, "OwnerUID": s.Caller.UID,
		"EnqueueTimestamp": USec(s.Enqueued), "StartTimestamp": USec(s.Started), "FinishTimestamp": USec(s.Ended),
		"EnqueueTimestampMonotonic": k.USec(s.Enqueued), "StartTimestampMonotonic": k.USec(s.Started), "FinishTimestampMonotonic": k.USec(s.Ended),
	}
	if s.Caller.Transport == "" {
		p["Transport"] = engine.Internal
	}
	if Failed(s) {
		p["ErrorName"], p["ErrorMessage"] = ErrorName(s.Err)
	}
	return p
}

// Failed tells whether the job's error is one: what was so already is not.
func Failed(s engine.Snapshot) bool { return s.Err != nil && s.Result != engine.Skipped }

// Output returns the result of a job in the words of the bus.
func Output(s engine.Snapshot) map[string]godbus.Variant {
	out := Properties{}
	if Failed(s) {
		out["ErrorName"], out["ErrorMessage"] = ErrorName(s.Err)
	}
	switch r := s.Output.(type) {
	case davit.Created:
		out["Id"], out["Container"], out["Warnings"] = r.ID, ContainerPath(r.ID), Texts(r.Warnings)
	case davit.Image:
		out["Id"], out["Image"] = string(r.ID), ImagePath(r.ID)
		if r.Manifest != "" {
			out["Digest"] = string(r.Manifest)
		}
	case davit.Volume:
		out["Volume"] = Path("volume", r.Name)
	case davit.Exit:
		out["ExitStatus"] = int32(r.Code)
	case string:
		out["Id"] = Text(r)
	case []string:
		if s.Type == (davit.ContainerUpdate{}).JobType() {
			out["Warnings"] = Texts(r)
		}
	case davit.Descriptor:
		out["Digest"] = string(r.Digest)
	case davit.Pruned:
		out["Containers"], out["Volumes"], out["Networks"] = Texts(r.Containers), Texts(r.Volumes), Texts(r.Networks)
		out["Untagged"], out["Deleted"] = deletions(r.Images)
		out["Reclaimed"] = uint64(max(0, r.Reclaimed))
	case []davit.Image:
		paths := []godbus.ObjectPath{}
		for _, i := range r {
			paths = append(paths, ImagePath(i.ID))
		}
		out["Images"] = paths
	case []davit.ImageDeletion:
		out["Untagged"], out["Deleted"] = deletions(r)
	}
	return out.Variants()
}

func deletions(list []davit.ImageDeletion) (untagged, deleted []string) {
	untagged, deleted = []string{}, []string{}
	for _, d := range list {
		if d.Untagged != "" {
			untagged = append(untagged, Text(d.Untagged))
		}
		if d.Deleted != "" {
			deleted = append(deleted, Text(d.Deleted))
		}
	}
	return untagged, deleted
}

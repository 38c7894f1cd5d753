// SPDX-License-Identifier: Apache-2.0

package request

import (
	"testing"
	"time"

	"github.com/davit-engine/davit"
	"github.com/google/go-cmp/cmp"
)

func TestHealthcheckIsInheritedByField(t *testing.T) {
	img := &davit.Healthcheck{Test: []string{"CMD", "a"}, Interval: 1e9, Timeout: 2e9, StartPeriod: 3e9, StartInterval: 4e9, Retries: 5}
	for _, tc := range []struct{ user, img, want *davit.Healthcheck }{
		{nil, nil, nil},
		{nil, img, img},
		{img, nil, img},
		{&davit.Healthcheck{}, img, img},
		{
			&davit.Healthcheck{Test: []string{"NONE"}}, img,
			&davit.Healthcheck{Test: []string{"NONE"}, Interval: 1e9, Timeout: 2e9, StartPeriod: 3e9, StartInterval: 4e9, Retries: 5},
		},
		{
			&davit.Healthcheck{Interval: 9, Retries: 1}, img,
			&davit.Healthcheck{Test: []string{"CMD", "a"}, Interval: 9, Timeout: 2e9, StartPeriod: 3e9, StartInterval: 4e9, Retries: 1},
		},
	} {
		got := Merge(davit.ContainerConfig{Healthcheck: tc.user}, davit.ContainerConfig{Healthcheck: tc.img}).Healthcheck
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%+v over %+v: %s", tc.user, tc.img, diff)
		}
	}
	if img.Retries != 5 || img.Test[0] != "CMD" {
		t.Error("the image's own was changed")
	}
}

func TestCheckHealthcheck(t *testing.T) {
	cmd := []string{"CMD-SHELL", "true"}
	for _, tc := range []struct {
		h    davit.Healthcheck
		want string
	}{
		{davit.Healthcheck{}, ""},
		{davit.Healthcheck{Test: cmd, Interval: time.Millisecond, Timeout: time.Millisecond, StartPeriod: time.Hour, Retries: 1}, ""},
		{davit.Healthcheck{Test: []string{"NONE"}}, ""},
		{davit.Healthcheck{Test: cmd, Interval: 999_999}, "Interval in Healthcheck cannot be less than 1ms"},
		{davit.Healthcheck{Test: cmd, Timeout: -1}, "Timeout in Healthcheck cannot be less than 1ms"},
		{davit.Healthcheck{Test: cmd, StartPeriod: 1}, "StartPeriod in Healthcheck cannot be less than 1ms"},
		{davit.Healthcheck{Test: cmd, StartInterval: 1}, "StartInterval in Healthcheck cannot be less than 1ms"},
		{davit.Healthcheck{Test: cmd, Retries: -1}, "Retries in Healthcheck cannot be negative"},
		{davit.Healthcheck{Test: []string{"CMD"}}, "Test in Healthcheck is CMD without a command"},
		{davit.Healthcheck{Test: []string{"true"}}, "Unknown healthcheck type 'true': Test in Healthcheck begins with NONE, CMD or CMD-SHELL"},
	} {
		got := ""
		if err := checkHealthcheck(&tc.h); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.h, got, tc.want)
		}
	}
}

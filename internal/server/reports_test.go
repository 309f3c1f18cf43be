package server

import (
	"context"
	"testing"

	apiv1 "labd/api/v1"
	"labd/internal/disk"
	"labd/internal/placement"
	"labd/internal/storage"
)

// unseen is a source that has no report until it is asked to look.
type unseen[R any] struct {
	report R
	looks  int
}

func (u *unseen[R]) Latest() (r R, ok bool) {
	if u.looks == 0 {
		return r, false
	}
	return u.report, true
}

func (u *unseen[R]) Refresh(context.Context) (R, error) {
	u.looks++
	return u.report, nil
}

// A labd for one command looks at drives and storages before it says anything of either, whichever it is asked for: else the
// same storage has one answer in status and another one in fix-storage.
func TestBothReportsBeforeAnAnswer(t *testing.T) {
	for _, path := range []string{"/v1/nvme", "/v1/storage?fresh=1", "/v1/status"} {
		drives, storages := &unseen[*disk.Report]{report: &disk.Report{At: at}}, &unseen[*storage.Report]{report: &storage.Report{At: at, Readable: true}}
		s := testServer(t)
		s.NVMe, s.Storage = drives, storages
		s.Placement = func() *placement.Placement { return placement.Join(drives.report, storages.report) }
		var answer apiv1.Envelope[map[string]any]
		ask(t, s, root, "GET", path, "", &answer)
		if drives.looks == 0 || storages.looks == 0 {
			t.Errorf("%s: %d looks at drives, %d at storages", path, drives.looks, storages.looks)
		}
	}
}

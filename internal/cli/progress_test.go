package cli

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	apiv1 "labd/api/v1"
)

// Each step of the plan is told as it ends; those of a plan of somebody else are not.
func TestStepsAreTold(t *testing.T) {
	p := envelopeOf(apiv1.KindPlan, []apiv1.Plan{{Title: "Make routes", Digest: "d1", Steps: []apiv1.PlanStep{{Title: "Add a route"}, {Title: "Add a rule"}}}})
	follows, applied := make(chan struct{}), make(chan struct{})
	events := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, ": labd\n\n")
		w.(http.Flusher).Flush()
		close(follows)
		<-applied
		for _, e := range []string{
			`{"digest":"d1","step":1,"steps":2,"title":"Add a route","phase":"begun"}`, `{"digest":"d1","step":1,"steps":2,"title":"Add a route","phase":"done"}`,
			`{"digest":"other","step":1,"steps":9,"title":"Something else","phase":"done"}`, `{"digest":"d1","step":2,"steps":2,"title":"Add a rule\u001b[2J","phase":"failed"}`,
		} {
			fmt.Fprintf(w, "event: plan.step\nid: 1\ndata: %s\n\n", e)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	apply := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-follows // labctl asks for the events before it asks for the change
		close(applied)
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"error":{"code":"refused","message":"step 2 of 2 failed"}}`)
	})
	socket := answers{"POST /v1/plans": p, "GET /v1/events": events, "POST /v1/plans/apply": apply}.start(t)
	code, _, stderr := labctl(t, socket, "net", "apply", "--yes")
	want := "step 1 of 2 done: Add a route\nstep 2 of 2 failed: Add a rule\\x1b[2J\nlabctl: step 2 of 2 failed\n"
	if code != ExitRefused || stderr != want {
		t.Errorf("exit %d\n%s", code, stderr)
	}
}

// A labd that does not answer is named, with what it was asked and for how long.
func TestWhoDidNotAnswer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "labd.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, _, stderr := labctl(t, socket, "net", "list", "--timeout", "50ms")
	for _, want := range []string{"labd at " + socket + " did not answer GET /v1/networks within 50ms", "--timeout"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in %s", want, stderr)
		}
	}
	if strings.Contains(stderr, "http://") || strings.Contains(stderr, "context deadline") {
		t.Errorf("leaks what only the transport needs: %s", stderr)
	}
}

func TestJournalEntry(t *testing.T) {
	begun, ended := at("2026-11-28 10:00:00"), at("2026-11-28 10:00:03")
	entry := apiv1.JournalItem{
		ID: "3", Title: "Remove storage usb1, whose device is gone", Time: begun, EndedAt: &ended, Actor: "root@pam", State: apiv1.JournalFailed, Subjects: []string{"storage/pve1/usb1"},
		Steps: 3, StepsDone: 1, Undoable: true, Error: "step 2 of 3: PVE answers 500",
		StepList: []apiv1.JournalStep{
			{Title: "Switch the entry off", How: "PUT /storage/usb1 disable=1, with PVE's digest", Verify: "read storage.cfg again", Undo: "switch it on again", Undoable: true, Former: "usb1: type dir, path /mnt/pve/usb1", Begun: true, Done: true, BegunAt: &begun, EndedAt: &ended},
			{Title: "Remove the entry from PVE", How: "DELETE /storage/usb1", Verify: "read storage.cfg again", Begun: true, BegunAt: &ended, EndedAt: &ended, Error: "PVE answers 500"},
			{Title: "Remove the mount point", How: "rmdir /mnt/pve/usb1", Verify: "it is gone", Undo: "make it again", Undoable: true},
		},
	}
	socket := answers{"GET /v1/journal/3": envelopeOf(apiv1.KindJournalReport, []apiv1.JournalItem{entry})}.start(t)
	code, stdout, _ := labctl(t, socket, "journal", "3")
	if code != ExitOK {
		t.Errorf("exit %d", code)
	}
	golden(t, "journal-entry", stdout)
}

package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/notify"
)

// Notifications tells people of findings; a *notify.Center.
type Notifications interface {
	Statuses() []notify.Status
	// Test sends a test message to the named targets, all without a name, and returns a name that no target has.
	Test(ctx context.Context, names []string) (results []notify.Result, unknown string)
}

// notifications answers GET /v1/notifications.
func (s *Server) notifications(w http.ResponseWriter, _ *http.Request) {
	var items []apiv1.NotificationItem
	for _, status := range s.Notifications.Statuses() {
		item := apiv1.NotificationItem{
			ID: status.Name, Kind: status.Kind, To: status.To, Pending: status.Pending, Sent: status.Sent, Failed: status.Failed, Failing: status.Failing,
			LastSuccess: when(status.LastSuccess), LastFailure: when(status.LastFailure),
		}
		if status.Err != nil {
			item.Error = status.Err.Error()
		}
		items = append(items, item)
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindNotificationReport, time.Now(), items, nil, nil))
}

// notifyTest answers POST /v1/notifications/test when every target has answered or had its time.
func (s *Server) notifyTest(w http.ResponseWriter, r *http.Request) {
	req, err := decodeBody[apiv1.NotificationTestRequest](r)
	if err != nil {
		s.fail(w, err)
		return
	}
	results, unknown := s.Notifications.Test(r.Context(), req.Targets)
	if unknown != "" {
		s.fail(w, &apiError{http.StatusNotFound, apiv1.ErrorNotFound, fmt.Sprintf("there is no notification target %q", unknown), "labctl notify list shows them; section [notify] of labd.toml names them"})
		return
	}
	var items []apiv1.NotificationTestItem
	for _, result := range results {
		item := apiv1.NotificationTestItem{ID: result.Name, To: result.To, OK: result.Err == nil, Seconds: result.Took.Seconds()}
		if result.Err != nil {
			item.Error = result.Err.Error()
		}
		items = append(items, item)
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindNotificationTest, time.Now(), items, nil, nil))
}

// when is a time for JSON: null for never.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

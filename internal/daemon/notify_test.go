package daemon

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	apiv1 "labd/api/v1"
)

// A reload exchanges the targets of notifications; a wrong section leaves them as they are.
func TestReloadOfNotifications(t *testing.T) {
	b := newBed(t, "[listen]\nmetrics = \"\"\n")
	b.start()
	targets := func() string {
		var report apiv1.Envelope[apiv1.NotificationItem]
		if code := b.get("/v1/notifications", &report); code != http.StatusOK {
			t.Fatalf("status %d", code)
		}
		out := ""
		for _, item := range report.Items {
			out += item.ID + " "
		}
		return out
	}
	if got := targets(); got != "mail " {
		t.Errorf("by default: %s", got)
	}
	file := filepath.Join(b.dir, "phone.url")
	if err := os.WriteFile(file, []byte("ntfy://127.0.0.1:1/secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	section := fmt.Sprintf("[listen]\nmetrics = \"\"\n[notify]\nwebhook_files = [%q]\n", file)
	for _, tt := range []struct{ text, want string }{
		{section, "mail phone "},
		{section + "min_severity = \"loud\"\n", "mail phone "},
		{section + "mail_to = []\n", "phone "},
		{"[listen]\nmetrics = \"\"\n", "mail "},
	} {
		b.write(tt.text)
		b.reload()
		if got := targets(); got != tt.want {
			t.Errorf("after a reload of\n%s%s, want %s", tt.text, got, tt.want)
		}
	}
}

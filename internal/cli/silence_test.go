package cli

import (
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
)

func TestSilence(t *testing.T) {
	at := time.Date(2026, 11, 30, 8, 0, 0, 0, time.Local)
	item := apiv1.SilenceItem{ID: "3", Code: "storage.down", Subject: "storage/pve1/nas", Reason: "moved\x1b[31m", Actor: "root", Created: at.AddDate(0, 0, -7), Until: at}
	report := envelopeOf(apiv1.KindSilenceReport, []apiv1.SilenceItem{item})
	socket := answers{"POST /v1/silences": report, "GET /v1/silences": report, "DELETE /v1/silences/3": report}.start(t)
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"both", []string{"storage.down", "storage/pve1/nas", "--for", "7d", "--reason", "moved"}, ExitOK, "Silent: storage.down storage/pve1/nas until 2026-11-30 08:00:00 (silence 3)."},
		{"list", []string{"list"}, ExitOK, `moved\x1b[31m`},
		{"remove", []string{"remove", "3"}, ExitOK, "No longer silent: storage.down storage/pve1/nas"},
		{"no duration", []string{"storage.down", "--reason", "x"}, ExitUsage, "--for and --reason"},
		{"no reason", []string{"storage.down", "--for", "1d"}, ExitUsage, "--for and --reason"},
		{"two codes", []string{"storage.down", "storage.masked", "--for", "1d", "--reason", "x"}, ExitUsage, "one of each"},
		{"nothing", []string{"--for", "1d", "--reason", "x"}, ExitUsage, "takes a finding's code"},
		{"bad duration", []string{"storage.down", "--for", "7", "--reason", "x"}, ExitUsage, "not a duration"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := labctl(t, socket, append([]string{"silence"}, tt.args...)...)
			if code != tt.code || !strings.Contains(stdout+stderr, tt.want) {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, tt.code, tt.want, stdout, stderr)
			}
		})
	}
}

func TestParseSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7d": 7 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute,
		"": 0, "d": 0, "-1d": 0, "0d": 0, "1.5d": 0, "99999999d": 0, "5ms": 0, "soon": 0,
	} {
		if got, err := parseSpan(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("parseSpan(%q) = %v, %v", text, got, err)
		}
	}
}

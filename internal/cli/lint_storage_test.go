package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	apiv1 "labd/api/v1"
)

var lintAnswer = apiv1.StorageConfig{
	File: "new.cfg", Major: 9, Digest: "d", WriteError: "unknown section type ''",
	Sections: map[string]apiv1.StorageProperties{
		"local": {"type": "dir", "content": []string{"backup", "iso"}, "path": "/var/lib/vz"},
		"nas\a": {"type": "nfs", "content": []string{"iso"}, "nodes": []string{"pve1", "pve2"}, "disable": 1},
		"usb1":  nil,
	},
	Order:    apiv1.SectionOrder{"local": 2, "usb1": 1, "nas\a": 4},
	Warnings: []string{"file new.cfg line 3 (section 'nas\x1b') - ignore config line: \tx"},
	Hazards: []apiv1.StorageHazard{
		{Code: "malformed-section", Effect: "blocks", Severity: "fail", Line: 1, Section: "usb1", Text: "PVE rejects storage usb1"},
		{Code: "comments", Effect: "harmless", Severity: "info", Line: 2, Text: "PVE keeps no comments"},
		{Code: "replaced-local", Effect: "loses", Severity: "warn", Section: "local", Text: "PVE puts its own local in its place"},
		{Code: "detached-line", Effect: "misreads", Severity: "warn", Line: 7, Section: "nas", Text: "it is meant for every node"},
	},
}

func TestLintStorage(t *testing.T) {
	written := "dir: local\n\tpath /var/lib/vz\n\n"
	clean := lintAnswer
	clean.Sections = map[string]apiv1.StorageProperties{"local": lintAnswer.Sections["local"]}
	clean.Order, clean.Warnings, clean.Hazards = apiv1.SectionOrder{"local": 1}, []string{}, []apiv1.StorageHazard{}
	clean.Writable, clean.WriteError, clean.Written = true, "", &written
	warned := clean
	warned.Hazards = lintAnswer.Hazards[3:]
	socket := answers{
		"POST /v1/storage-config":        envelopeOf(apiv1.KindStorageConfig, []apiv1.StorageConfig{lintAnswer}),
		"GET /v1/storage-config":         envelopeOf(apiv1.KindStorageConfig, []apiv1.StorageConfig{clean}),
		"GET /v1/storage-config?major=8": envelopeOf(apiv1.KindStorageConfig, []apiv1.StorageConfig{warned}),
	}.start(t)
	file := filepath.Join(t.TempDir(), "new.cfg")
	if err := os.WriteFile(file, []byte("dir: usb1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		code int
	}{
		{"lint-fail", []string{"lint-storage", file}, ExitFail},
		{"lint-fail-wide", []string{"lint-storage", "-o", "wide", file}, ExitFail},
		{"lint-fail-json", []string{"lint-storage", "-o", "json", "-"}, ExitFail},
		{"lint-clean", []string{"lint-storage"}, ExitOK},
		{"lint-clean-wide", []string{"lint-storage", "-o", "wide"}, ExitOK},
		{"lint-warn", []string{"lint-storage", "--pve", "8"}, ExitWarn},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := labctl(t, socket, tt.args...)
			if code != tt.code || stderr != "" {
				t.Errorf("exit %d, want %d; stderr %q", code, tt.code, stderr)
			}
			if strings.ContainsAny(stdout, "\x1b\x07") {
				t.Errorf("a control character reached the terminal:\n%q", stdout)
			}
			golden(t, tt.name, stdout)
		})
	}
}

func TestLintStorageRefuses(t *testing.T) {
	socket := answers{}.start(t)
	big := filepath.Join(t.TempDir(), "big.cfg")
	if err := os.WriteFile(big, make([]byte, apiv1.MaxStorageConfig+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"lint-storage", big}, ExitUsage, "longer than 1 MiB"},
		{[]string{"lint-storage", "/nonexistent/x.cfg"}, ExitError, "no such file"},
		{[]string{"lint-storage", "--pve", "7"}, ExitUsage, "8 or 9"},
		{[]string{"lint-storage", "a", "b"}, ExitUsage, "one FILE"},
	} {
		if code, _, stderr := labctl(t, socket, tt.args...); code != tt.code || !strings.Contains(stderr, tt.text) {
			t.Errorf("%v: exit %d, %q", tt.args, code, stderr)
		}
	}
}

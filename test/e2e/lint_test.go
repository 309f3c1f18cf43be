package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	apiv1 "labd/api/v1"
)

// A file is read without a daemon, and by anyone who can read it.
func TestLintStorageNeedsNeitherDaemonNorRoot(t *testing.T) {
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("../../internal/pve/testdata/storage_cfg/edge05-missing-required-path.cfg")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "labctl"), "--socket", "/nonexistent/labd.sock", "lint-storage", "-o", "json", "-")
	cmd.Stdin = strings.NewReader(string(data))
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != 4 {
		t.Fatalf("%v\n%s", err, out)
	}
	var answer apiv1.Envelope[apiv1.StorageConfig]
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Items) != 1 || answer.Kind != apiv1.KindStorageConfig {
		t.Fatalf("%v\n%s", err, out)
	}
	got := answer.Items[0]
	if usb1, ok := got.Sections["usb1"]; !ok || usb1 != nil || got.Writable || got.Sections["ok"]["vgname"] != "vg0" {
		t.Errorf("%+v", got)
	}
}

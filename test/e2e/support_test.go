package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// No secret of the host gets into a support bundle: not PVE's token, nor what lies below /etc/pve/priv, nor what the journal
// keeps for an undo, nor the address of a webhook.
func TestSupportBundle(t *testing.T) {
	l, d, _ := storageHost(t, "e2e-support")
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	const webhook = "telegram://123456789:AAF-planted-telegram@telegram?chats=1"
	planted := map[string]string{
		"/etc/labd/chat.url": "AAF-planted-telegram", "/etc/pve/priv/storage/pbs1.pw": "planted-password", "/etc/pve/priv/storage/pbs1.enc": "planted-encryption-key",
	}
	for file, secret := range planted {
		text := secret
		if strings.HasSuffix(file, ".url") {
			text = webhook
		}
		if err := l.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	startLabd(t, l, fixtureConfig+"[notify]\nwebhook_files = [\"/etc/labd/chat.url\"]\n")
	must(t, l, 0, "fix-storage", "usb1", "--yes", "--quiet")
	entry := l.Path("/var/lib/labd/journal/1.jsonl")
	data, err := os.ReadFile(entry)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(data, []byte(`"saved":{`), []byte(`"saved":{"planted":"planted-journal-key",`), 1)
	if bytes.Equal(changed, data) {
		t.Fatalf("nothing saved in the journal: %s", data)
	}
	if err := os.WriteFile(entry, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(l.Path("/etc/labd/token"))
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := strings.Cut(strings.TrimSpace(string(token)), "=")
	planted["the token"], planted["the journal"] = secret, "planted-journal-key"

	shown := must(t, l, 0, "support", "/root/bundle.tar.gz")
	all := shown + readBundle(t, l.Path("/root/bundle.tar.gz"))
	for where, secret := range planted {
		if secret == "" || strings.Contains(all, secret) {
			t.Errorf("the secret of %s is in the bundle", where)
		}
	}
	for _, kept := range []string{"nvme.not-ready", "Remove storage usb1", "/etc/labd/chat.url", `"id": "chat"`} {
		if !strings.Contains(all, kept) {
			t.Errorf("%q is not in the bundle:\n%s", kept, all)
		}
	}
}

// readBundle is everything in a bundle, in one piece.
func readBundle(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for in := tar.NewReader(zip); ; {
		header, err := in.Next()
		if err == io.EOF {
			return all.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(header.Name + "\n")
		if _, err := io.Copy(&all, in); err != nil {
			t.Fatal(err)
		}
	}
}

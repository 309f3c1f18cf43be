package storage

import (
	"strings"
	"testing"
)

// What a journal's reader may see of an entry that was removed holds none of its secrets.
func TestFormerEntryHoldsNoSecret(t *testing.T) {
	got := formerEntry(entryParams{ID: "vault"}, saved{
		Create:  map[string]string{"type": "cifs", "server": "nas", "share": "data", "username": "ana", "password": "hunter2", "options": "password=hunter3", "keyring": "hunter4"},
		Secrets: map[string][]byte{"storage/vault.pw": []byte("hunter5")}, Nodes: "pve1", Disabled: true,
	})
	if strings.Contains(got, "hunter") || got != "vault: type cifs, server nas, share data, nodes pve1, switched off" {
		t.Error(got)
	}
}

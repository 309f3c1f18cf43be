package pve

import (
	"errors"
	"testing"
	"time"
)

func TestWhyRefused(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct{ text, want string }{
		"well":         {"user:labd@pve:1:0::::::\ntoken:labd@pve!labd:0:0::\n", ""},
		"later":        {"user:labd@pve:1:1900000000::::::\ntoken:labd@pve!labd:1900000000:0::\n", ""},
		"no user":      {"user:root@pam:1:0::::::\n", "there is no user labd@pve"},
		"switched off": {"user:labd@pve:0:0::::::\ntoken:labd@pve!labd:0:0::\n", "the user labd@pve is switched off"},
		"user expired": {"user:labd@pve:1:1700000000::::::\ntoken:labd@pve!labd:0:0::\n", "the user labd@pve expired on 2023-11-14"},
		"no token":     {"user:labd@pve:1:0::::::\n", "there is no API token labd@pve!labd"},
		"expired":      {"user:labd@pve:1:0::::::\ntoken:labd@pve!labd:1700000000:0::\n", "the API token labd@pve!labd expired on 2023-11-14"},
	} {
		if got := ParseUserConfig([]byte(tt.text)).WhyRefused("labd@pve!labd", now); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestCheckRights(t *testing.T) {
	all := Permissions{"/storage": {"Datastore.Allocate": true}, "/nodes": {"Sys.Audit": true}}
	if err := CheckRights(all, "pve1"); err != nil {
		t.Error(err)
	}
	err := CheckRights(Permissions{"/nodes": {"Sys.Audit": true}}, "pve1")
	if !errors.Is(err, ErrNotPermitted) || err.Error() != "PVE does not let labd change storages: its API token lacks Datastore.Allocate on /storage" {
		t.Errorf("%v", err)
	}
	if err := CheckRights(Permissions{"/storage": {"Datastore.Allocate": false}, "/nodes/pve1": {"Sys.Audit": false}}, "pve1"); err != nil {
		t.Errorf("granted there and no deeper: %v", err)
	}
	if !errors.Is(TokenRefused("x"), ErrUnauthenticated) {
		t.Error("a token that is not taken is no ErrUnauthenticated")
	}
}

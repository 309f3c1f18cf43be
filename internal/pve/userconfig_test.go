package pve

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const userCfg = "user:root@pam:1:0::::::\ntoken:root@pam!dev:0:0::\n\n\npool:lab:lab pool:101:plain1,usb1:\npool:only::::\n\n\n" +
	"acl:1:/storage:stor@pve:PVEDatastoreAdmin:\nacl:0:/storage/usb1:none@pve!tok,@ops:PVEDatastoreUser:\n" +
	"acl:1:/storage/usb10:x@pve:PVEAuditor:\nacl:1\n"

func TestUserConfigOfStorage(t *testing.T) {
	acls, pools := ParseUserConfig([]byte(userCfg)).OfStorage("usb1")
	want := []ACL{{Path: "/storage/usb1", Subjects: []string{"none@pve!tok", "@ops"}, Roles: []string{"PVEDatastoreUser"}}}
	if diff := cmp.Diff(want, acls); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"lab"}, pools); diff != "" {
		t.Error(diff)
	}
}

func TestParseUserConfig(t *testing.T) {
	got := ParseUserConfig([]byte("user:labd@pve:1:0:::ana@example.net:of%3A labd::\nuser:off@pve:0:0::::::\nuser:\n" +
		"token:labd@pve!labd:1700000000:1:one%0Atwo:\ngroup:ops:a@pve,b@pve:%:\nrole:LabdTasks:Sys.Audit,VM.Audit:\nnonsense\n"))
	want := UserConfig{
		Users:  []User{{ID: "labd@pve", Enabled: true, Comment: "of: labd"}, {ID: "off@pve"}},
		Tokens: []Token{{ID: "labd@pve!labd", Expire: 1700000000, Privsep: true, Comment: "one\ntwo"}},
		Groups: []Group{{ID: "ops", Users: []string{"a@pve", "b@pve"}, Comment: "%"}},
		Roles:  []Role{{ID: "LabdTasks", Privileges: []string{"Sys.Audit", "VM.Audit"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	u := ParseUserConfig([]byte(userCfg))
	if !u.Grants("/storage", "stor@pve", "PVEDatastoreAdmin") || u.Grants("/storage/usb1", "@ops", "PVEDatastoreUser") {
		t.Error("only an ACL that propagates grants deeper paths")
	}
}

func FuzzParseUserConfig(f *testing.F) {
	f.Add([]byte(userCfg))
	f.Fuzz(func(_ *testing.T, data []byte) {
		ParseUserConfig(data).OfStorage("usb1")
	})
}

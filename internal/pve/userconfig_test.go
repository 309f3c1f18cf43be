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

func FuzzParseUserConfig(f *testing.F) {
	f.Add([]byte(userCfg))
	f.Fuzz(func(_ *testing.T, data []byte) {
		ParseUserConfig(data).OfStorage("usb1")
	})
}

package pve

import (
	"fmt"
	"slices"
	"testing"
)

func TestClusterPrefixes(t *testing.T) {
	for _, tt := range []struct{ file, text, want string }{
		{".members", `{"nodename":"pve1","nodelist":{"pve2":{"id":2,"ip":"192.0.2.2"},"pve1":{"id":1,"ip":"192.0.2.1"},"pve3":{"id":3}}}`, "[192.0.2.1/32 192.0.2.2/32]"},
		{".members", "nonsense", "[]"},
		{"corosync.conf", corosyncConf + "ring1_addr: 2001:db8::2\nring9_addr: 192.0.2.9\n", "[192.0.2.2/32 2001:db8::2/128]"},
		{"datacenter.cfg", "keyboard: de\nmigration: secure,network=10.1.2.3/24\nreplication: type=secure,network=fd00:1::/64\nmigration_unsecure: 1\n", "[10.1.2.0/24 fd00:1::/64]"},
		{"storage.cfg", "ring0_addr: 192.0.2.1\n", "[]"},
	} {
		if got := fmt.Sprint(ClusterPrefixes(tt.file, []byte(tt.text))); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.file, got, tt.want)
		}
	}
}

func FuzzClusterPrefixes(f *testing.F) {
	f.Add("corosync.conf", []byte(corosyncConf))
	f.Add("datacenter.cfg", []byte("migration: network=10.0.0.0/8"))
	f.Add(".members", []byte(`{"nodelist":{"a":{"ip":"::1"}}}`))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		for _, p := range ClusterPrefixes(name, data) {
			if !p.IsValid() || p != p.Masked() {
				t.Errorf("let through: %s", p)
			}
		}
	})
}

func TestStorageServers(t *testing.T) {
	const config = `nfs: nas
	server 192.168.20.10
	export /tank
	path /mnt/pve/nas

iscsi: san
	portal 192.168.30.1:3260
	target iqn.x

rbd: ceph
	monhost 10.5.0.1 10.5.0.2,[fd00::3]

cifs: named
	server nas.example
`
	var got []string
	for _, s := range StorageServers([]byte(config)) {
		got = append(got, s.Storage+" "+s.Address.String())
	}
	want := []string{"nas 192.168.20.10", "san 192.168.30.1", "ceph 10.5.0.1", "ceph 10.5.0.2", "ceph fd00::3"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

package storage

import (
	"strings"
	"testing"
)

// What each kind of storage lies on.
func TestLayers(t *testing.T) {
	_, r := look(t, world(t, cfg(usb1+`
lvmthin: thin
	thinpool data
	vgname pve
	content images

zfspool: tank
	pool tank/data
	content images

nfs: nas
	server 10.0.0.1
	export /x
	path /mnt/pve/nas
	content iso

dir: sub
	path /mnt/pve/usb1/below
	content iso
`)))
	for id, want := range map[string]string{
		"local": "mount /", "usb1": "uuid USB1, mount /mnt/pve/usb1", "sub": "uuid USB1, mount /mnt/pve/usb1", "thin": "lvm pve", "tank": "zfs tank", "nas": "",
	} {
		e, ok := r.Entry(id)
		var got []string
		for _, l := range e.Layers {
			got = append(got, l.String())
		}
		if !ok || strings.Join(got, ", ") != want {
			t.Errorf("%s: %v, want %s", id, got, want)
		}
	}
}

package storage

import "testing"

// What each kind of storage lies on.
func TestBacking(t *testing.T) {
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
	for id, want := range map[string]Backing{
		"local": {Point: "/"}, "usb1": {Point: "/mnt/pve/usb1"}, "sub": {Point: "/mnt/pve/usb1"}, "thin": {Group: "pve"}, "tank": {Pool: "tank"}, "nas": {},
	} {
		e, ok := r.Entry(id)
		if got := r.Backing(e); !ok || got != want {
			t.Errorf("%s: %+v, want %+v", id, got, want)
		}
	}
	if got := r.Backing(Entry{}); got != (Backing{}) {
		t.Errorf("an entry without section: %+v", got)
	}
}

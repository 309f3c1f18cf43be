package pve

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// brief writes references one per line.
func brief(refs []Reference) string {
	var b strings.Builder
	for _, r := range refs {
		fmt.Fprintf(&b, "%s:%d [%s] %s: %s\n", r.File, r.Line, r.Section, r.Key, r.Grade)
	}
	return b.String()
}

func TestReferences(t *testing.T) {
	fsys := fstest.MapFS{
		"nodes/pve1/qemu-server/100.conf": file("#scsi9: usb1:vm-100-disk-9\nscsi0: usb1:vm-100-disk-0,size=32G\n" +
			"scsi1: usb10:vm-100-disk-1,size=1G\nscsi2: file=usb1:100/vm-100-disk-2.qcow2\n" +
			"cdrom: usb1:iso/debian.iso,media=cdrom,size=1K\nide0: usb1:vm-100-cloudinit,media=cdrom\nide3: none,media=cdrom\n" +
			"unused0: usb1:vm-100-disk-3\nhookscript: usb1:snippets/x.pl\nvmstatestorage: usb1\n" +
			"cicustom: user=usb1:snippets/u.yaml,meta=usb1:snippets/m.yaml\nargs: -drive file=/mnt/pve/usb1/raw.img\n" +
			"net0: virtio=usb1:00,bridge=vmbr0\nname: usb1:x\nbogus line\n\n" +
			"[PENDING]\nscsi3: usb1:vm-100-disk-4\ndelete: scsi0\n\n" +
			"[before]\nscsi0: usb1:vm-100-disk-0\nvmstate: usb1:vm-100-state-before\nide2: usb1:iso/debian.iso,media=cdrom\n\n" +
			"[special:fleecing]\nfleecing-images: usb1:vm-100-fleece-0,usb1:vm-100-fleece-1\n"),
		"nodes/gone/lxc/101.conf": file("rootfs: local:101/a.raw,size=4G\nmp0: usb1:subvol-101-disk-1,mp=/data\n" +
			"mp1: /mnt/pve/usb1/dir,mp=/x\nmp2: /mnt/pve/usb10,mp=/y\nlxc.mount.entry = /mnt/pve/usb1 data none bind 0 0\n" +
			"unused1: usb1:subvol-101-disk-2\n"),
		"nodes/pve1/lxc/notes.txt": file("rootfs: usb1:x\n"),
		"jobs.cfg": file("vzdump: backup-1\n\tschedule sun 01:00\n\tstorage usb1\n\tfleecing enabled=1,storage=usb1\n\n" +
			"vzdump: backup-2\n\tstorage usb10\n\n"),
		"vzdump.cron": file("0 2 * * 6 root vzdump --storage usb1 --all 1\n0 3 * * 6 root vzdump 100 --dumpdir=/mnt/pve/usb1/x\n"),
		"storage.cfg": file("dir: usb1\n\tpath /mnt/pve/usb1\n\ndir: nested\n\tpath /mnt/pve/usb1//sub/\n\n" +
			"lvm: onbase\n\tvgname vg\n\tbase usb1:0.0.0.scsi\n\n"),
		"mapping/directory.cfg": file("share\n\tmap node=pve1,path=/mnt/pve/usb1/share\n"),
	}
	refs, err := references(fsys, "usb1", "/mnt/pve/usb1/")
	if err != nil {
		t.Fatal(err)
	}
	want := `jobs.cfg:3 [backup-1] storage: fixable
jobs.cfg:4 [backup-1] fleecing: fixable
mapping/directory.cfg:2 [share] map: block
nodes/gone/lxc/101.conf:2 [] mp0: block
nodes/gone/lxc/101.conf:3 [] mp1: block
nodes/gone/lxc/101.conf:5 [] lxc.mount.entry: block
nodes/gone/lxc/101.conf:6 [] unused1: fixable
nodes/pve1/qemu-server/100.conf:2 [] scsi0: block
nodes/pve1/qemu-server/100.conf:4 [] scsi2: block
nodes/pve1/qemu-server/100.conf:5 [] ide2: fixable
nodes/pve1/qemu-server/100.conf:6 [] ide0: block
nodes/pve1/qemu-server/100.conf:8 [] unused0: fixable
nodes/pve1/qemu-server/100.conf:9 [] hookscript: fixable
nodes/pve1/qemu-server/100.conf:10 [] vmstatestorage: fixable
nodes/pve1/qemu-server/100.conf:11 [] cicustom: fixable
nodes/pve1/qemu-server/100.conf:12 [] args: block
nodes/pve1/qemu-server/100.conf:18 [PENDING] scsi3: block
nodes/pve1/qemu-server/100.conf:22 [before] scsi0: block
nodes/pve1/qemu-server/100.conf:23 [before] vmstate: block
nodes/pve1/qemu-server/100.conf:24 [before] ide2: block
nodes/pve1/qemu-server/100.conf:27 [special:fleecing] fleecing-images: block
storage.cfg:5 [nested] path: block
storage.cfg:9 [onbase] base: block
vzdump.cron:1 [] storage: fixable
vzdump.cron:2 [] dumpdir: fixable
`
	if diff := cmp.Diff(want, brief(refs)); diff != "" {
		t.Error(diff)
	}
}

// references are those to one storage.
func references(fsys FS, storageID, path string) ([]Reference, error) {
	x, err := ReadReferences(fsys)
	return x.Of(storageID, path), err
}

// failingFS cannot read one file.
type failingFS struct {
	fstest.MapFS
	name string
}

func (f failingFS) ReadFile(name string) ([]byte, error) {
	if name == f.name {
		return nil, fs.ErrPermission
	}
	return f.MapFS.ReadFile(name)
}

func TestReferencesReportWhatCouldNotBeRead(t *testing.T) {
	for _, name := range []string{"jobs.cfg", "nodes/pve1/lxc/100.conf"} {
		_, err := references(failingFS{fstest.MapFS{name: file("x")}, name}, "usb1", "")
		if err == nil || !strings.Contains(err.Error(), "permission") {
			t.Errorf("%s unreadable: error = %v", name, err)
		}
	}
}

func TestReferencesOfPoolsAndLocks(t *testing.T) {
	fsys := fstest.MapFS{
		"storage.cfg": file("zfspool: tank\n\tpool tank\n\nzfspool: vms\n\tpool tank/vm\n\nzfspool: other\n\tpool tank2\n\n" +
			"rbd: ceph\n\tpool tank/x\n\n"),
		"nodes/pve1/lxc/100.conf": file("lock: backup\nrootfs: tank:subvol-100-disk-0,size=1G\n"),
	}
	refs, err := references(fsys, "tank", "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("nodes/pve1/lxc/100.conf:2 [] rootfs: block\nstorage.cfg:5 [vms] pool: block\n", brief(refs)); diff != "" {
		t.Error(diff)
	}
	if refs[0].Lock != "backup" {
		t.Errorf("lock = %q", refs[0].Lock)
	}
	if refs, _ := references(fsys, "vms", ""); len(refs) != 0 {
		t.Errorf("a parent counts as a reference: %s", brief(refs))
	}
}

func TestVzdumpReferences(t *testing.T) {
	got := VzdumpReferences([]byte("# storage: usb1\nstorage: usb1\nfleecing: enabled=1,storage=usb1\ntmpdir: /mnt/pve/usb1/tmp\n"),
		"usb1", "/mnt/pve/usb1")
	want := "/etc/vzdump.conf:2 [] storage: fixable\n/etc/vzdump.conf:3 [] fleecing: fixable\n/etc/vzdump.conf:4 [] tmpdir: fixable\n"
	if diff := cmp.Diff(want, brief(got)); diff != "" {
		t.Error(diff)
	}
}

func TestVolumeStorage(t *testing.T) {
	for volid, want := range map[string]string{
		"usb1:vm-100-disk-0": "usb1", "usb1:100/a.qcow2": "usb1", "a:b:c": "", "us.b_1-x:y": "us.b_1-x",
		"/dev/sda": "", "none": "", "usb1:": "", "1usb:x": "", "usb-:x": "",
	} {
		if got, _ := VolumeStorage(volid); got != want {
			t.Errorf("VolumeStorage(%q) = %q, want %q", volid, got, want)
		}
	}
}

func FuzzParseGuestConfig(f *testing.F) {
	f.Add([]byte("scsi0: usb1:vm-100-disk-0,size=32G\n[snap]\nvmstate: a:b\n[PENDING]\n"))
	f.Add([]byte("lxc.x = y\n[\n[]\nmp0: /a,mp=/b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range []GuestKind{QEMU, LXC} {
			c := ParseGuestConfig(kind, data)
			if c.Live() == nil {
				t.Fatal("no live section")
			}
			x := &ReferenceIndex{byID: map[string][]Reference{}}
			x.addGuest(&Guest{Kind: kind, Config: c})
			x.Of("usb1", "/mnt/pve/usb1")
		}
	})
}

func FuzzReferenceFiles(f *testing.F) {
	f.Add([]byte("vzdump: x\n\tstorage usb1\n"), []byte("0 2 * * 6 root vzdump --storage usb1\n"))
	f.Add([]byte("share\n\tmap path=/a\n"), []byte("#vzdump --\n"))
	f.Fuzz(func(_ *testing.T, a, b []byte) {
		x := &ReferenceIndex{byID: map[string][]Reference{}}
		x.addJobs("jobs.cfg", a)
		x.addCron("vzdump.cron", b)
		x.addStorages("storage.cfg", a)
		x.addMappings("mapping/directory.cfg", b)
		x.Of("usb1", "/mnt")
		VzdumpReferences(a, "usb1", "/mnt")
	})
}

func FuzzCluster(f *testing.F) {
	f.Add([]byte(corosyncConf), []byte(`{"nodename":"pve1","nodelist":{"pve1":{"id":1}}}`))
	f.Add([]byte("}\n}\nnodelist {\nnode {\n}\n"), []byte("null"))
	f.Fuzz(func(_ *testing.T, corosync, members []byte) {
		ParseCorosyncNodes(corosync)
		_, _ = ParseMembers(members)
	})
}

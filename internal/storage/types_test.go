package storage

import (
	"strings"
	"testing"

	"labd/internal/finding"
)

// What the programs print: LVM 2.03.16 and OpenZFS 2.2, on hosts where a disk was pulled.
const (
	vgWhole   = `{"report":[{"vg":[{"vg_name":"vgdata", "vg_attr":"wz--n-"},{"vg_name":"pve", "vg_attr":"wz--n-"}]}]}`
	vgPartial = `{"report":[{"vg":[{"vg_name":"vgdata", "vg_attr":"wz-pn-"},{"vg_name":"pve", "vg_attr":"wz--n-"}]}]}`
	vgAbsent  = `{"report":[{"vg":[{"vg_name":"pve", "vg_attr":"wz--n-"}]}]}`
	pvWhole   = `{"report":[{"pv":[{"pv_name":"/dev/sdb", "vg_name":"vgdata", "pv_missing":""},{"pv_name":"/dev/sda3", "vg_name":"pve", "pv_missing":""}]}]}`
	pvPartial = `{"report":[{"pv":[{"pv_name":"/dev/sdb", "vg_name":"vgdata", "pv_missing":""},{"pv_name":"[unknown]", "vg_name":"vgdata", "pv_missing":"missing"}]}]}`
	pvAbsent  = `{"report":[{"pv":[{"pv_name":"/dev/sda3", "vg_name":"pve", "pv_missing":""}]}]}`
	lvWhole   = `{"report":[{"lv":[{"vg_name":"vgdata", "lv_name":"thin", "lv_attr":"twi-aotz--"},{"vg_name":"pve", "lv_name":"root", "lv_attr":"-wi-ao----"}]}]}`
)

// lvmTools are vgs, pvs and lvs. unfiltered is what pvs prints without LVM's filters.
func lvmTools(vgs, pvs, lvs, unfiltered string) string {
	return "\n-- bin/vgs --\n#!/bin/sh\necho '  WARNING: VG is missing a PV' >&2\ncat <<'E'\n" + vgs + "\nE\n" +
		"-- bin/pvs --\n#!/bin/sh\ncase \"$*\" in *use_devicesfile=0*) cat <<'E'\n" + unfiltered + "\nE\n;; *) cat <<'E'\n" + pvs + "\nE\n;; esac\n" +
		"-- bin/lvs --\n#!/bin/sh\ncat <<'E'\n" + lvs + "\nE\n-- bin/cat -> /bin/cat --\n"
}

// zfsTools are zpool and zfs: the pools that are imported, what a scan finds, and the datasets that are there.
func zfsTools(list, scan, datasets string) string {
	status := "0"
	if strings.HasPrefix(scan, "no pools") {
		status = "1"
	}
	return "\n-- bin/zpool --\n#!/bin/sh\ncase $1 in list) cat <<'E'\n" + list + "E\n;; import) cat <<'E'\n" + scan + "E\nexit " + status + ";; *) exit 9;; esac\n" +
		"-- bin/zfs --\n#!/bin/sh\nshift 4\nrc=0\nfor d in \"$@\"; do case ' " + datasets + " ' in *\" $d \"*) echo \"$d\";; *) echo \"cannot open '$d': dataset does not exist\" >&2; rc=1;; esac; done\nexit $rc\n-- bin/cat -> /bin/cat --\n"
}

const importScan = `   pool: tank
     id: 15615230034423421234
  state: UNAVAIL
status: One or more devices are missing from the system.
 action: The pool cannot be imported. Attach the missing
	devices and try again.
 config:

	tank                     UNAVAIL  insufficient replicas
	  ata-WDC_WD40_1         UNAVAIL

   pool: other pool
     id: 1
  state: ONLINE
 action: The pool can be imported using its name or numeric identifier.
 config:

	other pool  ONLINE
`

func TestVerdictsByType(t *testing.T) {
	lvm := cfg("lvm: usb1\n\tvgname vgdata\n\tcontent images\n\tnodes pve1\n\n")
	thin := cfg("lvmthin: usb1\n\tvgname vgdata\n\tthinpool thin\n\tcontent images\n\tnodes pve1\n\n")
	zfs := cfg("zfspool: usb1\n\tpool tank\n\tcontent images\n\tnodes pve1\n\n")
	dataset := cfg("zfspool: usb1\n\tpool tank/vm\n\tcontent images\n\tnodes pve1\n\n")
	whole := lvmTools(vgWhole, pvWhole, lvWhole, pvWhole)
	absent := lvmTools(vgAbsent, pvAbsent, lvWhole, pvAbsent)
	crypt := "\n-- etc/crypttab --\ncryptusb /dev/disk/by-partuuid/P1 none luks\n-- dev/disk/by-partuuid/P1 --\n"
	noPools := zfsTools("rpool\tONLINE\n", "no pools available to import\n", "")
	mounted := func(typeAndSource, at string) string {
		return unmounted + "30 20 0:50 / " + at + " rw - " + typeAndSource + " rw\n"
	}
	nfs := cfg("nfs: usb1\n\tserver 192.0.2.1\n\texport /x\n\tpath /mnt/pve/usb1\n\n")
	for _, tt := range []struct {
		name    string
		patches []string
		want    string
	}{
		{"lvm whole", []string{lvm, whole}, "ok"},
		{"lvm partial", []string{lvm, lvmTools(vgPartial, pvPartial, lvWhole, pvPartial)}, "down storage.down"},
		{"lvm absent", []string{lvm, absent}, "gone storage.vg-gone"},
		{"lvm absent, switched off", []string{strings.Replace(lvm, "\tnodes", "\tdisable\n\tnodes", 1), absent}, "gone storage.vg-gone"},
		{"lvm behind a filter", []string{lvm, lvmTools(vgAbsent, pvAbsent, lvWhole, pvWhole)}, "down storage.down"},
		{"lvm with a disk that vgs does not show", []string{lvm, lvmTools(vgAbsent, pvWhole, lvWhole, pvWhole)}, "ok"},
		{"lvm absent, perhaps in a locked disk", []string{lvm, absent, crypt}, "unknown storage.unknown"},
		{"lvm on iSCSI", []string{strings.Replace(lvm, "\tnodes", "\tbase san:0.0.1.scsi-1\n\tnodes", 1), absent}, "down storage.down"},
		{"lvm shared", []string{strings.Replace(lvm, "\tnodes", "\tshared 1\n\tnodes", 1), absent}, "down storage.down"},
		{"lvm without programs", []string{lvm}, "unknown storage.unknown"},
		{"lvm fails", []string{lvm, "\n-- bin/vgs --\n#!/bin/sh\necho 'Failed to find sysfs mount point' >&2\nexit 5\n"}, "unknown storage.unknown"},
		{"lvm prints nonsense", []string{lvm, lvmTools("VG #PV", pvWhole, lvWhole, pvWhole)}, "unknown storage.unknown"},
		{"thin pool active", []string{thin, whole}, "ok"},
		{"thin pool not active", []string{thin, lvmTools(vgWhole, pvWhole, strings.Replace(lvWhole, "twi-aotz--", "twi---tz--", 1), pvWhole)}, "down storage.down"},
		{"thin pool full", []string{thin, lvmTools(vgWhole, pvWhole, strings.Replace(lvWhole, "twi-aotz--", "twi-aotzD-", 1), pvWhole)}, "down storage.down"},
		{"thin pool partial", []string{thin, lvmTools(vgPartial, pvPartial, strings.Replace(lvWhole, "twi-aotz--", "twi-aotzp-", 1), pvPartial)}, "down storage.down"},
		{"partial group without the thin pool", []string{thin, lvmTools(vgPartial, pvPartial, `{"report":[{"lv":[]}]}`, pvPartial)}, "down storage.down"},
		{"a volume that is no thin pool", []string{thin, lvmTools(vgWhole, pvWhole, strings.Replace(lvWhole, "twi-aotz--", "-wi-a-----", 1), pvWhole)}, "down storage.down"},
		{"thin pool missing in a whole group", []string{thin, lvmTools(vgWhole, pvWhole, `{"report":[{"lv":[]}]}`, pvWhole)}, "gone storage.vg-gone"},
		{"thin pool of an absent group", []string{thin, absent}, "gone storage.vg-gone"},
		{"pool online", []string{zfs, zfsTools("tank\tONLINE\n", "", "")}, "ok"},
		{"pool degraded", []string{zfs, zfsTools("tank\tDEGRADED\n", "", "")}, "ok"},
		{"pool suspended", []string{zfs, zfsTools("tank\tSUSPENDED\n", "", "")}, "down storage.down"},
		{"pool unavailable", []string{zfs, zfsTools("tank\tUNAVAIL\n", "", "")}, "down storage.down"},
		{"pool not imported", []string{zfs, zfsTools("rpool\tONLINE\n", importScan, "")}, "down storage.down"},
		{"pool gone", []string{zfs, noPools}, "gone storage.pool-gone"},
		{"pool gone, other pools found", []string{zfs, zfsTools("", strings.Replace(importScan, "pool: tank", "pool: tank2", 1), "")}, "gone storage.pool-gone"},
		{"pool perhaps in a locked disk", []string{zfs, noPools, crypt}, "unknown storage.unknown"},
		{"scan fails", []string{zfs, "\n-- bin/zpool --\n#!/bin/sh\n[ $1 = list ] && exit 0\necho 'cannot open /dev/zfs' >&2\nexit 1\n"}, "unknown storage.unknown"},
		{"zfs fails", []string{zfs, "\n-- bin/zpool --\n#!/bin/sh\nexit 1\n"}, "unknown storage.unknown"},
		{"zfs without programs", []string{zfs}, "unknown storage.unknown"},
		{"dataset there", []string{dataset, zfsTools("tank\tONLINE\n", "", "tank/vm")}, "ok"},
		{"dataset missing", []string{dataset, zfsTools("tank\tONLINE\n", "", "tank/other")}, "gone storage.pool-gone"},
		{"dataset of a suspended pool", []string{dataset, zfsTools("tank\tSUSPENDED\n", "", "")}, "down storage.down"},
		{"datasets cannot be listed", []string{dataset, zfsTools("tank\tONLINE\n", "", "") + "\n-- bin/zfs --\n#!/bin/sh\necho 'internal error' >&2\nexit 1\n"}, "unknown storage.unknown"},
		{"nfs mounted", []string{nfs, mounted("nfs4 192.0.2.1:/x", "/mnt/pve/usb1")}, "ok"},
		{"nfs not mounted", []string{nfs, unmounted}, "down storage.down"},
		{"nfs, another thing is mounted", []string{nfs, mounted("ext4 /dev/sdb", "/mnt/pve/usb1")}, "down storage.down"},
		{"nfs switched off", []string{cfg("nfs: usb1\n\tserver 192.0.2.1\n\texport /x\n\tdisable\n\n"), unmounted}, "disabled"},
		{"cifs mounted", []string{cfg("cifs: usb1\n\tserver nas\n\tshare s\n\n"), mounted("cifs //nas/s", "/mnt/pve/usb1")}, "ok"},
		{"cephfs not mounted", []string{cfg("cephfs: usb1\n\tmonhost 192.0.2.1\n\n"), unmounted}, "down storage.down"},
		{"glusterfs on PVE 9", []string{cfg("glusterfs: usb1\n\tserver a\n\tvolume v\n\n"), unmounted}, "unsupported storage.unsupported"},
		{"rbd not asked", []string{cfg("rbd: usb1\n\tpool p\n\tmonhost 192.0.2.1\n\n")}, "unknown storage.unknown"},
		{"pbs not asked", []string{cfg("pbs: usb1\n\tserver 192.0.2.1\n\tdatastore d\n\n")}, "unknown storage.unknown"},
		{"esxi not asked", []string{cfg("esxi: usb1\n\tserver 192.0.2.1\n\tusername root\n\n")}, "unknown storage.unknown"},
		{"iscsi not asked", []string{cfg("iscsi: usb1\n\tportal 192.0.2.1\n\ttarget iqn.a\n\n")}, "unknown storage.unknown"},
		{"iscsidirect", []string{cfg("iscsidirect: usb1\n\tportal 192.0.2.1\n\ttarget iqn.a\n\n")}, "unknown storage.unknown"},
		{"zfs over iSCSI not asked", []string{cfg("zfs: usb1\n\tportal 192.0.2.1\n\ttarget iqn.a\n\tpool p\n\tblocksize 4k\n\tiscsiprovider LIO\n\n")}, "unknown storage.unknown"},
		{"btrfs mounted", []string{cfg("btrfs: usb1\n\tpath /mnt/pve/usb1\n\tis_mountpoint 1\n\n"), mountedFrom("btrfs /dev/sdb")}, "ok"},
		{"btrfs on ext4", []string{cfg("btrfs: usb1\n\tpath /mnt/pve/usb1\n\tis_mountpoint 1\n\n")}, "down storage.down"},
		{"btrfs pulled", []string{cfg("btrfs: usb1\n\tpath /mnt/pve/usb1\n\n"), pulled}, "gone storage.device-gone"},
		{"btrfs pulled, on a root of btrfs", []string{cfg("btrfs: usb1\n\tpath /mnt/pve/usb1\n\n"), pulled, strings.Replace(unmounted, "ext4", "btrfs", 1)}, "masked storage.masked"},
		{"by-id, gone", []string{pulled, unitOf("/dev/disk/by-id/ata-WD_1-part1"), "\n-- dev/disk/by-id/ata-WD_2 --\n"}, "gone storage.device-gone"},
		{"PARTUUID, gone", []string{pulled, unitOf("PARTUUID=abc"), "\n-- dev/disk/by-partuuid/def --\n"}, "gone storage.device-gone"},
		{"PARTLABEL, there", []string{unmounted, unitOf("PARTLABEL=data"), "\n-- dev/disk/by-partlabel/data --\n"}, "down storage.down"},
		{"a share in fstab that is not mounted", []string{unmounted, unitOf("nas:/x")}, "down storage.down"},
		{"a share in fstab, and the entry does not insist", []string{unmounted, unitOf("nas:/x"), cfg("dir: usb1\n\tpath /mnt/pve/usb1\n\n")}, "masked storage.masked"},
		{"a directory on a pool that is gone", []string{cfg("zfspool: pool1\n\tpool tank\n\n" + "dir: usb1\n\tpath /tank/dump\n\n"), noPools}, "down storage.down"},
		{"a directory on a share that is mounted", []string{cfg("nfs: nas\n\tserver a\n\texport /x\n\tpath /mnt/pve/nas\n\ndir: usb1\n\tpath /mnt/pve/nas/dump\n\n"), mounted("nfs4 a:/x", "/mnt/pve/nas")}, "ok"},
		{"malformed lvm", []string{cfg("lvm: usb1\n\tvgname vgdata\n\tcontent none\n\n")}, "malformed storage.malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, r := look(t, world(t, tt.patches...))
			e, ok := r.Entry("usb1")
			if !ok {
				t.Fatalf("no entry: %+v", r.Entries)
			}
			got := strings.TrimSpace(e.Verdict + " " + strings.Join(finding.Codes(r.Findings, r.Subject(e)), ","))
			if got != tt.want || e.Reason == "" {
				t.Errorf("got %q (%s), want %q", got, e.Reason, tt.want)
			}
			if kindOf(e.Type).remote() && (e.Verdict == VerdictGone || !e.CandidateAt.IsZero()) {
				t.Errorf("a network storage is %s and a candidate at %v", e.Verdict, e.CandidateAt)
			}
		})
	}
}

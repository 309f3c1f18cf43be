package hostmodel

import (
	"fmt"
	"slices"
	"strings"
)

// name gives the devices that the kernel has their names, in the order in which it finds them; before says that nothing
// has failed yet, so that entries are written with these names.
func (g *generator) name(before bool) {
	next := map[string]int{}
	number := func(kind string) int { n := next[kind]; next[kind]++; return n }
	for _, d := range g.h.devices {
		if !before && !d.visible() {
			d.Name = ""
			continue
		}
		switch d.Kind {
		case KindDisk:
			switch d.Bus {
			case NVMe, NVMeoF:
				d.Name = fmt.Sprintf("nvme%dn1", number("nvme"))
			case Virtio:
				d.Name = "vd" + string(rune('a'+number("vd")))
			case NBD:
				d.Name = fmt.Sprintf("nbd%d", number("nbd"))
			case RBD:
				d.Name = fmt.Sprintf("rbd%d", number("rbd"))
			default:
				d.Name = "sd" + string(rune('a'+number("sd")))
			}
		case KindPartition:
			d.Name = d.Lower[0].Name + partSeparator(d.Lower[0].Name) + fmt.Sprint(d.PartNumber)
		case KindMD:
			d.Name = fmt.Sprintf("md%d", 127-number("md"))
		case KindBcache:
			d.Name = fmt.Sprintf("bcache%d", number("bcache"))
		case KindDRBD:
			d.Name = fmt.Sprintf("drbd%d", number("drbd"))
		case KindZvol:
			d.Name = fmt.Sprintf("zd%d", 16*number("zd"))
		default:
			d.Name = fmt.Sprintf("dm-%d", number("dm"))
		}
		if before {
			d.OldName = d.Name
		}
	}
}

func partSeparator(disk string) string {
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		return "p"
	}
	return ""
}

// isFileSystem reports whether udev makes links by UUID and label for a signature (60-persistent-storage.rules:
// filesystem, other and crypto).
func (s Signature) isFileSystem() bool {
	return !slices.Contains([]string{"", "gpt", "unknown", "linux_raid_member", "LVM2_member", "DM_integrity", "drbd", "vdo", "bcache"}, s.Type)
}

// links are the links to a device below /dev that udev, LVM and mdadm make.
func (d *Device) links() []string {
	var out []string
	if d.Sig.isFileSystem() && d.Sig.UUID != "" {
		out = append(out, "disk/by-uuid/"+encode(d.Sig.UUID))
		if d.Sig.Label != "" {
			out = append(out, "disk/by-label/"+encode(d.Sig.Label))
		}
	}
	if d.PartUUID != "" {
		out = append(out, "disk/by-partuuid/"+d.PartUUID)
	}
	if d.PartLabel != "" {
		out = append(out, "disk/by-partlabel/"+encode(d.PartLabel))
	}
	switch d.Kind {
	case KindDisk, KindPartition:
		disk, part := d, ""
		if d.Kind == KindPartition {
			disk, part = d.Lower[0], fmt.Sprintf("-part%d", d.PartNumber)
		}
		for _, id := range disk.ids() {
			out = append(out, id+part)
		}
	case KindLV:
		out = append(out, "mapper/"+d.mapper(), d.Group.name+"/"+d.Volume, "disk/by-id/dm-name-"+d.mapper())
	case KindMD:
		out = append(out, "md/"+d.MDName, "disk/by-id/md-name-pve1:"+d.MDName, "disk/by-id/md-uuid-"+strings.ReplaceAll(d.ArrayUUID, "-", ":"))
	case KindZvol:
		out = append(out, "zvol/"+d.pool.name+"/"+d.Volume)
	case KindLUKS, KindIntegrity, KindVDO, KindMultipath:
		out = append(out, "mapper/"+d.DMName, "disk/by-id/dm-name-"+d.DMName)
	}
	return out
}

// mapper is the name of a logical volume below /dev/mapper (dm_build_dm_name).
func (d *Device) mapper() string {
	return strings.ReplaceAll(d.Group.name, "-", "--") + "-" + strings.ReplaceAll(d.Volume, "-", "--")
}

func (d *Device) ids() []string {
	switch d.Bus {
	case SATA:
		return []string{"disk/by-id/ata-DISK_" + d.Serial, "disk/by-id/wwn-0x5000" + d.Serial, "disk/by-path/pci-0000:00:17.0-ata-" + d.Serial[4:5]}
	case NVMe, NVMeoF:
		return []string{"disk/by-id/nvme-DRIVE_" + d.Serial, "disk/by-id/nvme-eui.0025" + d.Serial}
	case USB:
		return []string{"disk/by-id/usb-WD_Elements_" + d.Serial + "-0:0", "disk/by-path/pci-0000:00:14.0-usb-0:" + d.Serial[4:5] + ":1.0-scsi-0:0:0:0"}
	case Virtio:
		return []string{"disk/by-id/virtio-" + d.Serial}
	case ISCSI:
		return []string{"disk/by-id/scsi-36001405" + d.Serial, "disk/by-path/ip-192.0.2.7:3260-iscsi-iqn.2003-01.org.nas:" + d.Serial + "-lun-0"}
	case FC:
		return []string{"disk/by-id/wwn-0x6005" + d.Serial}
	}
	return nil
}

// encode writes a label as a file name (encode_devnode_name of systemd).
func encode(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > 127 || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("#+-.:=@_", r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x%02x`, r)
		}
	}
	return b.String()
}

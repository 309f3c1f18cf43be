package cli

import (
	"fmt"
	"regexp"
	"strings"

	apiv1 "labd/api/v1"
)

// idPatterns are the ids of file systems, namespaces, drives and cards, wherever they stand. The kernel writes some of
// them with blanks; names below /dev/disk/by-id hold model and serial number, or a world-wide name (udev's
// 60-persistent-storage.rules).
var idPatterns = []string{
	`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`,
	`(?-i:[0-9A-Za-z]{6}(?:-[0-9A-Za-z]{4}){5}-[0-9A-Za-z]{6})\b`, // LVM
	`[0-9a-f]{8}(?::[0-9a-f]{8}){3}\b`,                            // md
	`(?:eui|nguid|uuid|nvme|naa|t10)\.[0-9a-z][\w.-]{14,}`,
	`(?:dm-uuid|lvm-pv-uuid|md-uuid)-[\w.:+-]+`,
	`(?:wwn|nvme|scsi|ata|usb|mmc|virtio|ieee1394)-(?:[\w.:+-]*_[\w.:+-]+|(?:0x|eui\.|nvme\.)?[0-9a-f.]{12,})`,
	`(?:0x)?[0-9a-f]{16}\b`,
	`(?:0x)?[0-9a-f]{32}\b`,
	`(?:[0-9a-f]{2} ){7}(?:(?:[0-9a-f]{2} ){8})?[0-9a-f]{2}\b`,
	`[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b`, // of a network card
	`(?-i:[0-9A-F]{4}-[0-9A-F]{4})\b`,  // FAT
	`nqn\.[^\s,]+`,
}

var (
	ids = regexp.MustCompile(`(?i)\b(?:` + strings.Join(idPatterns, "|") + `)`)
	// byID is a name below /dev/disk/by-id, of whatever kind.
	byID = regexp.MustCompile(`(by-id/)[^\s"',;:)\]]+`)
)

// redact replaces what tells one machine from another in every string of a report: serial numbers, ids of namespaces and
// file systems, and the node's name. The same value gets the same replacement, so that the report still reads. The node's
// name is replaced only where it is known to be one: a node called pve is not what /etc/pve is called after.
func redact(report *apiv1.Envelope[apiv1.NVMeItem]) {
	clean := redactor(driveNames(report.Items))
	node := "storage/" + report.Node + "/"
	report.Node = "NODE"
	eachString(report, func(text string) string { return strings.ReplaceAll(clean(text), node, "storage/NODE/") })
}

// driveNames are the serial numbers and ids of drives, each with the word that stands for it.
func driveNames(items []apiv1.NVMeItem) map[string]string {
	names := map[string]string{}
	hide := func(value, word string) {
		if value != "" && names[value] == "" {
			names[value] = word
		}
	}
	for i, d := range items {
		if strings.HasPrefix(d.Subsystem, "nqn.") { // whole, since the pattern leaves what is behind a blank
			hide(d.Subsystem, fmt.Sprintf("SUBSYSTEM-%d", i+1))
		}
		serial := fmt.Sprintf("SERIAL-%d", i+1)
		hide(d.Serial, serial)
		if d.Memory != nil {
			hide(d.Memory.Serial, serial)
		}
		for j, incident := range d.Incidents {
			hide(incident.Serial, fmt.Sprintf("%s-%d", serial, j+1))
		}
		for j, n := range d.Namespaces {
			hide(n.WWID, fmt.Sprintf("WWID-%d-%d", i+1, j+1))
		}
	}
	return names
}

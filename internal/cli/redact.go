package cli

import (
	"fmt"
	"regexp"
	"strings"

	apiv1 "labd/api/v1"
)

// ids are UUIDs and the long hexadecimal ids of drives, wherever they stand; the kernel writes some of them with blanks.
var ids = regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b(?:eui|nguid|uuid|nvme)\.[0-9a-f][0-9a-f-]{15,}|\b[0-9a-f]{16}\b|\b[0-9a-f]{32}\b|\b(?:[0-9a-f]{2} ){7}(?:(?:[0-9a-f]{2} ){8})?[0-9a-f]{2}\b|\bnqn\.[^\s,]+|\bvfat [0-9a-f]{4}-[0-9a-f]{4}\b`)

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

package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	apiv1 "labd/api/v1"
)

// ids are UUIDs and the long hexadecimal ids of drives, wherever they stand.
var ids = regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b(?:eui|nguid|uuid|nvme)\.[0-9a-f][0-9a-f-]{15,}|\b[0-9a-f]{16}\b|\b[0-9a-f]{32}\b|\bnqn\.[^\s,]+`)

// redact replaces what tells one machine from another: serial numbers, ids of namespaces and file systems, and the
// node's name. The same value gets the same replacement, so that the report still reads.
func redact(report *apiv1.Envelope[apiv1.NVMeItem]) {
	var pairs []string
	hide := func(value, kind string, n int) {
		if len(value) > 2 && !slices.Contains(pairs, value) {
			pairs = append(pairs, value, fmt.Sprintf("%s-%d", kind, n))
		}
	}
	for i, item := range report.Items {
		hide(item.Serial, "SERIAL", i+1)
		if item.Memory != nil {
			hide(item.Memory.Serial, "SERIAL", i+1)
		}
		for j, incident := range item.Incidents {
			hide(incident.Serial, fmt.Sprintf("SERIAL-%d", i+1), j+1)
		}
		for j, ns := range item.Namespaces {
			hide(ns.WWID, fmt.Sprintf("WWID-%d", i+1), j+1)
		}
	}
	node := report.Node
	serials := strings.NewReplacer(pairs...)
	clean := func(text string) string {
		text = ids.ReplaceAllString(serials.Replace(text), "ID")
		if node != "" {
			text = strings.ReplaceAll(text, "storage/"+node+"/", "storage/NODE/")
		}
		return text
	}
	report.Node = "NODE"
	all := func(list []string) {
		for i := range list {
			list[i] = clean(list[i])
		}
	}
	all(report.Notes)
	for i := range report.Items {
		item := &report.Items[i]
		item.ID, item.Serial, item.HealthError = clean(item.ID), clean(item.Serial), clean(item.HealthError)
		if item.Memory != nil {
			item.Memory.Serial = clean(item.Memory.Serial)
			all(item.Memory.Contents)
		}
		for j := range item.Incidents {
			item.Incidents[j].Serial, item.Incidents[j].Text = clean(item.Incidents[j].Serial), clean(item.Incidents[j].Text)
		}
		all(item.Problems)
		for j := range item.Namespaces {
			ns := &item.Namespaces[j]
			ns.WWID = clean(ns.WWID)
			all(ns.Users)
			all(ns.Contents)
			all(ns.Storages)
		}
	}
	for i := range report.Findings {
		f := &report.Findings[i]
		f.Subject = clean(f.Subject)
		f.Title, f.Cause = clean(f.Title), clean(f.Cause)
		for j := range f.Evidence {
			f.Evidence[j].Text = clean(f.Evidence[j].Text)
		}
		for j := range f.Remedies {
			f.Remedies[j].Title = clean(f.Remedies[j].Title)
			all(f.Remedies[j].Commands)
		}
	}
}

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apiv1 "labd/api/v1"
)

// ids are UUIDs, the long hexadecimal ids of drives and the short ones of FAT, wherever they stand.
var ids = regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b(?:eui|nguid|uuid|nvme)\.[0-9a-f][0-9a-f-]{15,}|\b[0-9a-f]{16}\b|\b[0-9a-f]{32}\b|\bnqn\.[^\s,]+|\bvfat [0-9a-f]{4}-[0-9a-f]{4}\b`)

// redact replaces what tells one machine from another: serial numbers, ids of namespaces and file systems, and the
// node's name. The same value gets the same replacement, so that the report still reads. Every text of the report is looked
// at, so that a new field is no leak.
func redact(report *apiv1.Envelope[apiv1.NVMeItem]) error {
	serials := replacements(report)
	node := report.Node
	clean := func(text string) string {
		text = ids.ReplaceAllString(serials.Replace(text), "ID")
		if node != "" {
			text = strings.ReplaceAll(text, "storage/"+node+"/", "storage/NODE/")
		}
		return text
	}
	data, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("redact: %w", err)
	}
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // the numbers stay as they are written
	if err := decoder.Decode(&tree); err != nil {
		return fmt.Errorf("redact: %w", err)
	}
	if data, err = json.Marshal(everyText(tree, clean)); err != nil {
		return fmt.Errorf("redact: %w", err)
	}
	var out apiv1.Envelope[apiv1.NVMeItem]
	if err := json.Unmarshal(data, &out); err != nil {
		return fmt.Errorf("redact: %w", err)
	}
	*report = out
	report.Node = "NODE"
	return nil
}

// replacements are what stands for each value that is known to be secret.
func replacements(report *apiv1.Envelope[apiv1.NVMeItem]) *strings.Replacer {
	var pairs []string
	hide := func(value, kind string, n int) {
		if len(value) > 2 && !slices.Contains(pairs, value) {
			pairs = append(pairs, value, fmt.Sprintf("%s-%d", kind, n))
		}
	}
	for i, item := range report.Items {
		hide(item.Subsystem, "SUBSYSTEM", i+1) // before the serial number that it may hold
		hide(item.Serial, "SERIAL", i+1)
		if item.Memory != nil {
			hide(item.Memory.Serial, "SERIAL", i+1)
		}
		for j, incident := range item.Incidents {
			hide(incident.Serial, fmt.Sprintf("SERIAL-%d", i+1), j+1)
		}
		for j, ns := range item.Namespaces {
			for _, id := range []string{ns.WWID, ns.EUI, ns.NGUID, ns.UUID} {
				hide(id, fmt.Sprintf("ID-%d", i+1), j+1)
			}
		}
	}
	return strings.NewReplacer(pairs...)
}

// everyText applies clean to all texts in a tree of JSON values.
func everyText(tree any, clean func(string) string) any {
	switch v := tree.(type) {
	case string:
		return clean(v)
	case []any:
		for i := range v {
			v[i] = everyText(v[i], clean)
		}
	case map[string]any:
		for key := range v {
			v[key] = everyText(v[key], clean)
		}
	}
	return tree
}

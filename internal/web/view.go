package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	apiv1 "labd/api/v1"
)

// options are what the address of the page asks for.
type options struct {
	// Filter keeps what holds the text, in any case.
	Filter string
	// Kiosk leaves out what can be touched, for a screen on a wall.
	Kiosk   bool
	Version string
	Now     time.Time
}

// view is the page as values: everything that the templates print.
type view struct {
	options
	Node     string
	Title    string
	Worst    apiv1.Health
	Headline string
	Jobs     []job
	Findings []group
	// Hidden says what is not shown of the findings, and why.
	Hidden   string
	Drives   []drive
	Storages []storageRow
	Tree     *tree
	Past     []past
	// Notes say what could not be read, by part.
	Notes map[string]string
	// Empty says, by part, what labd looked at where it found nothing.
	Empty map[string]string
}

// job is one line of the head: how well a job of labd's is, and how old what it saw.
type job struct {
	Name, Summary string
	Health        apiv1.Health
	Seen          time.Time
}

// group is the findings with one cause and one remedy.
type group struct {
	apiv1.Finding
	Subjects []string
}

// past is a finding that went away.
type past struct {
	apiv1.HistoryItem
	Ended time.Time
}

// drive is a row of the drives, with its ladder.
type drive struct {
	apiv1.NVMeItem
	Address string
	Ladder  []step
	Users   []string
}

// step is one rung of a drive's ladder.
type step struct {
	Name   string
	Value  string
	Health apiv1.Health
	Broken bool
}

// storageRow is a row of the storages.
type storageRow struct {
	apiv1.StorageItem
	Node   string
	Health apiv1.Health
	Blocks int
}

// newView makes the page of what was read. It is a pure function.
func newView(r reports, o options) view {
	v := view{options: o, Node: r.Status.Node, Worst: apiv1.HealthOK, Notes: map[string]string{}, Empty: map[string]string{}}
	for path, part := range map[string]string{"/v1/status": "findings", "/v1/nvme": "drives", "/v1/storage": "storages", "/v1/tree": "tree", "/v1/history": "past"} {
		if err := r.Errors[path]; err != nil {
			v.Notes[part] = "This part cannot be shown: " + err.Error()
			v.Worst = worse(v.Worst, apiv1.HealthUnknown)
		}
	}
	for _, item := range r.Status.Items {
		v.Jobs = append(v.Jobs, job{Name: item.ID, Summary: item.Summary, Health: item.Verdict, Seen: item.ObservedAt})
		v.Worst = worse(v.Worst, item.Verdict)
	}
	v.findings(r.Status.Findings)
	v.drives(r.NVMe)
	v.storages(r.Storage)
	v.Tree = newTree(v.keepTree(r.Tree.Items))
	for _, item := range r.History.Items {
		if item.Cleared != nil && v.keep(item.Subject, item.Code, item.Title) && len(v.Past) < mostPast {
			v.Past = append(v.Past, past{item, *item.Cleared})
		}
	}
	v.empty(r)
	v.Title = v.Headline + " – " + cmp.Or(v.Node, "labd")
	return v
}

// mostPast is how many findings that went away are shown.
const mostPast = 20

func worse(a, b apiv1.Health) apiv1.Health {
	if b.Worse(a) {
		return b
	}
	return a
}

// keep reports whether something with these texts is within the filter.
func (v *view) keep(texts ...string) bool {
	want := strings.ToLower(strings.TrimSpace(v.Filter))
	return want == "" || slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), want) })
}

// findings groups what is active, counts it for the headline, and says what is hidden.
func (v *view) findings(all []apiv1.Finding) {
	count := map[apiv1.Severity]int{}
	hidden := map[apiv1.State]int{}
	place := map[string]int{}
	for _, f := range all {
		if f.State != "" && f.State != apiv1.StateActive {
			hidden[f.State]++
			continue
		}
		count[f.Severity]++
		v.Worst = worse(v.Worst, f.Severity.Health())
		if !v.keep(f.Subject, f.Code, f.Title, f.Cause) {
			continue
		}
		key := groupKey(f)
		if i, ok := place[key]; ok {
			v.Findings[i].Subjects = append(v.Findings[i].Subjects, f.Subject)
			continue
		}
		place[key] = len(v.Findings)
		v.Findings = append(v.Findings, group{f, []string{f.Subject}})
	}
	slices.SortStableFunc(v.Findings, func(a, b group) int { return b.Severity.Health().Compare(a.Severity.Health()) })
	var parts []string
	for _, s := range []struct {
		of        apiv1.Severity
		one, many string
	}{{apiv1.SeverityFail, "failure", "failures"}, {apiv1.SeverityWarn, "warning", "warnings"}, {apiv1.SeverityInfo, "note", "notes"}} {
		if n := count[s.of]; n > 0 {
			parts = append(parts, plural(n, s.one, s.many))
		}
	}
	v.Headline = strings.Join(parts, ", ")
	if v.Headline == "" {
		v.Headline = map[bool]string{true: "nothing is wrong", false: "not all is known"}[v.Worst == apiv1.HealthOK || v.Worst == apiv1.HealthInfo]
	}
	var why []string
	for _, s := range []struct {
		of   apiv1.State
		text string
	}{{apiv1.StatePending, "too young to be certain"}, {apiv1.StateConsequence, "a consequence of another"}, {apiv1.StateSilenced, "silenced"}} {
		if n := hidden[s.of]; n > 0 {
			why = append(why, fmt.Sprintf("%d %s", n, s.text))
		}
	}
	if len(why) > 0 {
		v.Hidden = "Not shown: " + strings.Join(why, ", ") + "."
		if hidden[apiv1.StatePending] > 0 && len(parts) == 0 {
			v.Headline = "nothing certain yet"
			v.Worst = worse(v.Worst, apiv1.HealthUnknown)
		}
	}
}

// groupKey is the same for findings that one block can tell.
func groupKey(f apiv1.Finding) string {
	parts := []string{f.Code, string(f.Severity), string(f.Confidence), f.Cause}
	for _, r := range f.Remedies {
		parts = append(parts, r.Title)
		parts = append(parts, r.Commands...)
	}
	return strings.Join(parts, "\x00")
}

// rungs are the rungs of the ladder, with their names on the page.
var rungs = []struct {
	rung apiv1.Rung
	name string
}{
	{apiv1.RungPCI, "PCI"}, {apiv1.RungDriver, "driver"}, {apiv1.RungController, "controller"}, {apiv1.RungNamespace, "namespace"}, {apiv1.RungBlock, "block"},
}

func (v *view) drives(r apiv1.Envelope[apiv1.NVMeItem]) {
	for _, item := range r.Items {
		d := drive{NVMeItem: item, Address: strings.TrimPrefix(item.ID, "nvme/"), Ladder: ladder(item)}
		for _, ns := range item.Namespaces {
			d.Users = append(d.Users, ns.Users...)
		}
		if v.keep(append([]string{item.ID, item.Model, item.Serial, item.Controller}, item.Storages...)...) {
			v.Drives = append(v.Drives, d)
		}
	}
	slices.SortStableFunc(v.Drives, func(a, b drive) int { return b.Verdict.Compare(a.Verdict) })
}

// ladder is a drive's way from the bus to the storage: what is below the broken rung works, what is above it is not reached.
func ladder(item apiv1.NVMeItem) []step {
	values := map[apiv1.Rung]string{
		apiv1.RungPCI: strings.TrimPrefix(item.ID, "nvme/"), apiv1.RungDriver: item.Driver, apiv1.RungController: strings.TrimSpace(item.Controller + " " + item.State),
	}
	var namespaces, devices []string
	for _, ns := range item.Namespaces {
		namespaces = append(namespaces, fmt.Sprintf("nsid %d", ns.NSID))
		if ns.Device != "" {
			devices = append(devices, ns.Device)
		}
	}
	values[apiv1.RungNamespace], values[apiv1.RungBlock] = strings.Join(namespaces, ", "), strings.Join(devices, ", ")
	var out []step
	broken := false
	for _, r := range rungs {
		s := step{Name: r.name, Value: values[r.rung], Health: apiv1.HealthOK}
		switch {
		case broken:
			s.Health, s.Value = apiv1.HealthUnknown, "–"
		case item.Rung == r.rung:
			broken, s.Broken, s.Health = true, true, worse(item.Verdict, apiv1.HealthInfo)
		}
		out = append(out, s)
	}
	last := step{Name: "storage", Health: apiv1.HealthInfo, Value: "none"}
	switch {
	case broken:
		last.Health, last.Value = apiv1.HealthUnknown, "–"
	case len(item.Storages) > 0:
		last.Health, last.Value = apiv1.HealthOK, strings.Join(names(item.Storages), ", ")
	}
	return append(out, last)
}

// names are the last parts of ids.
func names(ids []string) []string {
	var out []string
	for _, id := range ids {
		out = append(out, id[strings.LastIndexByte(id, '/')+1:])
	}
	return out
}

func (v *view) storages(r apiv1.Envelope[apiv1.StorageItem]) {
	for _, item := range r.Items {
		if !v.keep(item.ID, item.Type, item.Path, string(item.Verdict)) {
			continue
		}
		parts := strings.Split(item.ID, "/")
		row := storageRow{StorageItem: item, Health: item.Verdict.Health()}
		if len(parts) == 3 {
			row.Node = parts[1]
		}
		for _, ref := range item.References {
			if ref.Grade == apiv1.GradeBlock {
				row.Blocks++
			}
		}
		v.Storages = append(v.Storages, row)
	}
	slices.SortStableFunc(v.Storages, func(a, b storageRow) int { return b.Health.Compare(a.Health) })
}

// keepTree keeps what is within the filter, with what it hangs from and what hangs from it.
func (v *view) keepTree(items []apiv1.TreeItem) []apiv1.TreeItem {
	if strings.TrimSpace(v.Filter) == "" {
		return items
	}
	parents, keep := map[string]string{}, map[string]bool{}
	for _, item := range items {
		parents[item.ID] = item.Parent
		if keep[item.Parent] && parents[item.Parent] != "" || v.keep(item.ID, item.Name) {
			keep[item.ID] = true
		}
	}
	with := map[string]bool{}
	for id := range keep {
		for ; id != "" && !with[id]; id = parents[id] {
			with[id] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(items), func(i apiv1.TreeItem) bool { return !with[i.ID] })
}

// empty says what labd looked at where a part has nothing to show.
func (v *view) empty(r reports) {
	filtered := func(all int, what string) string {
		if all > 0 && strings.TrimSpace(v.Filter) != "" {
			return fmt.Sprintf("None of the %d %s holds %q.", all, what, v.Filter)
		}
		return ""
	}
	v.Empty["findings"] = cmp.Or(filtered(len(r.Status.Findings), "findings"), "Nothing is wrong with what labd watches.")
	if v.Worst == apiv1.HealthUnknown && v.Filter == "" {
		v.Empty["findings"] = "No finding, but not all could be looked at."
	}
	v.Empty["drives"] = cmp.Or(filtered(len(r.NVMe.Items), "drives"), "No NVMe function is on the PCI bus, and none is remembered. A drive that should be here: see the list in the firmware set-up first, then labctl check-nvme.")
	v.Empty["storages"] = cmp.Or(filtered(len(r.Storage.Items), "storages"), "storage.cfg has no entry for this node.")
	v.Empty["tree"] = cmp.Or(filtered(len(r.Tree.Items), "things"), "No LXC container runs on this node.")
	v.Empty["past"] = "No finding went away yet."
	for part, notes := range map[string][]string{"findings": r.Status.Notes, "drives": r.NVMe.Notes, "storages": r.Storage.Notes, "tree": r.Tree.Notes} {
		if len(notes) > 0 && v.Notes[part] == "" {
			v.Notes[part] = strings.Join(notes, " ")
		}
	}
}

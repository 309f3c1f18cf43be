package cli

import (
	"strings"

	apiv1 "labd/api/v1"
)

// supportReports are labd's answers that a support bundle is made of.
type supportReports struct {
	status   apiv1.Envelope[apiv1.StatusItem]
	nvme     apiv1.Envelope[apiv1.NVMeItem]
	storage  apiv1.Envelope[apiv1.StorageItem]
	networks apiv1.Envelope[apiv1.NetworkItem]
	history  apiv1.Envelope[apiv1.HistoryItem]
	journal  apiv1.Envelope[apiv1.JournalItem]
	targets  apiv1.Envelope[apiv1.NotificationItem]
	config   apiv1.Envelope[apiv1.ConfigItem]
}

// names are what tells this machine from others, each with the word that stands for it.
func (r *supportReports) names() map[string]string {
	names := driveNames(r.nvme.Items)
	names[r.status.Node] = "NODE"
	return names
}

func (r *supportReports) jobs() []supportJob {
	out := make([]supportJob, 0, len(r.status.Items))
	for _, i := range r.status.Items {
		out = append(out, supportJob{ID: i.ID, Verdict: i.Verdict, Summary: i.Summary, ObservedAt: i.ObservedAt})
	}
	return out
}

func (r *supportReports) records() []supportRecord {
	out := make([]supportRecord, 0, len(r.history.Items))
	for _, i := range r.history.Items {
		out = append(out, supportRecord{
			Code: i.Code, Subject: i.Subject, Severity: i.Severity, Title: i.Title, First: i.First, Since: i.Since, Last: i.Last,
			Cleared: i.Cleared, Episodes: i.Episodes,
		})
	}
	return out
}

func (r *supportReports) changes() []supportChange {
	out := make([]supportChange, 0, len(r.journal.Items))
	for _, i := range r.journal.Items {
		out = append(out, supportChange{
			ID: i.ID, Title: i.Title, State: i.State, Error: i.Error, UndoneBy: i.UndoneBy, Time: i.Time, Subjects: i.Subjects,
			StepsDone: i.StepsDone, Steps: i.Steps,
		})
	}
	return out
}

func (r *supportReports) notifications() []supportTarget {
	out := make([]supportTarget, 0, len(r.targets.Items))
	for _, i := range r.targets.Items {
		out = append(out, supportTarget{
			ID: i.ID, Kind: i.Kind, Error: i.Error, Pending: uint64(max(i.Pending, 0)), Sent: i.Sent, Failed: i.Failed, Failing: i.Failing, LastSuccess: i.LastSuccess,
		})
	}
	return out
}

// hiddenKeys are the keys of the configuration whose values name people and places.
var hiddenKeys = []string{"mail_to", "mail_from", "mail_server", "hosts", "api"}

// configuration is what is in force; with hide without the values that name people and places.
func (r *supportReports) configuration(hide bool) []supportConfig {
	var out []supportConfig
	for _, i := range r.config.Items {
		item := supportConfig{File: i.File, Error: i.Error, LoadedAt: i.LoadedAt, TriedAt: i.TriedAt}
		for line := range strings.Lines(scrub(i.Text)) {
			line = strings.TrimRight(line, "\n")
			key, _, _ := strings.Cut(line, "=")
			for _, hidden := range hiddenKeys {
				if hide && strings.TrimSpace(key) == hidden {
					line = hidden + " = " + masked
				}
			}
			item.Lines = append(item.Lines, line)
		}
		out = append(out, item)
	}
	return out
}

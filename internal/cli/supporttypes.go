package cli

import (
	"time"

	apiv1 "labd/api/v1"
)

// The types of this file are the allow-list of a support bundle: what is not a field here is not in it, whatever labd
// comes to answer. No field takes a value of storage.cfg, of a guest's configuration or of the journal beyond its titles.

// supportVersion is version.json.
type supportVersion struct {
	Labctl   string    `json:"labctl,omitempty"`
	Labd     string    `json:"labd,omitempty"`
	Kernel   string    `json:"kernel,omitempty"`
	Node     string    `json:"node,omitempty"`
	Made     time.Time `json:"made"`
	Redacted bool      `json:"redacted,omitempty"`
}

// supportJob is a line of status.json.
type supportJob struct {
	ID         string       `json:"id"`
	Verdict    apiv1.Health `json:"verdict"`
	Summary    string       `json:"summary,omitempty"`
	ObservedAt time.Time    `json:"observedAt"`
}

// supportFinding is a finding of findings.json.
type supportFinding struct {
	Code       string           `json:"code"`
	Severity   apiv1.Severity   `json:"severity,omitempty"`
	Subject    string           `json:"subject,omitempty"`
	State      apiv1.State      `json:"state,omitempty"`
	Title      string           `json:"title,omitempty"`
	Cause      string           `json:"cause,omitempty"`
	Confidence apiv1.Confidence `json:"confidence,omitempty"`
	Since      *time.Time       `json:"since,omitempty"`
	DependsOn  []string         `json:"dependsOn,omitempty"`
	Evidence   []string         `json:"evidence,omitempty"`
	Remedies   []string         `json:"remedies,omitempty"`
}

// supportRecord is an entry of history.json.
type supportRecord struct {
	Code     string         `json:"code"`
	Subject  string         `json:"subject,omitempty"`
	Severity apiv1.Severity `json:"severity,omitempty"`
	Title    string         `json:"title,omitempty"`
	First    time.Time      `json:"first"`
	Since    time.Time      `json:"since"`
	Last     time.Time      `json:"last"`
	Cleared  *time.Time     `json:"cleared,omitempty"`
	Episodes int            `json:"episodes,omitempty"`
}

// supportDrive is a function of nvme.json.
type supportDrive struct {
	ID          string             `json:"id"`
	Rung        apiv1.Rung         `json:"rung,omitempty"`
	Verdict     apiv1.Health       `json:"verdict"`
	PCIID       string             `json:"pciId,omitempty"`
	Vendor      string             `json:"vendor,omitempty"`
	Product     string             `json:"product,omitempty"`
	Chip        string             `json:"chip,omitempty"`
	Driver      string             `json:"driver,omitempty"`
	Controller  string             `json:"controller,omitempty"`
	State       string             `json:"state,omitempty"`
	Model       string             `json:"model,omitempty"`
	Serial      string             `json:"serial,omitempty"`
	Firmware    string             `json:"firmware,omitempty"`
	PowerState  string             `json:"powerState,omitempty"`
	ASPM        []string           `json:"aspm,omitempty"`
	Quirks      []string           `json:"quirks,omitempty"`
	Findings    []string           `json:"findings,omitempty"`
	Problems    []string           `json:"problems,omitempty"`
	Link        *apiv1.PCILink     `json:"link,omitempty"`
	Errors      *apiv1.PCIErrors   `json:"errors,omitempty"`
	Health      *apiv1.NVMeHealth  `json:"health,omitempty"`
	HealthError string             `json:"healthError,omitempty"`
	Missing     bool               `json:"missing,omitempty"`
	Namespaces  []supportNamespace `json:"namespaces,omitempty"`
	Incidents   []supportIncident  `json:"incidents,omitempty"`
}

type supportNamespace struct {
	Device    string   `json:"device,omitempty"`
	WWID      string   `json:"wwid,omitempty"`
	NSID      int      `json:"nsid,omitempty"`
	SizeBytes int64    `json:"sizeBytes"`
	ReadOnly  bool     `json:"readOnly,omitempty"`
	Contents  []string `json:"contents,omitempty"`
	Storages  []string `json:"storages,omitempty"`
}

type supportIncident struct {
	At     time.Time `json:"at"`
	Serial string    `json:"serial,omitempty"`
	Kind   string    `json:"kind,omitempty"`
	Text   string    `json:"text,omitempty"`
}

// supportStorage is an entry of storage.json; of its references only how many there are, by grade.
type supportStorage struct {
	ID          string               `json:"id"`
	Type        string               `json:"type,omitempty"`
	Path        string               `json:"path,omitempty"`
	Verdict     apiv1.StorageVerdict `json:"verdict"`
	Reason      string               `json:"reason,omitempty"`
	Refusal     string               `json:"refusal,omitempty"`
	CandidateAt *time.Time           `json:"candidateAt,omitempty"`
	References  map[string]int       `json:"references,omitempty"`
	Findings    []string             `json:"findings,omitempty"`
}

// supportNetwork is a network of networks.json.
type supportNetwork struct {
	ID       string               `json:"id"`
	Driver   string               `json:"driver,omitempty"`
	Bridge   string               `json:"bridge,omitempty"`
	Mode     apiv1.NetworkMode    `json:"mode,omitempty"`
	Verdict  apiv1.NetworkVerdict `json:"verdict"`
	Reason   string               `json:"reason,omitempty"`
	Subnets  []string             `json:"subnets,omitempty"`
	Route    []string             `json:"route,omitempty"`
	Rules    []string             `json:"rules,omitempty"`
	Findings []string             `json:"findings,omitempty"`
	Aliases  []string             `json:"aliases,omitempty"`
}

// supportChange is an entry of journal.json: its title and how it went.
type supportChange struct {
	ID        string             `json:"id"`
	Title     string             `json:"title,omitempty"`
	State     apiv1.JournalState `json:"state,omitempty"`
	Error     string             `json:"error,omitempty"`
	UndoneBy  string             `json:"undoneBy,omitempty"`
	Time      time.Time          `json:"time"`
	Subjects  []string           `json:"subjects,omitempty"`
	StepsDone int                `json:"stepsDone,omitempty"`
	Steps     int                `json:"steps,omitempty"`
}

// supportTarget is a line of notifications.json; not where messages go.
type supportTarget struct {
	ID          string     `json:"id"`
	Kind        string     `json:"kind,omitempty"`
	Error       string     `json:"error,omitempty"`
	Pending     uint64     `json:"pending,omitempty"`
	Sent        uint64     `json:"sent,omitempty"`
	Failed      uint64     `json:"failed,omitempty"`
	Failing     bool       `json:"failing,omitempty"`
	LastSuccess *time.Time `json:"lastSuccess,omitempty"`
}

// supportConfig is config.json. The configuration holds no secret: it names the files that do.
type supportConfig struct {
	File     string    `json:"file,omitempty"`
	Error    string    `json:"error,omitempty"`
	LoadedAt time.Time `json:"loadedAt"`
	TriedAt  time.Time `json:"triedAt"`
	Lines    []string  `json:"lines,omitempty"`
}

func supportFindings(list []apiv1.Finding) []supportFinding {
	out := make([]supportFinding, 0, len(list))
	for _, f := range list {
		item := supportFinding{
			Code: f.Code, Severity: f.Severity, Subject: f.Subject, State: f.State, Title: f.Title, Cause: f.Cause, Confidence: f.Confidence, Since: f.Since,
		}
		for _, d := range f.DependsOn {
			item.DependsOn = append(item.DependsOn, d.Code+" of "+d.Subject)
		}
		for _, e := range f.Evidence {
			item.Evidence = append(item.Evidence, e.Source+": "+e.Text)
		}
		for _, r := range f.Remedies {
			item.Remedies = append(item.Remedies, r.Title)
		}
		out = append(out, item)
	}
	return out
}

func supportDrives(list []apiv1.NVMeItem) []supportDrive {
	out := make([]supportDrive, 0, len(list))
	for _, d := range list {
		item := supportDrive{
			ID: d.ID, Rung: d.Rung, Verdict: d.Verdict, PCIID: d.PCIID, Vendor: d.Vendor, Product: d.Product, Chip: d.Chip, Driver: d.Driver,
			Controller: d.Controller, State: d.State, Model: d.Model, Serial: d.Serial, Firmware: d.Firmware, PowerState: d.PowerState,
			ASPM: d.ASPM, Quirks: d.Quirks, Findings: d.Findings, Problems: d.Problems, Link: d.Link, Errors: d.Errors,
			Health: d.Health, HealthError: d.HealthError, Missing: d.Missing,
		}
		for _, n := range d.Namespaces {
			item.Namespaces = append(item.Namespaces, supportNamespace{
				Device: n.Device, WWID: n.WWID, NSID: n.NSID, SizeBytes: n.SizeBytes, ReadOnly: n.ReadOnly, Contents: n.Contents, Storages: n.Storages,
			})
		}
		for _, i := range d.Incidents {
			item.Incidents = append(item.Incidents, supportIncident{At: i.At, Serial: i.Serial, Kind: i.Kind, Text: i.Text})
		}
		out = append(out, item)
	}
	return out
}

func supportStorages(list []apiv1.StorageItem) []supportStorage {
	out := make([]supportStorage, 0, len(list))
	for _, s := range list {
		item := supportStorage{
			ID: s.ID, Type: s.Type, Path: s.Path, Verdict: s.Verdict, Reason: s.Reason, Refusal: s.Refusal, CandidateAt: s.CandidateAt,
			References: map[string]int{}, Findings: s.Findings,
		}
		for _, r := range s.References {
			item.References[string(r.Grade)]++
		}
		out = append(out, item)
	}
	return out
}

func supportNetworks(list []apiv1.NetworkItem) []supportNetwork {
	out := make([]supportNetwork, 0, len(list))
	for _, n := range list {
		var aliases []string
		for _, a := range n.Aliases {
			aliases = append(aliases, a.Prefix+" for "+a.Subnet)
		}
		out = append(out, supportNetwork{
			Aliases: aliases, ID: n.ID, Driver: n.Driver, Bridge: n.Bridge, Mode: n.Mode, Verdict: n.Verdict, Reason: n.Reason,
			Subnets: n.Subnets, Route: n.Route, Rules: n.Rules, Findings: n.Findings,
		})
	}
	return out
}

package server

import (
	"net/http"
	"slices"

	apiv1 "labd/api/v1"
	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/storage"
)

func driveToAPI(d disk.Drive, findings []finding.Finding, storages *storage.Report) apiv1.NVMeItem {
	item := apiv1.NVMeItem{
		ID: string(d.Subject()), Rung: d.Rung, Verdict: d.Verdict, PCIID: d.PCIID(), Vendor: d.VendorName, Product: d.ProductName, Chip: d.Chip,
		Driver: d.Driver, Namespaces: []apiv1.NVMeNamespace{}, Findings: finding.Codes(findings, d.Subject()), Problems: d.Problems,
	}
	item.Link, item.Errors, item.PowerState, item.ASPM, item.Quirks = linkToAPI(d.Link), errorsToAPI(d.AER), d.Power.State, d.ASPM, d.Quirks
	if d.Port.Address != "" {
		item.Port = &apiv1.PCIPort{Address: d.Port.Address, Link: linkToAPI(d.Port.Link), Errors: errorsToAPI(d.Port.AER)}
	}
	c := d.Controller()
	if c == nil {
		return item
	}
	item.Controller, item.State, item.Model, item.Serial, item.Firmware = c.Name, c.State, c.Model, c.Serial, c.Firmware
	for _, ns := range c.Namespaces {
		item.Namespaces = append(item.Namespaces, apiv1.NVMeNamespace{
			Device: ns.Device, NSID: ns.NSID, SizeBytes: ns.SizeBytes, LogicalBlockSize: ns.LogicalBlockSize, ReadOnly: ns.ReadOnly,
			WWID: ns.WWID, Users: ns.Users, Storages: storagesOn(ns, storages),
		})
	}
	return item
}

// predict adds to each item what another kernel would make of the drive.
func predict(report *disk.Report, kernel string, items []apiv1.NVMeItem) error {
	release, err := disk.ParseRelease(kernel)
	if err != nil {
		return &apiError{http.StatusBadRequest, apiv1.ErrorUsage, "kernel: " + err.Error(), "write it as uname -r does: 6.8.12-4-pve"}
	}
	for i, p := range report.Predict(release) {
		items[i].Prediction = &apiv1.NVMePrediction{Kernel: release.Text, Outcome: p.Outcome, Reason: p.Reason, Confidence: string(p.Confidence)}
	}
	return nil
}

func linkToAPI(l disk.Link) *apiv1.PCILink {
	if l == (disk.Link{}) {
		return nil
	}
	return &apiv1.PCILink{CurrentSpeed: l.CurrentSpeed, MaxSpeed: l.MaxSpeed, CurrentWidth: l.CurrentWidth, MaxWidth: l.MaxWidth}
}

func errorsToAPI(a disk.AER) *apiv1.PCIErrors {
	if !a.Known {
		return nil
	}
	return &apiv1.PCIErrors{Correctable: a.Correctable, NonFatal: a.NonFatal, Fatal: a.Fatal}
}

// storagesOn joins a namespace with the storages whose path is one of its mounts.
func storagesOn(ns disk.Namespace, storages *storage.Report) []string {
	if storages == nil {
		return nil
	}
	var out []string
	for _, e := range storages.Entries {
		if e.Path != "" && slices.Contains(ns.Users, "mount "+e.Path) {
			out = append(out, string(storages.Subject(e)))
		}
	}
	return out
}

package server

import (
	"net/http"

	apiv1 "labd/api/v1"
	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/layer"
	"labd/internal/placement"
	"labd/internal/plan"
	"labd/internal/smart"
)

func driveToAPI(d disk.Drive, placed *placement.Placement) apiv1.NVMeItem {
	item := apiv1.NVMeItem{
		ID: string(d.Subject()), Rung: apiv1.Rung(d.Rung), Verdict: apiv1.Health(d.Verdict), PCIID: d.PCIID(), Vendor: d.VendorName, Product: d.ProductName, Chip: d.Chip,
		Driver: d.Driver, Namespaces: []apiv1.NVMeNamespace{}, Findings: finding.Codes(placed.Findings, d.Subject()), Problems: d.Problems,
	}
	item.Link, item.Errors, item.ASPM, item.Quirks = linkToAPI(d.Link), errorsToAPI(d.AER), d.ASPM, d.Quirks
	item.PowerState, item.PowerControl, item.RuntimeStatus, item.D3ColdAllowed = d.Power.State, d.Power.Control, d.Power.RuntimeStatus, d.Power.D3ColdAllowed
	item.DriverOverride = d.DriverOverride
	if d.Port.Address != "" {
		item.Port = &apiv1.PCIPort{Address: d.Port.Address, Link: linkToAPI(d.Port.Link), Errors: errorsToAPI(d.Port.AER)}
	}
	item.Storages = subjects(placed.OnDrive(d))
	item.Missing, item.Incidents = d.Missing, incidentsToAPI(d.Incidents)
	if k := d.Known; k != nil {
		item.Memory = &apiv1.NVMeMemory{Model: k.Model, Serial: k.Serial, First: k.First.UTC(), Last: k.Last.UTC(), Contents: layer.Texts(k.Contents)}
	}
	c := d.Controller()
	if c == nil {
		return item
	}
	item.Health = healthToAPI(d, c.Health)
	if c.Health.Err != nil {
		item.HealthError = c.Health.Err.Error()
	}
	item.Controller, item.State, item.Model, item.Serial, item.Firmware = c.Name, c.State, c.Model, c.Serial, c.Firmware
	item.Transport, item.Subsystem, item.ControllerID, item.Queues, item.HostMemory = c.Transport, c.Subsystem, c.ID, c.Queues, c.HostMemory.String()
	for _, ns := range c.Namespaces {
		item.Namespaces = append(item.Namespaces, apiv1.NVMeNamespace{
			Device: ns.Device, NSID: ns.NSID, SizeBytes: ns.SizeBytes, LogicalBlockSize: ns.LogicalBlockSize, ReadOnly: ns.ReadOnly,
			WWID: ns.WWID, EUI: ns.EUI, NGUID: ns.NGUID, UUID: ns.UUID, Paths: ns.Paths, LoggedErrors: ns.LoggedErrors, CommandErrors: ns.CommandErrors,
			Users: layer.Texts(ns.Users), Contents: layer.Texts(ns.Contents), Storages: subjects(placed.OnNamespace(ns)),
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
		items[i].Prediction = &apiv1.NVMePrediction{Kernel: release.Text, Outcome: apiv1.Outcome(p.Outcome), Reason: p.Reason, Confidence: apiv1.Confidence(p.Confidence)}
	}
	return nil
}

func healthToAPI(d disk.Drive, reading smart.Reading) *apiv1.NVMeHealth {
	if reading.Data == nil {
		return nil
	}
	h, id := reading.Data.Health, reading.Data.Identity
	out := &apiv1.NVMeHealth{
		At: reading.At.UTC(), CriticalWarning: h.Warnings.Names(), TemperatureCelsius: h.Celsius, WarnCelsius: id.WarnCelsius, CriticalCelsius: id.CriticalCelsius,
		SensorsCelsius: h.Sensors, SparePercent: h.SparePercent, SpareThreshold: h.SpareThreshold, UsedPercent: h.UsedPercent, BytesRead: h.BytesRead,
		BytesWritten: h.BytesWritten, PowerOnSeconds: h.PowerOn.Seconds(), PowerCycles: h.PowerCycles, UnsafeShutdowns: h.UnsafeShutdowns,
		MediaErrors: h.MediaErrors, ErrorLogEntries: h.ErrorLogEntries, WarningTempSeconds: h.WarningTime.Seconds(), CriticalTempSeconds: h.CriticalTime.Seconds(),
	}
	if out.CriticalWarning == nil {
		out.CriticalWarning = []string{}
	}
	pagesToAPI(reading.Data, out)
	if pace, ok := d.WearPerDay(); ok {
		days, _ := d.DaysLeft()
		out.WearPerDay, out.DaysLeft = &pace, &days
	}
	return out
}

// pagesToAPI adds the log pages beside the health page.
func pagesToAPI(data *smart.Data, out *apiv1.NVMeHealth) {
	h := data.Health
	out.BusySeconds, out.ReadCommands, out.WriteCommands, out.Problems, out.Doubts = h.Busy.Seconds(), h.ReadCommands, h.Writes, data.Problems, h.Doubts
	if test := data.LastTest(); test != nil {
		out.SelfTest = test.Result
	}
	if tests := data.Tests; tests != nil {
		for _, t := range tests.Finished {
			out.SelfTests = append(out.SelfTests, apiv1.NVMeSelfTest{Kind: t.Kind, Result: t.Result, PowerOnSeconds: t.At.Seconds()})
		}
		if tests.Running {
			out.SelfTestPercent = &tests.Percent
		}
	}
	for _, e := range data.Errors {
		out.Errors = append(out.Errors, apiv1.NVMeError{Count: e.Count, Status: int(e.Status), Text: smart.StatusText(e.Status), LBA: e.LBA, Namespace: e.Namespace})
	}
	if f := data.Firmware; f != nil {
		out.FirmwareSlots, out.ActiveSlot, out.NextSlot = f.Slots, f.Active, f.Next
	}
}

func incidentsToAPI(list []disk.Incident) []apiv1.NVMeIncident {
	var out []apiv1.NVMeIncident
	for _, i := range list {
		out = append(out, apiv1.NVMeIncident{At: i.At.UTC(), Slot: i.Address, Serial: i.Serial, Kind: string(i.Kind), Text: i.Text})
	}
	return out
}

// forget answers DELETE /v1/nvme/{id}, where id is the serial number of a drive that is gone for good.
func (s *Server) forget(w http.ResponseWriter, r *http.Request) {
	serial := r.PathValue("id")
	report, err := s.NVMe.Refresh(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	for _, d := range report.Drives {
		if c := d.Controller(); c != nil && c.Serial == serial {
			s.fail(w, &plan.RefusedError{Subject: d.Subject(), Reason: "the drive is here", Hint: "only a drive that is gone can be forgotten"})
			return
		}
	}
	if err := s.Drives.Forget(serial); err != nil {
		s.fail(w, err)
		return
	}
	if _, err := s.NVMe.Refresh(r.Context()); err != nil {
		s.Log.Warn("drives not looked at again", "err", err)
	}
	s.nvme(w, r)
}

func linkToAPI(l disk.Link) *apiv1.PCILink {
	if l == (disk.Link{}) {
		return nil
	}
	return &apiv1.PCILink{CurrentSpeed: l.Current.Speed.String(), MaxSpeed: l.Max.Speed.String(), CurrentWidth: l.Current.Lanes, MaxWidth: l.Max.Lanes}
}

func errorsToAPI(a disk.AER) *apiv1.PCIErrors {
	if !a.Known {
		return nil
	}
	return &apiv1.PCIErrors{Correctable: a.Correctable, NonFatal: a.NonFatal, Fatal: a.Fatal}
}

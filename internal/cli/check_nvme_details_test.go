package cli

import (
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
)

func at(text string) time.Time {
	out, _ := time.ParseInLocation(time.DateTime, text, time.Local)
	return out
}

// All that is known of a drive, of which half tries to take over the terminal.
func TestDriveDetails(t *testing.T) {
	const evil = "\x1b]0;owned\x07"
	wear, left, commands := 0.25, 12.0, uint64(3)
	items := []apiv1.NVMeItem{
		{
			ID: "nvme/0000:04:00.0", Rung: "ok", Verdict: "fail", PCIID: "c0a9:540a", Vendor: "Micron/Crucial", Product: "P2", Chip: "E13T", Driver: "nvme", DriverOverride: "nvme", Controller: "nvme0",
			State: "live", Model: "CT1000P2SSD8" + evil, Serial: "2115E5" + evil, Firmware: "P2CR048" + evil, Transport: "pcie", Subsystem: "nqn.2014.08.org.nvmexpress:c0a9", ControllerID: 1, Queues: 9, HostMemory: "on",
			PowerState: "D0", PowerControl: "auto", D3ColdAllowed: true, ASPM: []string{"l1_aspm"}, Quirks: []string{"bogus_nid"}, Findings: []string{"nvme.link-degraded"},
			Link: &apiv1.PCILink{CurrentSpeed: "8.0 GT/s PCIe", CurrentWidth: 2, MaxSpeed: "8.0 GT/s PCIe", MaxWidth: 4}, Errors: &apiv1.PCIErrors{Correctable: 7},
			Port: &apiv1.PCIPort{Address: "0000:00:1c.0", Link: &apiv1.PCILink{MaxSpeed: "8.0 GT/s PCIe", MaxWidth: 4}, Errors: &apiv1.PCIErrors{NonFatal: 1}},
			Namespaces: []apiv1.NVMeNamespace{{
				Device: "nvme0n1", NSID: 1, SizeBytes: 1e12, LogicalBlockSize: 512, WWID: "eui.01", ReadOnly: true, Paths: []string{"nvme0c1n1"}, LoggedErrors: 2, CommandErrors: &commands,
				Users: []string{"lvm pve", "mount /" + evil}, Contents: []string{"vfat CDAB-0201", "lvm pve"}, Storages: []string{"storage/pve1/local"},
			}},
			Health: &apiv1.NVMeHealth{
				TemperatureCelsius: new(48), WarnCelsius: 70, CriticalCelsius: 85, SparePercent: 4, SpareThreshold: 5, UsedPercent: 97, BytesRead: 2e12, BytesWritten: 3e12, PowerOnSeconds: 7200, PowerCycles: 5,
				UnsafeShutdowns: 2, MediaErrors: 1, ErrorLogEntries: 9, CriticalWarning: []string{"spare"}, SelfTest: "failed", WearPerDay: &wear, DaysLeft: &left,
				Errors: []apiv1.NVMeError{{Count: 9, Status: 0x281, Text: "unrecovered read error", LBA: 77, Namespace: 1}}, FirmwareSlots: map[int]string{1: "P2CR048", 2: "P2CR049" + evil}, ActiveSlot: 1, NextSlot: 2,
			},
			Memory: &apiv1.NVMeMemory{Serial: "2115E5", First: at("2026-01-02 03:04:05"), Last: at("2026-11-02 03:04:05")},
			Incidents: []apiv1.NVMeIncident{
				{At: at("2026-11-01 01:02:03"), Kind: "down", Serial: "2115E5", Text: "nvme nvme0: controller is down" + evil},
			},
		},
		{
			ID: "nvme/0000:05:00.0", Rung: "pci", Verdict: "fail", Missing: true, Namespaces: []apiv1.NVMeNamespace{}, Findings: []string{"nvme.missing"},
			Memory: &apiv1.NVMeMemory{Model: "P7000Z", Serial: "AS1", First: at("2026-01-02 03:04:05"), Last: at("2026-11-02 03:04:05"), Contents: []string{"zfs tank"}},
		},
	}
	code, stdout, stderr := labctl(t, answers{"GET /v1/nvme?fresh=1": envelopeOf(apiv1.KindNVMeReport, items)}.start(t), "check-nvme", "-o", "wide")
	if code != ExitOK || stderr != "" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	if strings.ContainsAny(stdout, "\x1b\x07") {
		t.Errorf("a control character reached the terminal: %q", stdout)
	}
	golden(t, "nvme-details", stdout)
}

// An empty release is a mistake, not a question about none.
func TestEmptyKernel(t *testing.T) {
	if code, _, stderr := labctl(t, "/nowhere", "check-nvme", "--kernel", ""); code != ExitUsage || !strings.Contains(stderr, "no release") {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

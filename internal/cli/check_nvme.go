package cli

import (
	"context"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) checkNVMeCommand() *cobra.Command {
	var kernel, forget string
	var redacted, allDisks bool
	cmd := &cobra.Command{
		Use:   "check-nvme [DEVICE…]",
		Short: "Where is my NVMe drive: at which step it is lost, why, and what to do",
		Long: `For a drive that is in lspci but not in PVE. check-nvme follows each NVMe function from the PCI bus through driver,
controller, namespace and block device. It names the first of these steps (rungs) that fails, the cause as far as the
kernel log tells it, and what to do on this kernel.

DEVICE is a PCI address (0000:01:00.0 or 01:00.0), a controller (nvme0), a disk or partition (nvme0n1, /dev/nvme0n1p1), a name in
/dev/disk/by-id, or a serial number.

--kernel shows how another kernel would treat the drives. Ask it before you pin a kernel or boot an older rescue system.`,
		Example: `  labctl check-nvme
  labctl check-nvme -o wide 01:00.0
  labctl check-nvme --kernel 6.2.16-3-pve
  labctl check-nvme --redact > post.txt`,
		ValidArgsFunction: a.complete(0, driveValues),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if cmd.Flags().Changed("kernel") && strings.TrimSpace(kernel) == "" {
				return &Error{apiv1.ErrorUsage, "--kernel names no release", "write it as uname -r does: 6.8.12-4-pve"}
			}
			if forget != "" {
				return a.with(ctx, func(c *client) error { return a.forgetDrive(ctx, c, forget) })
			}
			return a.with(ctx, func(c *client) error {
				query := "/v1/nvme?fresh=1"
				if allDisks {
					query += "&disks=1"
				}
				if kernel != "" {
					query += "&kernel=" + url.QueryEscape(kernel)
				}
				var report apiv1.Envelope[apiv1.NVMeItem]
				if err := c.get(ctx, query, &report); err != nil {
					return err
				}
				if err := selectDrives(&report, args); err != nil {
					return err
				}
				if redacted {
					redact(&report)
				}
				show, exit := a.printDrives, checkExit(report.Findings, unknowns(report.Items, func(i apiv1.NVMeItem) apiv1.Health { return i.Verdict })...)
				if kernel != "" {
					show, exit = a.printPredictions, predictionExit(report.Items)
				}
				if err := emit(a, report, func(i apiv1.NVMeItem) string { return i.ID }, func(wide bool) { show(report, wide) }); err != nil {
					return err
				}
				return exit
			})
		},
	}
	cmd.Flags().StringVar(&kernel, "kernel", "", "show how the kernel `RELEASE` (as uname -r prints it) would treat each drive")
	cmd.Flags().StringVar(&forget, "forget", "", "forget the drive with serial number `SERIAL`, when it is gone for good")
	cmd.MarkFlagsMutuallyExclusive("kernel", "forget")
	cmd.Flags().BoolVar(&allDisks, "all-disks", false, "also list SATA, SAS and USB disks: one line each, with SMART where smartctl is installed")
	cmd.Flags().BoolVar(&redacted, "redact", false, "leave out serial numbers, ids and the node's name, so that the output can be posted")
	cmd.MarkFlagsMutuallyExclusive("redact", "all-disks") // the serial numbers of other disks would stay
	a.flagValues(cmd, "kernel", kernelValues)
	a.flagValues(cmd, "forget", missingDriveValues)
	return cmd
}

// forgetDrive takes a drive that is gone out of labd's memory.
func (a *app) forgetDrive(ctx context.Context, c *client, serial string) error {
	var left apiv1.Envelope[apiv1.NVMeItem]
	if err := c.remove(ctx, "/v1/nvme/"+url.PathEscape(serial), &left); err != nil {
		return err
	}
	return emit(a, left, func(i apiv1.NVMeItem) string { return i.ID }, func(bool) {
		if !a.flags.quiet {
			a.printf("The drive with serial number %s is forgotten.\n", serial)
		}
	})
}

// selectDrives keeps the drives that args name, and their findings.
func selectDrives(report *apiv1.Envelope[apiv1.NVMeItem], args []string) error {
	if len(args) == 0 {
		return nil
	}
	keep := map[string]bool{}
	items := []apiv1.NVMeItem{}
	for _, arg := range args {
		found := false
		for _, item := range report.Items {
			if driveMatches(item, arg) {
				found = true
				if !keep[item.ID] {
					items = append(items, item)
				}
				keep[item.ID] = true
			}
		}
		if !found {
			return &Error{apiv1.ErrorNotFound, "no NVMe function answers to " + quoted(arg), "labctl check-nvme lists them all"}
		}
	}
	report.Items = items
	findings := []apiv1.Finding{}
	for _, f := range report.Findings {
		if keep[f.Subject] {
			findings = append(findings, f)
		}
	}
	report.Findings = findings
	return nil
}

func (a *app) printDrives(report apiv1.Envelope[apiv1.NVMeItem], wide bool) {
	if len(report.Items) == 0 {
		return
	}
	header := []string{"PCI", "VERDICT", "RUNG", "CONTROLLER", "MODEL", "SERIAL", "DISKS", "SIZE"}
	if wide {
		header = append(header, "FIRMWARE", "LINK", "TEMP", "LIFE USED", "WEAR", "SPARE")
	}
	rows := make([][]string, 0, len(report.Items))
	for _, item := range report.Items {
		var disks []string
		total := int64(0)
		for _, ns := range item.Namespaces {
			disks = append(disks, ns.Device)
			total += ns.SizeBytes
		}
		row := []string{
			strings.TrimPrefix(item.ID, "nvme/"), string(item.Verdict), string(item.Rung), item.Controller, model(item), item.Serial,
			strings.Join(disks, ","), size(total),
		}
		if item.Serial == "" && item.Memory != nil {
			row[5] = "(" + item.Memory.Serial + ")" // as remembered
		}
		if wide {
			row = append(append(row, item.Firmware, link(item)), health(item.Health)...)
		}
		rows = append(rows, row)
	}
	a.tableRows(header, rows, func(r int) apiv1.Health { return report.Items[r].Verdict })
	a.explain(report.Findings, wide)
	if wide {
		a.details(report.Items)
		a.timeline(report.Items)
	}
	for _, item := range report.Items {
		if item.HealthError != "" {
			a.printf("note: %s: its health is not known: %s\n", item.ID, item.HealthError)
		}
		for _, problem := range item.Problems {
			a.printf("note: %s: %s\n", item.ID, problem)
		}
	}
}

// model is what the drive calls itself, or what its PCI function is known as while the drive does not speak.
func model(item apiv1.NVMeItem) string {
	if item.Model != "" {
		return item.Model
	}
	if item.Memory != nil {
		return "(" + item.Memory.Model + ")" // as remembered
	}
	name := strings.TrimSpace(item.Vendor + " " + item.Product)
	if item.Chip != "" && !strings.Contains(name, item.Chip) {
		name = strings.TrimSpace(name + " (" + item.Chip + ")")
	}
	return name
}

// link is the link in use, and what both ends could do where that is more.
func link(item apiv1.NVMeItem) string {
	l := item.Link
	if l == nil || l.CurrentSpeed == "" || l.CurrentWidth == 0 {
		return ""
	}
	text := strings.TrimSuffix(l.CurrentSpeed, " PCIe") + " x" + itoa(l.CurrentWidth)
	for _, code := range item.Findings {
		if code == "nvme.link-degraded" {
			text += " (drive: " + strings.TrimSuffix(l.MaxSpeed, " PCIe") + " x" + itoa(l.MaxWidth) + ")"
		}
	}
	return text
}

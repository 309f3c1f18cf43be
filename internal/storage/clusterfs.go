package storage

import (
	"errors"

	"labd/internal/finding"
)

// clusterFindings says what is wrong with /etc/pve, PVE's cluster file system (pmxcfs, of package pve-cluster). While it is
// down the directory is empty, which must never be taken for "nothing is configured": PVE itself starts no guest and changes
// nothing then.
func clusterFindings(f *Facts) []finding.Finding {
	x := finding.Finding{
		Code: finding.PVEClusterFilesystem, Severity: finding.Fail, Subject: finding.PVE(f.Node), Confidence: finding.Certain,
		Title: "the cluster file system /etc/pve is down", Cause: "pmxcfs, of the service pve-cluster, does not run: PVE has no configuration, starts no guest and changes nothing",
		Evidence: []finding.Evidence{{Source: "/etc/pve", Text: "the link local, which pmxcfs makes, is not there"}},
		Remedies: []finding.Remedy{
			{Title: "see why it does not run", Risk: finding.RiskNone, Commands: []string{"systemctl status pve-cluster", "journalctl -b -u pve-cluster"}},
			{Title: "start it again", Risk: finding.RiskLow, Commands: []string{"systemctl restart pve-cluster"}},
		},
	}
	switch {
	case errors.Is(f.ClusterErr, errPMXCFS):
		x.Title, x.Cause, x.Confidence = "the cluster file system /etc/pve does not answer", "pmxcfs hangs, or the host is too busy", finding.Likely
		x.Evidence[0].Text = f.ClusterErr.Error()
	case f.ClusterErr != nil:
		x.Title, x.Cause, x.Confidence = "the cluster file system /etc/pve cannot be read", "", finding.Unknown
		x.Evidence[0].Text = f.ClusterErr.Error()
	case !f.Cluster.Mounted && f.Config != nil:
		x.Title = "/etc/pve is not the cluster file system"
		x.Evidence = append(x.Evidence, finding.Evidence{Source: "/etc/pve/storage.cfg", Text: "it is there all the same: a file below the mount point, which PVE does not use"})
	case !f.Cluster.Mounted:
	case f.Config != nil:
		return nil
	case errors.Is(f.ConfigErr, errNoConfig):
		x.Severity, x.Title = finding.Warn, "storage.cfg is missing or empty"
		x.Cause, x.Confidence = "it was removed, or never written: PVE knows no storage but its default, local", finding.Likely
		x.Evidence[0] = finding.Evidence{Source: "/etc/pve/storage.cfg", Text: f.ConfigErr.Error()}
		x.Remedies = []finding.Remedy{
			{Title: "see what PVE still knows", Risk: finding.RiskNone, Commands: []string{"pvesm status", "ls -l /etc/pve /var/lib/pve-cluster"}},
			{Title: "if storages are missing, bring the file back from a backup", Risk: finding.RiskLow},
		}
	default:
		x.Title, x.Cause, x.Confidence = "storage.cfg cannot be read", "", finding.Unknown
		x.Evidence[0] = finding.Evidence{Source: "/etc/pve/storage.cfg", Text: f.ConfigErr.Error()}
	}
	return []finding.Finding{x}
}

package finding

import "time"

// Settle is how long a finding must have been there before it is shown and told, and how long it must have been away
// before it counts as gone: what comes and goes within that time makes no noise. Codes whose facts cannot flap have
// none: a missing driver or a malformed section is so until somebody changes it.
func Settle(code Code) time.Duration {
	switch code {
	case NVMeResetting, NVMeUnreadable:
		// Reads hang while the kernel resets a drive. One reset of the kernel's takes seconds; one that lasts is a drive that does not come back.
		return 30 * time.Second
	case PVEClusterFilesystem:
		// pve-cluster restarts when its package is upgraded, and comes up after labd at boot.
		return 30 * time.Second
	case NVMeMissing:
		// A drive that is still being probed after a boot, or that a person takes out and puts in again.
		return time.Minute
	case StorageDown, StorageUnknown, NetDockerUnreachable:
		// An NFS server that restarts, a container that starts.
		return time.Minute
	default:
		return 0
	}
}

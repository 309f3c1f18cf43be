package finding

import "time"

// Settle is how long a finding must have been there before it is shown and told, and how long it must have been away
// before it counts as gone: what comes and goes within that time makes no noise. Codes whose facts cannot flap have
// none: a missing driver or a malformed section is so until somebody changes it.
func Settle(code Code) time.Duration {
	switch code {
	case NVMeResetting:
		// The kernel's own recovery takes up to two command timeouts of 30 s (drivers/nvme/host/core.c, nvme_io_timeout).
		return time.Minute
	case StorageDown, NetDockerUnreachable:
		// An NFS server that restarts, a container that starts.
		return 2 * time.Minute
	case NetNoRoute, NetForwardDrop, NetRawDrop:
		// Docker takes its rules away and makes them anew when it restarts; labd repairs its own within seconds.
		return 30 * time.Second
	default:
		return 0
	}
}

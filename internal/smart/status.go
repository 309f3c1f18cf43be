package smart

import "fmt"

// statusNames are the statuses that say something to an operator, by status code type and code (NVM Express Base
// Specification, status code tables).
var statusNames = map[uint16]string{
	0x004: "data transfer error", 0x005: "aborted for loss of power", 0x006: "internal error", 0x007: "aborted by the host", 0x008: "queue was deleted",
	0x080: "address beyond the end", 0x081: "capacity exceeded", 0x082: "namespace not ready", 0x084: "format in progress",
	0x001: "command not known", 0x015: "operation denied", 0x020: "namespace is write-protected", 0x100: "completion queue is not valid", 0x101: "queue number is not valid", 0x102: "queue size is not valid",
	0x002: "invalid field in the command", 0x00b: "invalid namespace", 0x109: "log page not known", 0x182: "attempt to write read-only range",
	0x280: "write fault", 0x281: "unrecovered read error", 0x282: "guard check failed", 0x283: "application tag check failed", 0x284: "reference tag check failed",
	0x285: "compare failed", 0x286: "access denied", 0x287: "block was never written", 0x371: "aborted by the host",
}

// StatusText says what a command's status means. Bits above the status code type are left out of account.
func StatusText(status uint16) string {
	status &= 0x7ff
	if name, ok := statusNames[status]; ok {
		return name
	}
	return fmt.Sprintf("status 0x%03x", status)
}

// IsMediaError reports whether a status is of type 2h, media and data integrity errors.
func IsMediaError(status uint16) bool { return status>>8&7 == 2 }

package host

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Paths are the roots of every tree that labd reads or writes.
type Paths struct {
	Sysfs  string `toml:"sysfs"`
	Procfs string `toml:"procfs"`
	Dev    string `toml:"dev"`
	Etc    string `toml:"etc"`
	PVE    string `toml:"pve"`
	LXC    string `toml:"lxc"`
	// Usr holds PVE's own programs and modules, which tell its version.
	Usr string `toml:"usr"`
	// Kmsg is the kernel log: the device, or a file of dmesg lines.
	Kmsg  string `toml:"kmsg"`
	State string `toml:"state"`
	Run   string `toml:"run"`
	// Exec is the PATH for the host's programs. Empty means SystemPATH, or no programs at all where Etc, Dev or PVE
	// are moved: a labd that looks at another tree must not run this machine's systemctl.
	Exec string `toml:"exec"`
}

// SystemPATH is where programs are looked up when Paths.Exec is empty and nothing is moved.
const SystemPATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// DefaultPaths are the paths of a real PVE host.
func DefaultPaths() Paths {
	return Paths{
		Sysfs: "/sys", Procfs: "/proc", Dev: "/dev", Etc: "/etc", PVE: "/etc/pve", LXC: "/var/lib/lxc", Usr: "/usr",
		Kmsg: "/dev/kmsg", State: "/var/lib/labd", Run: "/run/labd",
	}
}

// Host gives access to one machine. It is safe for concurrent use.
type Host struct {
	Paths
	// Programs, when set, stands for all programs of the host: nothing of this machine is run. It fails as Run does.
	Programs func(ctx context.Context, c Cmd) ([]byte, error)

	release string

	mu   sync.Mutex
	hung map[string]time.Time // reads that were given up and still block a thread, by path
}

// New returns the host at paths. release is what uname -r would say; empty asks the kernel.
func New(paths Paths, release string) *Host {
	return &Host{Paths: paths, release: release, hung: map[string]time.Time{}}
}

// KernelRelease is the kernel release string, as in uname -r.
func (h *Host) KernelRelease() string {
	if h.release != "" {
		return h.release
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return ""
	}
	return unix.ByteSliceToString(uts.Release[:])
}

// BootID is the random id of this boot (/proc/sys/kernel/random/boot_id), empty where it cannot be read.
func (h *Host) BootID() string {
	data, _ := os.ReadFile(filepath.Join(h.Procfs, "sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(data))
}

// Uptime is the time since boot (/proc/uptime, first field, seconds). ok is false where it cannot be read.
func (h *Host) Uptime() (up time.Duration, ok bool) {
	data, _ := os.ReadFile(filepath.Join(h.Procfs, "uptime")) // of nothing, no number can be read
	first, _, _ := strings.Cut(string(data), " ")
	seconds, err := strconv.ParseFloat(strings.TrimSpace(first), 64)
	if err != nil || seconds < 0 {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// Moved tells that a tree that decides about programs is not the machine's own.
func (h *Host) Moved() bool {
	d := DefaultPaths()
	return h.Etc != d.Etc || h.Dev != d.Dev || h.PVE != d.PVE
}

// ExecPATH is the PATH for programs; empty when none may be run.
func (h *Host) ExecPATH() string {
	switch {
	case h.Exec != "":
		return h.Exec
	case h.Moved():
		return ""
	default:
		return SystemPATH
	}
}

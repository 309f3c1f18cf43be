package host

import (
	"strings"
	"testing"
	"time"
)

func TestDmesgForms(t *testing.T) {
	const text = "nvme nvme0: Device not ready; aborting initialisation, CSTS=0x0"
	for _, tt := range []struct {
		name, first, second string
		apart               time.Duration
	}{
		{"dmesg", "[    2.300001] ", "[    2.351883] ", 51882 * time.Microsecond},
		{"dmesg -r", "<6>[    2.300001] ", "<3>[    2.351883] ", 51882 * time.Microsecond},
		{"printk caller", "[    2.300001][    T1] ", "[    2.351883][  C12] ", 51882 * time.Microsecond},
		{"dmesg -d", "[    2.300001 <    0.000000>] ", "[    2.351883 <    0.051882>] ", 51882 * time.Microsecond},
		{"dmesg -x", "kern  :info  : [    2.300001] ", "kern  :err   : [    2.351883] ", 51882 * time.Microsecond},
		{"dmesg -T", "[Sat Nov 28 11:40:02 2026] ", "[Sat Nov 28 11:41:02 2026] ", time.Minute},
		{"dmesg -T, a day of one digit", "[Sun Nov  1 11:40:02 2026] ", "[Sun Nov  1 11:40:04 2026] ", 2 * time.Second},
		{"dmesg --time-format iso", "2026-11-28T11:40:02,300001+01:00 ", "2026-11-28T11:40:02,351883+01:00 ", 51882 * time.Microsecond},
		{"journalctl -o short-monotonic", "[    2.300001] pve kernel: ", "[    2.351883] pve kernel: ", 51882 * time.Microsecond},
		{"journalctl", "Nov 28 11:40:02 pve kernel: ", "Nov 28 11:40:32 pve kernel: ", 30 * time.Second},
		{"journalctl over a new year", "Dec 31 23:59:59 pve kernel: ", "Jan  1 00:00:01 pve kernel: ", 2 * time.Second},
		{"journalctl -o short-precise", "Nov 28 11:40:02.300001 pve kernel: ", "Nov 28 11:40:02.351883 pve kernel: ", 51882 * time.Microsecond},
		{"journalctl -o short-iso", "2026-11-28T11:40:02+0100 pve kernel: ", "2026-11-28T11:40:03+0100 pve kernel: ", time.Second},
		{"journalctl -o short-iso-precise", "2026-11-28T11:40:02.300001+01:00 pve kernel: ", "2026-11-28T11:40:02.351883+01:00 pve kernel: ", 51882 * time.Microsecond},
		{"syslog with the kernel's time", "Nov 28 11:40:02 pve kernel: [    2.300001] ", "Nov 28 11:40:02 pve kernel: [    2.351883] ", 51882 * time.Microsecond},
		{"colours", "\x1b[32m[    2.300001] \x1b[0m\x1b[33m", "\x1b[32m[    2.351883] \x1b[0m\x1b[33m", 51882 * time.Microsecond},
	} {
		for _, end := range []string{"\n", "\r\n"} {
			records, unread, err := ParseDmesg(strings.NewReader(tt.first + text + end + tt.second + text + end))
			if err != nil || unread != 0 || len(records) != 2 || records[0].Text != text || records[1].Text != text {
				t.Errorf("%s: %v, %d not read, %v", tt.name, records, unread, err)
				continue
			}
			if got := records[1].Time - records[0].Time; got != tt.apart {
				t.Errorf("%s: %s apart, want %s", tt.name, got, tt.apart)
			}
		}
	}
}

// What is no record of the kernel is left out, and what cannot be read is counted.
func TestDmesgOtherLines(t *testing.T) {
	records, unread, err := ParseDmesg(strings.NewReader(strings.Join([]string{
		"Nov 28 11:40:02 pve systemd[1]: nvme nvme0: pci function 0000:01:00.0", "user  :warn  : [    2.3] nvme", "<13>[    2.3] nvme", "",
		"[    2.3] nvme nvme0: it is the kernel", "no time", "[x] nvme", "-- Boot 1234 --",
	}, "\n")))
	if err != nil || len(records) != 1 || unread != 3 {
		t.Errorf("%v, %d not read, %v", records, unread, err)
	}
}

package disk

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labd/internal/finding"
	"labd/internal/smart"
)

// A parameter counts as the kernel reads it, and is changed where it stands.
func TestBootParameters(t *testing.T) {
	const grub, systemd = "BOOT_IMAGE=/boot/vmlinuz-6.14.11-4-pve root=/dev/mapper/pve-root ro ", `initrd=\EFI\proxmox\6.14.11-4-pve\initrd.img-6.14.11-4-pve root=ZFS=rpool/ROOT/pve-1 boot=zfs `
	const latency = "nvme_core.default_ps_max_latency_us"
	for _, tt := range []struct {
		name string
		s    System
		off  bool // power saving is off already
		want []string
	}{
		{"not there, GRUB", System{CommandLine: grub + "quiet"}, false, []string{`sed -i 's/^GRUB_CMDLINE_LINUX="/&` + powerParameters + ` /' /etc/default/grub`, "update-grub", "reboot"}},
		{"not there, systemd-boot", System{CommandLine: systemd}, false, []string{`sed -i '1s/$/ ` + powerParameters + `/' /etc/kernel/cmdline`, "proxmox-boot-tool refresh", "reboot"}},
		{
			"another value, GRUB",
			System{CommandLine: grub + latency + "=5500 pcie_aspm=off pcie_port_pm=off", BootFiles: map[string]string{"/etc/default/grub.d/nvme.cfg": latency + "=5500"}},
			false,
			[]string{`sed -i 's/\bnvme_core\.default_ps_max_latency_us=[^ "]*/` + latency + `=0/g' /etc/default/grub.d/nvme.cfg`, "update-grub", "reboot"},
		},
		{
			"another value, systemd-boot",
			System{CommandLine: systemd + latency + "=200 pcie_aspm=off pcie_port_pm=off", BootFiles: map[string]string{cmdlineFile: "root=ZFS=rpool/ROOT/pve-1 " + latency + "=200", grubFile: latency + "=200"}},
			false,
			[]string{`sed -i 's/\bnvme_core\.default_ps_max_latency_us=[^ "]*/` + latency + `=0/g' /etc/kernel/cmdline`, "proxmox-boot-tool refresh", "reboot"},
		},
		{"the last word wins", System{CommandLine: grub + latency + "=5500 " + latency + "=0 pcie_aspm=off pcie_port_pm=off"}, true, nil},
		{"hyphens are underscores", System{CommandLine: grub + "nvme-core.default-ps-max-latency-us=0 pcie_aspm=off pcie_port_pm=off"}, true, nil},
		{"the module has it, by modprobe.d", System{CommandLine: grub + "pcie_aspm=off pcie_port_pm=off", Parameters: map[string]string{latency: "0"}}, true, nil},
		{
			"the module says otherwise than the first word", System{CommandLine: grub + latency + "=0 pcie_aspm=off pcie_port_pm=off " + latency + "=100", Parameters: map[string]string{latency: "100"}, BootFiles: map[string]string{grubFile: latency}}, false, nil,
		},
		{"power saving forced on the link", System{CommandLine: grub + latency + "=0 pcie_aspm=off pcie_port_pm=off pcie_aspm=force"}, false, nil},
	} {
		remedy, ok := tt.s.powerOff()
		if ok == tt.off {
			t.Errorf("%s: off %v", tt.name, !ok)
		}
		if tt.want != nil {
			if diff := cmp.Diff(tt.want, remedy.Commands); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tt.name, diff)
			}
		}
	}
	if s := (System{CommandLine: grub + "pci=noaer,nomsi pci=realloc"}); !s.has("pci=nomsi") || !s.has("pci=realloc") || s.has("pci=nommconf") {
		t.Error("pci= is a list, and several add up")
	}
}

// The packages are those of the Proxmox VE release.
func TestKernelPackages(t *testing.T) {
	for _, tt := range []struct{ release, debian, want, never string }{
		{"6.2.16-3-pve", "12", "proxmox-kernel-6.8", "pve-kernel-5.15"},
		{"6.2.16-3-pve", "", "proxmox-kernel-6.8", "pve-kernel-5.15"},
		{"6.2.16-4-bpo11-pve", "", "pve-kernel-5.15", "proxmox-kernel"},
		{"5.19.17-2-pve", "", "pve-kernel-5.15", "proxmox-kernel"},
		{"6.1.15-1-pve", "11", "pve-kernel-5.15", "proxmox-kernel"},
		{"6.14.8-2-pve", "13", "proxmox-kernel-6.17", "6.8"},
		{"6.14.11-2-bpo12-pve", "", "proxmox-kernel-6.8", "6.17"},
		{"5.4.106-1-pve", "10", "pveversion", "apt install"},
		{"6.1.0-11-amd64", "12", "apt full-upgrade", "proxmox"},
	} {
		release, err := ParseRelease(tt.release)
		if err != nil {
			t.Fatal(err)
		}
		c := &diagnosis{facts: &Facts{System: System{Debian: tt.debian}}, release: release}
		text := strings.Join(c.kernel("boot another").Commands, "\n")
		if !strings.Contains(text, tt.want) || strings.Contains(text, tt.never) {
			t.Errorf("%s on Debian %s: %s", tt.release, tt.debian, text)
		}
	}
}

func TestVFIO(t *testing.T) {
	if diff := cmp.Diff([]string{"144d:a808", "10de:1b80"}, vfioIDs("quiet vfio-pci.ids=144D:A808,10de:1b80:1043:85aa\noptions vfio_pci x\nvfio_pci.ids=144d:a808")); diff != "" {
		t.Error(diff)
	}
	meant := Function{Address: "0000:01:00.0", Vendor: 0x144d, Device: 0xa808, Driver: "vfio-pci"}
	caught := meant
	caught.Address = "0000:02:00.0"
	f := &Facts{Release: "6.8.12-4-pve", Functions: []Function{meant, caught}, System: System{VFIOIDs: []string{"144d:a808"}}, Guests: Guests{Addresses: []string{"0000:01:00"}}}
	r := Diagnose(f, DefaultPolicy())
	if r.Drives[0].Verdict != VerdictInfo || r.Drives[1].Verdict != VerdictWarn {
		t.Errorf("%s, %s", r.Drives[0].Verdict, r.Drives[1].Verdict)
	}
	f.Guests.Mapped = true // some guest has it perhaps
	if r := Diagnose(f, DefaultPolicy()); r.Drives[1].Verdict != VerdictInfo {
		t.Errorf("with a mapping: %s", r.Drives[1].Verdict)
	}
}

// Media errors that do not grow for a week are an old story.
func TestSteadyMediaErrors(t *testing.T) {
	three, two := uint64(3), uint64(2)
	day := func(n int) time.Time { return time.Unix(1.7e9, 0).Add(time.Duration(n-30) * 24 * time.Hour) }
	for name, tt := range map[string]struct {
		samples  []Sample
		severity finding.Severity
	}{
		"new":                  {nil, finding.Warn},
		"for two days":         {[]Sample{{day(28), 5, 0, &three}}, finding.Warn},
		"for ten days":         {[]Sample{{day(20), 5, 0, &three}, {day(29), 5, 0, &three}}, finding.Info},
		"grown three days ago": {[]Sample{{day(10), 5, 0, &two}, {day(27), 5, 0, &three}}, finding.Warn},
		"of a former version":  {[]Sample{{day(10), 5, 0, nil}}, finding.Warn},
	} {
		s := situation{release: "6.8.12-4-pve", change: and(live(disk12(1e12)), says(func(h *smart.Health) { h.MediaErrors = 3 }), func(f *Facts, _ *Function) {
			f.Remembered.Drives = []Known{{Model: "WD_BLACK SN850X 2000GB", Serial: "S12", Samples: tt.samples}}
		}), log: found12 + ready12}
		if text, r := judged(t, s); len(r.Findings) != 1 || r.Findings[0].Severity != tt.severity {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

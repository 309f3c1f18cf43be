package disk

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// usbBridges are the adapters from USB to NVMe that enclosures have, by vendor and product id (linux-usb.org usb.ids; the
// makers' data sheets).
var usbBridges = map[string]string{
	"152d:0562": "JMicron JMS567 or JMS583", "152d:0583": "JMicron JMS583", "152d:0586": "JMicron JMS586", "152d:a583": "JMicron JMS583",
	"0bda:9210": "Realtek RTL9210", "0bda:9211": "Realtek RTL9211", "0bda:9220": "Realtek RTL9220",
	"174c:2362": "ASMedia ASM2362", "174c:2364": "ASMedia ASM2364", "174c:2462": "ASMedia ASM2462", "174c:2464": "ASMedia ASM2464",
	"2537:1081": "Norelsys NS1081", "0dd8:0562": "Netac, with JMicron JMS583", "2109:0715": "VIA VL716",
}

// elsewhere looks for NVMe drives that are not on the PCI bus: controllers over a network, and adapters on USB.
func (o *Observer) elsewhere(a *attributes, functions []Function) []Elsewhere {
	var here []string
	for _, fn := range functions {
		for _, c := range fn.Controllers {
			here = append(here, c.Name)
		}
	}
	var out []Elsewhere
	classDir := filepath.Join(o.host.Sysfs, "class/nvme")
	for _, name := range a.names(classDir) {
		transport := a.get(classDir, name, "transport")
		if !controllerName.MatchString(name) || slices.Contains(here, name) || transport == "" || transport == "pcie" {
			continue
		}
		what := fmt.Sprintf("over a network or fabric (%s), state %s", transport, orDash(a.get(classDir, name, "state")))
		if address := a.get(classDir, name, "address"); address != "" {
			what += ", at " + address
		}
		out = append(out, Elsewhere{name, what})
	}
	usbDir := filepath.Join(o.host.Sysfs, "bus/usb/devices")
	for _, name := range a.names(usbDir) {
		if strings.Contains(name, ":") || !strings.Contains(name, "-") {
			continue // interfaces, and the roots
		}
		id := a.get(usbDir, name, "idVendor") + ":" + a.get(usbDir, name, "idProduct")
		if bridge, ok := usbBridges[id]; ok {
			out = append(out, Elsewhere{"USB device " + name, fmt.Sprintf("an adapter for NVMe drives (%s, %s)", bridge, id)})
		}
	}
	return out
}

// elsewhere are the notes about drives that are not on the PCI bus, and where to look where none is.
func (f *Facts) elsewhere() []string {
	var out []string
	drives := slices.ContainsFunc(f.Functions, func(fn Function) bool { return !(Drive{Function: fn}).hides() })
	if !drives {
		out = append(out, "no NVMe function is on this machine's PCI bus",
			"if you expect a drive, look in this order: does the firmware set-up (BIOS) list it; is VMD or a RAID mode on there; does the slot carry PCIe and not only SATA, and share its lanes with no other slot; does an adapter for several drives need bifurcation of the slot; is the drive in a USB enclosure, which makes it /dev/sdX. See docs/nvme-not-listed.md")
	}
	for _, e := range f.Elsewhere {
		if strings.HasPrefix(e.Name, "USB") {
			out = append(out, fmt.Sprintf("%s is %s: a drive in it is /dev/sdX, and not looked at here", e.Name, e.What))
			continue
		}
		out = append(out, fmt.Sprintf("%s is reached %s; check-nvme looks at PCIe drives alone", e.Name, e.What))
	}
	return out
}

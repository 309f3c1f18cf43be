package cli

import (
	"context"
	"encoding/hex"
	"regexp"
	"strings"

	apiv1 "labd/api/v1"
)

var (
	partitionOf = regexp.MustCompile(`^(nvme\d+n\d+)p\d+$`)
	byIDPart    = regexp.MustCompile(`-part\d+$`)
	pciAddress  = regexp.MustCompile(`^(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
)

// driveMatches reports whether a drive answers to a name: a PCI address with or without its domain, a controller, a disk, a partition,
// a name in /dev/disk/by-id, or a serial number. What udev makes of serial numbers and ids is in its 60-persistent-storage.rules.
func driveMatches(item apiv1.NVMeItem, arg string) bool {
	bdf := strings.TrimPrefix(item.ID, "nvme/")
	arg = strings.TrimPrefix(strings.TrimPrefix(arg, "nvme/"), "/dev/")
	byID, isByID := strings.CutPrefix(arg, "disk/by-id/")
	switch lower := strings.ToLower(arg); {
	case arg == "":
		return false
	case lower == bdf, "0000:"+lower == bdf:
		return true
	case arg == item.Controller, arg == item.Serial, item.Memory != nil && arg == item.Memory.Serial:
		return true
	}
	if m := partitionOf.FindStringSubmatch(arg); m != nil {
		arg = m[1]
	}
	for _, ns := range item.Namespaces {
		if arg == ns.Device {
			return true
		}
	}
	if isByID || strings.HasPrefix(arg, "nvme-") {
		if !isByID {
			byID = arg
		}
		return hasByID(item, byIDPart.ReplaceAllString(byID, ""))
	}
	return false
}

// hasByID reports whether a drive has a name in /dev/disk/by-id: nvme-MODEL_SERIAL, with _NSID behind it or not, nvme-eui.… and
// nvme-uuid.… by the ids of its disks, nvme-nvme.… by their wwid.
func hasByID(item apiv1.NVMeItem, name string) bool {
	name, ok := strings.CutPrefix(name, "nvme-")
	if !ok {
		return false
	}
	blank := strings.NewReplacer(" ", "_")
	pairs := [][2]string{{item.Model, item.Serial}}
	if item.Memory != nil {
		pairs = append(pairs, [2]string{item.Memory.Model, item.Memory.Serial})
	}
	for _, pair := range pairs {
		full := blank.Replace(pair[0]) + "_" + blank.Replace(pair[1])
		rest, found := strings.CutPrefix(name, full)
		if pair[1] != "" && found && (rest == "" || strings.HasPrefix(rest, "_")) {
			return true
		}
	}
	for _, ns := range item.Namespaces {
		for _, id := range []string{ns.WWID, "eui." + plainHex(ns.EUI), "eui." + plainHex(ns.NGUID), "uuid." + ns.UUID} {
			if name == id && !strings.HasSuffix(id, ".") {
				return true
			}
		}
	}
	return false
}

// plainHex drops the blanks and hyphens of an id as sysfs writes it; "" where it is no id.
func plainHex(id string) string {
	id = strings.NewReplacer(" ", "", "-", "").Replace(strings.ToLower(id))
	if _, err := hex.DecodeString(id); err != nil {
		return ""
	}
	return id
}

// addressOf is the PCI address of the drive that a name stands for. An address is taken as it is.
func (a *app) addressOf(ctx context.Context, c *client, name string) (string, error) {
	if address := longAddress(strings.ToLower(name)); pciAddress.MatchString(address) {
		return address, nil
	}
	var report apiv1.Envelope[apiv1.NVMeItem]
	if err := c.get(ctx, "/v1/nvme?fresh=1", &report); err != nil {
		return "", err
	}
	for _, item := range report.Items {
		if driveMatches(item, name) {
			return strings.TrimPrefix(item.ID, "nvme/"), nil
		}
	}
	return "", &Error{apiv1.ErrorNotFound, "no NVMe function answers to " + quoted(name), "labctl check-nvme lists them all"}
}

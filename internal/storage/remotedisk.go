package storage

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"labd/internal/host"
)

// readRemote finds the disks of other machines that this host is set up to attach and has not: records of iSCSI targets
// without a session, NVMe over fabrics without a controller, network block devices without a server, Ceph images that are
// not mapped, Fibre Channel ports without a link. While one is missing, so is whatever lies on it.
func readRemote(reader *host.Reader, paths host.Paths) []Remote {
	return slices.Concat(iscsiTargets(reader, paths), nvmeFabrics(reader, paths), networkBlocks(reader, paths), cephImages(reader, paths), fibreChannel(reader, paths))
}

// iscsiTargets are the targets of open-iscsi's records, nodes/TARGET/ADDRESS, without a session that is logged in. Debian
// keeps them in /etc/iscsi, others in /var/lib/iscsi (iscsiadm(8)).
func iscsiTargets(reader *host.Reader, paths host.Paths) (out []Remote) {
	sessions := map[string]bool{}
	class := filepath.Join(paths.Sysfs, "class/iscsi_session")
	names, _ := reader.Names(class)
	for _, name := range names {
		target, _ := reader.Attr(filepath.Join(class, name, "targetname"))
		state, err := reader.Attr(filepath.Join(class, name, "state"))
		if target != "" && (err != nil || state == "LOGGED_IN") {
			sessions[target] = true
		}
	}
	for _, dir := range []string{filepath.Join(paths.Etc, "iscsi/nodes"), filepath.Join(filepath.Dir(paths.Etc), "var/lib/iscsi/nodes")} {
		targets, err := reader.Names(dir)
		if err != nil {
			continue
		}
		for _, target := range targets {
			if !sessions[target] {
				out = append(out, Remote{"iSCSI target " + target, filepath.Join(dir, target)})
			}
		}
	}
	return out
}

var traddr = regexp.MustCompile(`(?:--traddr[= ]|-a[= ]|"traddr"\s*:\s*")\s*([^\s",]+)`)

// nvmeFabrics are the addresses of nvme-cli's discovery.conf and config.json that no controller is connected to
// (nvme-connect-all(1)).
func nvmeFabrics(reader *host.Reader, paths host.Paths) (out []Remote) {
	var connected strings.Builder
	class := filepath.Join(paths.Sysfs, "class/nvme")
	names, _ := reader.Names(class)
	for _, name := range names {
		if state, _ := reader.Attr(filepath.Join(class, name, "state")); state == "live" {
			address, _ := reader.Attr(filepath.Join(class, name, "address"))
			connected.WriteString(address + ",")
		}
	}
	for _, name := range []string{"nvme/discovery.conf", "nvme/config.json"} {
		file := filepath.Join(paths.Etc, name)
		data, err := reader.File(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, m := range traddr.FindAllStringSubmatch(line, -1) {
				if !strings.Contains(connected.String(), "traddr="+m[1]+",") {
					out = append(out, Remote{"NVMe over fabrics at " + m[1], file})
				}
			}
		}
	}
	return out
}

// networkBlocks are the devices of nbdtab(5), and of Debian's former nbd-client file, that no client serves.
func networkBlocks(reader *host.Reader, paths host.Paths) (out []Remote) {
	add := func(device, file string) {
		device = strings.TrimPrefix(device, "/dev/")
		if _, err := reader.Stat(filepath.Join(paths.Sysfs, "class/block", device, "pid")); err != nil {
			out = append(out, Remote{"network block device " + device, file})
		}
	}
	file := filepath.Join(paths.Etc, "nbdtab")
	for _, fields := range fieldsOf(reader, file) {
		add(fields[0], file)
	}
	file = filepath.Join(paths.Etc, "nbd-client")
	for _, fields := range fieldsOf(reader, file) {
		if key, value, ok := strings.Cut(fields[0], "="); ok && strings.HasPrefix(key, "NBD_DEVICE") {
			add(strings.Trim(value, `"'`), file)
		}
	}
	return out
}

// cephImages are the images of rbdmap(8) that are not mapped: udev makes /dev/rbd/POOL/IMAGE.
func cephImages(reader *host.Reader, paths host.Paths) (out []Remote) {
	file := filepath.Join(paths.Etc, "ceph/rbdmap")
	for _, fields := range fieldsOf(reader, file) {
		if _, err := reader.Stat(filepath.Join(paths.Dev, "rbd", fields[0])); err != nil {
			out = append(out, Remote{"Ceph image " + fields[0], file})
		}
	}
	return out
}

// fibreChannel are the ports of a storage network, with a link or without: what it offers may come and go, and nothing on this
// host says what it should offer (Documentation/ABI/testing/sysfs-class-fc_host).
func fibreChannel(reader *host.Reader, paths host.Paths) (out []Remote) {
	class := filepath.Join(paths.Sysfs, "class/fc_host")
	names, _ := reader.Names(class)
	for _, name := range names {
		state, _ := reader.Attr(filepath.Join(class, name, "port_state"))
		out = append(out, Remote{"a disk of Fibre Channel port " + name + " (" + state + ")", filepath.Join(class, name)})
	}
	return out
}

// fieldsOf are the words of a file's lines, without comments.
func fieldsOf(reader *host.Reader, file string) (out [][]string) {
	data, err := reader.File(file)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			out = append(out, fields)
		}
	}
	return out
}

// networkServices are the units whose business is to attach disks of other machines.
var networkServices = []string{"iscsi", "nbd", "nvmf", "nvme-", "drbd", "rbd", "ceph", "multipath", "network", "remote-fs", "linstor", "zerotier", "tailscale", "wg-quick", "openvpn", "fcoe", "aoe"}

// networkWord returns the word of a source that says that its device is on the network, or "".
func networkWord(s Source) string {
	name := strings.TrimPrefix(s.What, "/dev/")
	for _, prefix := range []string{"nbd", "drbd", "rbd", "etherd/", "sheep", "disk/by-id/drbd", "disk/by-path/ip-", "disk/by-path/fc-"} {
		if strings.HasPrefix(name, prefix) && s.What != name {
			return s.What
		}
	}
	if strings.HasPrefix(name, "disk/by-path/") && strings.Contains(name, "-iscsi-") {
		return s.What
	}
	for option := range strings.SplitSeq(s.Options, ",") {
		option = strings.TrimSpace(option)
		key, unit, _ := strings.Cut(option, "=")
		switch {
		case option == "_netdev":
			return option
		case strings.HasPrefix(key, "x-systemd.") && slices.ContainsFunc(networkServices, func(p string) bool { return strings.HasPrefix(unit, p) || strings.HasPrefix(unit, "open-"+p) }):
			return option
		}
	}
	for _, unit := range s.Needs {
		if slices.ContainsFunc(networkServices, func(p string) bool { return strings.HasPrefix(unit, p) || strings.HasPrefix(unit, "open-"+p) }) {
			return unit
		}
	}
	return ""
}

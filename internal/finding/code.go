package finding

import "slices"

// Code names a kind of finding. Codes are stable: scripts, dashboards and documentation pages rely on them.
type Code string

// Codes of the NVMe job.
const (
	NVMeNotReady        Code = "nvme.not-ready"
	NVMeNoDriver        Code = "nvme.no-driver"
	NVMePassthrough     Code = "nvme.passthrough"
	NVMeNoNamespace     Code = "nvme.no-namespace"
	NVMeDuplicateIDs    Code = "nvme.duplicate-ids"
	NVMeIDsCleared      Code = "nvme.ids-cleared"
	NVMeResetting       Code = "nvme.resetting"
	NVMeDead            Code = "nvme.dead"
	NVMeDropped         Code = "nvme.dropped"
	NVMeTimeouts        Code = "nvme.timeouts"
	NVMeLostIRQ         Code = "nvme.lost-interrupts"
	NVMeLinkDegraded    Code = "nvme.link-degraded"
	NVMeAER             Code = "nvme.aer"
	NVMeReadOnly        Code = "nvme.read-only"
	NVMeVMDHidden       Code = "nvme.vmd-hidden"
	NVMeMissing         Code = "nvme.missing"
	NVMeCriticalWarning Code = "nvme.critical-warning"
	NVMeWear            Code = "nvme.wear"
	NVMeMediaErrors     Code = "nvme.media-errors"
	NVMeTemperature     Code = "nvme.temperature"
	NVMeIOErrors        Code = "nvme.io-errors"
	NVMeSelfTest        Code = "nvme.self-test"
	NVMeHostMemory      Code = "nvme.host-memory"
	NVMeUnreadable      Code = "nvme.unreadable"
	NVMeAccessDenied    Code = "nvme.access-denied"
	NVMeQueues          Code = "nvme.queues"
	NVMeAddressSpace    Code = "nvme.address-space"
	NVMeIOMMU           Code = "nvme.iommu"
	NVMeFirmware        Code = "nvme.firmware"
	NVMeProbing         Code = "nvme.probing"
	NVMeHealthDoubtful  Code = "nvme.health-doubtful"
)

// Codes of the storage job.
const (
	StorageDeviceGone   Code = "storage.device-gone"
	StorageVGGone       Code = "storage.vg-gone"
	StoragePoolGone     Code = "storage.pool-gone"
	StorageDown         Code = "storage.down"
	StorageMalformed    Code = "storage.malformed"
	StorageMasked       Code = "storage.masked"
	StorageOrphanNode   Code = "storage.orphan-node"
	StorageUnsupported  Code = "storage.unsupported"
	StorageUnitLeft     Code = "storage.unit-left"
	StorageConfigHazard Code = "storage.config-hazard"
	StorageMisplaced    Code = "storage.misplaced"
	StorageBootBlocked  Code = "storage.boot-blocked"
	PVEAccess           Code = "pve.access"
	StorageUnknown      Code = "storage.unknown"
)

// Codes of the network job.
const (
	NetNoRoute           Code = "net.no-route"
	NetForwardDrop       Code = "net.forward-drop"
	NetRawDrop           Code = "net.raw-drop"
	NetOverlap           Code = "net.overlap"
	NetOutsidePool       Code = "net.outside-pool"
	NetApproval          Code = "net.approval"
	NetLANClash          Code = "net.lan-clash"
	NetUserDrop          Code = "net.user-drop"
	NetDockerUnreachable Code = "net.docker-unreachable"
	NetHostile           Code = "net.hostile"
	NetNFTBackend        Code = "net.nft-backend"
	NetAliasPool         Code = "net.alias-pool"
	NetPVEFirewall       Code = "net.pve-firewall"
	NetIPFilter          Code = "net.ipfilter"
	NetRPFilter          Code = "net.rp-filter"
	NetAsymmetric        Code = "net.asymmetric"
	NetHostFirewall      Code = "net.host-firewall"
	NetNoAnswer          Code = "net.no-answer"
	NetRulesFought       Code = "net.rules-fought"
)

// Codes of PVE itself.
const (
	PVEClusterFilesystem Code = "pve.cluster-filesystem"
)

// Codes of labd itself.
const (
	LabdConfigRejected Code = "labd.config-rejected"
	LabdNotifyFailing  Code = "labd.notify-failing"
	LabdLoopPanicked   Code = "labd.loop-panicked"
)

// Def is what is always true of a code.
type Def struct {
	Code Code
	// Severity is the usual one; a finding may carry another when the facts call for it.
	Severity Severity
	// Meaning is one sentence for documentation and help.
	Meaning string
}

// Defs are all codes that this build can raise, sorted by code.
func Defs() []Def {
	defs := []Def{
		{LabdConfigRejected, Warn, "The changed configuration is wrong, so labd goes on with the one it had."},
		{LabdNotifyFailing, Warn, "A notification target does not take messages, so nobody hears of findings there."},
		{LabdLoopPanicked, Warn, "A loop of labd met a fault in labd itself and was started again."},
		{NVMeNotReady, Fail, "The kernel found the controller, but it never became ready and was given up."},
		{NVMeNoDriver, Fail, "The PCI function is there and no driver is bound to it."},
		{NVMePassthrough, Info, "The PCI function is passed through to a guest."},
		{NVMeDuplicateIDs, Fail, "The kernel rejected the namespace because another drive has the same ids."},
		{NVMeIDsCleared, Info, "The kernel cleared the namespace's ids because another drive has the same ones; the drive works."},
		{NVMeResetting, Fail, "The controller is being reset and offers no disk meanwhile."},
		{NVMeDead, Fail, "The kernel gave the controller up while it was in use."},
		{NVMeDropped, Fail, "The drive worked in this boot and dropped out."},
		{NVMeMissing, Fail, "A drive that was here is gone."},
		{NVMeCriticalWarning, Fail, "The drive warns of its own failure."},
		{NVMeWear, Warn, "The drive's rated life is used up, or will be soon."},
		{NVMeMediaErrors, Warn, "The drive could not read or write data on its media."},
		{NVMeIOErrors, Warn, "The kernel could not read or write the disk."},
		{NVMeTemperature, Warn, "The drive is hotter than it may be."},
		{NVMeSelfTest, Fail, "The drive failed its last self-test."},
		{NVMeHostMemory, Info, "The drive works without the host memory that it wants as its buffer."},
		{NVMeUnreadable, Warn, "What the kernel says of the drive cannot be read, or reading it hangs."},
		{NVMeAccessDenied, Warn, "The drive denies access to its data: it is locked."},
		{NVMeQueues, Fail, "The controller has no queue for reads and writes, so there is no disk."},
		{NVMeAddressSpace, Fail, "The kernel found no memory or address space for the drive's registers."},
		{NVMeIOMMU, Fail, "The IOMMU refused the drive's access to memory."},
		{NVMeFirmware, Warn, "The drive has a firmware with a known fault."},
		{NVMeProbing, Info, "The drive is being started and offers no disk yet."},
		{NVMeHealthDoubtful, Info, "What the drive says of its own health cannot be right."},
		{NVMeAER, Warn, "The PCIe link had errors that it could not mend."},
		{NVMeReadOnly, Fail, "A disk of the drive is read-only."},
		{NVMeVMDHidden, Warn, "Drives are hidden behind Intel VMD or an Intel controller in RAID mode."},
		{NVMeTimeouts, Warn, "Commands to the drive timed out in this boot."},
		{NVMeLostIRQ, Warn, "The drive finishes commands and its interrupts do not arrive."},
		{NVMeLinkDegraded, Warn, "The PCIe link is slower or narrower than drive and slot can do."},
		{NVMeNoNamespace, Fail, "The controller is live and offers no namespace, so there is no disk."},
		{StorageDeviceGone, Fail, "The device that the storage's mount unit names does not exist."},
		{StorageVGGone, Fail, "The volume group or thin pool of the storage does not exist, nor any disk of it."},
		{StoragePoolGone, Fail, "The ZFS pool or dataset of the storage does not exist, and cannot be imported."},
		{StorageUnitLeft, Warn, "A mount unit or line of fstab waits at every boot for a disk that is gone, and no storage uses it."},
		{StorageMisplaced, Warn, "The storage is restricted to nodes that are not in the cluster, and what it lies on is on this node."},
		{StorageBootBlocked, Fail, "A line of fstab without nofail names a disk that is gone: the next boot ends in emergency mode."},
		{PVEAccess, Warn, "PVE does not let labd change storages: its token is not taken, or lacks rights."},
		{StorageConfigHazard, Warn, "storage.cfg holds something that PVE ignores and drops with its next write."},
		{StorageDown, Warn, "The storage is not usable now, but nothing says that it is gone."},
		{PVEClusterFilesystem, Fail, "PVE's cluster file system, /etc/pve, is down or lacks storage.cfg."},
		{StorageUnknown, Warn, "Whether the storage is usable cannot be told."},
		{StorageMalformed, Fail, "PVE rejects the section in storage.cfg, which blocks every change to any storage."},
		{StorageMasked, Fail, "The storage looks active and writes to the file system under its mount point."},
		{StorageOrphanNode, Warn, "The storage is restricted to nodes that are not in the cluster."},
		{StorageUnsupported, Warn, "PVE does not know the type; its next change of any storage drops the section."},
		{NetNoRoute, Warn, "The host has no route to the Docker subnet."},
		{NetForwardDrop, Warn, "The container's FORWARD chain drops packets from outside to the Docker subnet."},
		{NetRawDrop, Warn, "Docker drops directly routed packets in the container's raw table."},
		{NetOverlap, Warn, "The Docker subnet overlaps an address, a route or another container's network."},
		{NetOutsidePool, Warn, "The Docker subnet lies outside the pools that the operator allows."},
		{NetApproval, Warn, "The Docker subnet lies outside the pools and waits for labctl net approve."},
		{NetLANClash, Warn, "A Docker network has the addresses of the LAN, so its container cannot answer the LAN."},
		{NetUserDrop, Warn, "A rule of the user's own in the container closes the subnet, or a part of it; labd respects it."},
		{NetDockerUnreachable, Warn, "The container's Docker did not answer within its deadline."},
		{NetHostile, Warn, "The container's Docker answered something that no Docker answers."},
		{NetPVEFirewall, Warn, "PVE's firewall of the container drops what comes for the Docker subnet."},
		{NetIPFilter, Warn, "PVE's ipfilter drops what Docker's containers answer, since their addresses are not the container's."},
		{NetRPFilter, Warn, "The host drops packets of clients, since it would answer them by another interface."},
		{NetAsymmetric, Info, "Clients ask a container by way of the router, and it answers them directly."},
		{NetHostFirewall, Warn, "The host's own packet filter drops what is forwarded to the Docker subnet."},
		{NetRulesFought, Warn, "Something takes labd's rules or routes away again and again."},
		{NetNoAnswer, Fail, "A probed address does not answer, or only the host itself."},
		{NetNFTBackend, Warn, "Docker's nftables backend leaves no place for an accept rule of labd's."},
		{NetAliasPool, Warn, "A network in mode alias finds no free prefix in the alias pools, or its alias does not reach all of it."},
	}
	slices.SortFunc(defs, func(a, b Def) int {
		if a.Code < b.Code {
			return -1
		}
		return 1
	})
	return defs
}

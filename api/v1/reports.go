package v1

import "time"

// NVMeItem is one PCI function of class 0x0108xx (NVM controllers).
type NVMeItem struct {
	// ID is nvme/<PCI address>.
	ID string `json:"id"`
	// Rung is the first broken one; or ok.
	Rung    Rung   `json:"rung"`
	Verdict Health `json:"verdict"`
	PCIID   string `json:"pciId"`
	Vendor  string `json:"vendor,omitempty"`
	Product string `json:"product,omitempty"`
	Chip    string `json:"chip,omitempty"`
	Driver  string `json:"driver,omitempty"`
	// DriverOverride is the only driver that may have the function; none where any may.
	DriverOverride string `json:"driverOverride,omitempty"`
	Controller     string `json:"controller,omitempty"`
	State          string `json:"state,omitempty"`
	Model          string `json:"model,omitempty"`
	Serial         string `json:"serial,omitempty"`
	Firmware       string `json:"firmware,omitempty"`
	Transport      string `json:"transport,omitempty"`
	// Subsystem is the subsystem's NVMe qualified name, ControllerID the controller's id within it, Queues how many queues
	// it has, the admin queue included.
	Subsystem    string `json:"subsystem,omitempty"`
	ControllerID int    `json:"controllerId,omitempty"`
	Queues       int    `json:"queues,omitempty"`
	// HostMemory is whether the drive uses host memory as its buffer: on, off; none for a drive that wants none.
	HostMemory string          `json:"hostMemory,omitempty"`
	Namespaces []NVMeNamespace `json:"namespaces"`
	Link       *PCILink        `json:"link,omitempty"`
	// Port is the port that the function is plugged into; none on a root bus, as in virtual machines.
	Port *PCIPort `json:"port,omitempty"`
	// Errors are the counts of advanced error reporting; none without that capability.
	Errors *PCIErrors `json:"errors,omitempty"`
	// PowerState is D0, D3hot, D3cold, …; ASPM are the link's power-saving states that are switched on.
	PowerState string   `json:"powerState,omitempty"`
	ASPM       []string `json:"aspm,omitempty"`
	// PowerControl is auto or on, RuntimeStatus active or suspended; D3ColdAllowed says that the kernel may take its power.
	PowerControl  string `json:"powerControl,omitempty"`
	RuntimeStatus string `json:"runtimeStatus,omitempty"`
	D3ColdAllowed bool   `json:"d3coldAllowed,omitempty"`
	// Quirks are what the running kernel does differently for the drive, by the kernel's names: as it says itself (7.x), or
	// as its tables are known to have it.
	Quirks []string `json:"quirks,omitempty"`
	// Health is what the drive says of itself; none while it is not asked or does not answer.
	Health *NVMeHealth `json:"health,omitempty"`
	// HealthError is why the newest question for its health has no answer.
	HealthError string `json:"healthError,omitempty"`
	// Memory is what labd knows of the drive from before. Missing says that it was here and is gone; the id then names the
	// function that it was last at.
	Memory  *NVMeMemory `json:"memory,omitempty"`
	Missing bool        `json:"missing,omitempty"`
	// Incidents are what happened in this slot, oldest first.
	Incidents []NVMeIncident `json:"incidents,omitempty"`
	// Prediction is there where the request names a kernel.
	Prediction *NVMePrediction `json:"prediction,omitempty"`
	// Findings are the codes of the findings whose subject is this item.
	Findings []string `json:"findings"`
	// Problems are attributes that could not be read, one sentence each.
	Problems []string `json:"problems,omitempty"`
}

// NVMeNamespace is one namespace of a controller and its block device.
type NVMeNamespace struct {
	Device           string `json:"device"`
	NSID             int    `json:"nsid"`
	SizeBytes        int64  `json:"sizeBytes"`
	LogicalBlockSize int    `json:"logicalBlockSizeBytes,omitempty"`
	ReadOnly         bool   `json:"readOnly,omitempty"`
	WWID             string `json:"wwid,omitempty"`
	EUI              string `json:"eui,omitempty"`
	NGUID            string `json:"nguid,omitempty"`
	UUID             string `json:"uuid,omitempty"`
	// Paths are the hidden path nodes of a multipath disk that lie below this controller.
	Paths []string `json:"paths,omitempty"`
	// LoggedErrors are reads and writes that failed by this boot's kernel log, CommandErrors the kernel's own count (7.x).
	LoggedErrors  int     `json:"loggedErrors,omitempty"`
	CommandErrors *uint64 `json:"commandErrors,omitempty"`
	// Users are what holds it or a partition: "mount /tank", "swap", "lvm pve", "zfs tank", "dm luks-data", "md md0".
	Users []string `json:"users,omitempty"`
	// Contents are what the first bytes of the disk and its partitions say that is on it: "ext UUID", "lvm pve", "zfs tank", ….
	Contents []string `json:"contents,omitempty"`
	// Storages are the PVE storages on this namespace, as storage/NODE/ID.
	Storages []string `json:"storages,omitempty"`
}

// PCILink is the PCIe link of a function; speeds as the kernel writes them ("8.0 GT/s PCIe").
type PCILink struct {
	CurrentSpeed string `json:"currentSpeed,omitempty"`
	MaxSpeed     string `json:"maxSpeed,omitempty"`
	CurrentWidth int    `json:"currentWidth,omitempty"`
	MaxWidth     int    `json:"maxWidth,omitempty"`
}

// NVMeHealth is a drive's own account (SMART log page 02h and others).
type NVMeHealth struct {
	At time.Time `json:"at"` // when it was asked
	// CriticalWarning are the words for the bits that are set: spare, temperature, reliability, read-only, backup,
	// persistent-memory.
	CriticalWarning     []string    `json:"criticalWarning"`
	TemperatureCelsius  *int        `json:"temperatureCelsius,omitempty"` // absent where the drive does not say
	WarnCelsius         int         `json:"warnCelsius,omitempty"`
	CriticalCelsius     int         `json:"criticalCelsius,omitempty"`
	SensorsCelsius      map[int]int `json:"sensorsCelsius,omitempty"`
	SparePercent        int         `json:"sparePercent"`
	SpareThreshold      int         `json:"spareThresholdPercent"`
	UsedPercent         int         `json:"usedPercent"` // of the rated life; beyond 100 too
	BytesRead           uint64      `json:"bytesRead"`
	BytesWritten        uint64      `json:"bytesWritten"`
	PowerOnSeconds      float64     `json:"powerOnSeconds"`
	PowerCycles         uint64      `json:"powerCycles"`
	UnsafeShutdowns     uint64      `json:"unsafeShutdowns"`
	MediaErrors         uint64      `json:"mediaErrors"`
	ErrorLogEntries     uint64      `json:"errorLogEntries"`
	WarningTempSeconds  float64     `json:"warningTemperatureSeconds"`
	CriticalTempSeconds float64     `json:"criticalTemperatureSeconds"`
	// SelfTest is the last one: passed, failed or aborted; "" when there was none.
	SelfTest string `json:"selfTest,omitempty"`
	// SelfTests are the ones that the drive remembers, the newest first; SelfTestPercent is how far one is that runs.
	SelfTests       []NVMeSelfTest `json:"selfTests,omitempty"`
	SelfTestPercent *int           `json:"selfTestPercent,omitempty"`
	// Errors are the newest entries of the drive's error log, the newest first.
	Errors []NVMeError `json:"errors,omitempty"`
	// FirmwareSlots are the versions in the drive's firmware slots by number, ActiveSlot is the one that runs, NextSlot the
	// one that will after the next reset, where that is another.
	FirmwareSlots map[int]string `json:"firmwareSlots,omitempty"`
	ActiveSlot    int            `json:"activeFirmwareSlot,omitempty"`
	NextSlot      int            `json:"nextFirmwareSlot,omitempty"`
	// Problems are parts of the account that the drive did not give, one sentence each.
	Problems []string `json:"problems,omitempty"`
	// Doubts are values that cannot be right: nothing should be concluded from an account that has some.
	Doubts []string `json:"doubts,omitempty"`
	// BusySeconds, ReadCommands and WriteCommands are over the drive's life.
	BusySeconds   float64 `json:"busySeconds,omitempty"`
	ReadCommands  uint64  `json:"readCommands,omitempty"`
	WriteCommands uint64  `json:"writeCommands,omitempty"`
	// WearPerDay is in percent of the rated life, by the last 30 days, DaysLeft the days to 100 % at that pace; none where
	// they do not tell.
	WearPerDay *float64 `json:"wearPercentPerDay,omitempty"`
	DaysLeft   *float64 `json:"daysLeft,omitempty"`
}

// NVMeSelfTest is one self-test of a drive.
type NVMeSelfTest struct {
	// Kind is short, extended or vendor; Result passed, failed or aborted.
	Kind   string `json:"kind"`
	Result string `json:"result"`
	// PowerOnSeconds is the drive's time with power at its end, in whole hours.
	PowerOnSeconds float64 `json:"powerOnSeconds"`
}

// NVMeError is one entry of a drive's error log.
type NVMeError struct {
	Count     uint64 `json:"count"` // since the drive was made
	Status    int    `json:"status"`
	Text      string `json:"text"`
	LBA       uint64 `json:"lba"`
	Namespace uint32 `json:"namespace"`
}

// NVMeMemory is what labd remembers of a drive.
type NVMeMemory struct {
	Model    string    `json:"model"`
	Serial   string    `json:"serial"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Contents []string  `json:"contents,omitempty"`
}

// NVMeIncident is something that happened to a drive in a slot.
type NVMeIncident struct {
	At time.Time `json:"at"`
	// Slot is the PCI address at which it happened; a drive brings its incidents with it to another.
	Slot   string `json:"slot,omitempty"`
	Serial string `json:"serial,omitempty"`
	// Kind is down, disabled, inaccessible, power-refused, bus-error, internal-error, not-ready, timeout, media-error or io-error.
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// NVMePrediction is what another kernel would make of a drive.
type NVMePrediction struct {
	Kernel     string     `json:"kernel"`
	Outcome    Outcome    `json:"outcome"`
	Reason     string     `json:"reason"`
	Confidence Confidence `json:"confidence"`
}

// PCIPort is a PCIe root or downstream port.
type PCIPort struct {
	Address string     `json:"address"`
	Link    *PCILink   `json:"link,omitempty"`
	Errors  *PCIErrors `json:"errors,omitempty"`
}

// PCIErrors are the errors of a link since boot.
type PCIErrors struct {
	Correctable uint64 `json:"correctable"`
	NonFatal    uint64 `json:"nonFatal"`
	Fatal       uint64 `json:"fatal"`
}

// StorageItem is one entry of storage.cfg as one node sees it.
type StorageItem struct {
	// ID is storage/<node>/<storage id>.
	ID      string         `json:"id"`
	Storage string         `json:"storage"`
	Type    string         `json:"type"`
	Path    string         `json:"path,omitempty"`
	Verdict StorageVerdict `json:"verdict"`
	// Reason is why, in one sentence.
	Reason string `json:"reason,omitempty"`
	// GoneSince is since when the storage has been found dead.
	GoneSince *time.Time `json:"goneSince,omitempty"`
	// CandidateAt is when a bare fix-storage may include the entry; null when it never will by itself.
	CandidateAt *time.Time  `json:"candidateAt"`
	References  []Reference `json:"references"`
	Findings    []string    `json:"findings"`
	Plan        *Plan       `json:"plan,omitempty"`
	// Refusal is why there is no plan for an entry that is dead.
	Refusal string `json:"refusal,omitempty"`
	// Waits is why a bare fix-storage never takes an entry by itself although it is dead.
	Waits string `json:"waits,omitempty"`
}

// Reference is one place that names a storage.
type Reference struct {
	File    string `json:"file"`
	Section string `json:"section,omitempty"`
	Key     string `json:"key"`
	Value   string `json:"value,omitempty"`
	// Line is where in the file, counted from 1; 0 where it is not known.
	Line  int   `json:"line,omitempty"`
	Grade Grade `json:"grade"`
	// Reason is what is at stake, in a few words.
	Reason string `json:"reason,omitempty"`
	// Kept says that it is another node's, for which the entry stays.
	Kept bool `json:"kept,omitempty"`
}

// NetworkItem is one Docker network in one container.
type NetworkItem struct {
	// ID is network/<container id>/<network name>.
	ID        string   `json:"id"`
	Container int      `json:"container"`
	Name      string   `json:"name"`
	Driver    string   `json:"driver,omitempty"`
	Bridge    string   `json:"bridge,omitempty"`
	Subnets   []string `json:"subnets"`
	// Mode is direct (by its own addresses), alias (by those of an alias) or off.
	Mode NetworkMode `json:"mode"`
	// Aliases are the prefixes that stand for the subnets, in mode alias.
	Aliases []Alias        `json:"aliases"`
	Verdict NetworkVerdict `json:"verdict"`
	Reason  string         `json:"reason,omitempty"`
	// Route is the wanted route per subnet, as "10.1.0.0/24 via 10.77.0.101 dev vmbr0".
	Route []string `json:"route"`
	// Rules are the wanted rules in the container, in iptables-save syntax; or, behind "nft", in nft's.
	Rules    []string `json:"rules"`
	Findings []string `json:"findings"`
}

// Alias is a prefix that stands for a subnet, or for the first part of it, address by address.
type Alias struct {
	Prefix string `json:"prefix"`
	Subnet string `json:"subnet"`
}

// StatusItem is one job of labd in one line.
type StatusItem struct {
	// ID is nvme, storage or network.
	ID         string    `json:"id"`
	Verdict    Health    `json:"verdict"`
	Summary    string    `json:"summary"`
	ObservedAt time.Time `json:"observedAt"`
}

// JournalItem is the title line of one journal entry; what undo needs stays in the daemon.
type JournalItem struct {
	ID        string       `json:"id"`
	Time      time.Time    `json:"time"`
	EndedAt   *time.Time   `json:"endedAt,omitempty"`
	Actor     string       `json:"actor"`
	Title     string       `json:"title"`
	Subjects  []string     `json:"subjects"`
	State     JournalState `json:"state"`
	Undoable  bool         `json:"undoable"`
	Undoes    string       `json:"undoes,omitempty"`
	UndoneBy  string       `json:"undoneBy,omitempty"`
	StepsDone int          `json:"stepsDone"`
	Steps     int          `json:"steps"`
	Error     string       `json:"error,omitempty"`
}

// Version is the answer of GET /v1/version, and of labctl version.
type Version struct {
	Labctl string `json:"labctl,omitempty"`
	Labd   string `json:"labd,omitempty"`
	Kernel string `json:"kernel,omitempty"`
}

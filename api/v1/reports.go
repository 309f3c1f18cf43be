package v1

import "time"

// NVMeItem is one PCI function of class 0x0108xx (NVM controllers).
type NVMeItem struct {
	// ID is nvme/<PCI address>.
	ID string `json:"id" support:"yes"`
	// Rung is the first broken one; or ok.
	Rung    Rung   `json:"rung" support:"yes"`
	Verdict Health `json:"verdict" support:"yes"`
	PCIID   string `json:"pciId" support:"yes"`
	Vendor  string `json:"vendor,omitempty" support:"yes"`
	Product string `json:"product,omitempty" support:"yes"`
	Chip    string `json:"chip,omitempty" support:"yes"`
	Driver  string `json:"driver,omitempty" support:"yes"`
	// DriverOverride is the only driver that may have the function; none where any may.
	DriverOverride string `json:"driverOverride,omitempty"`
	Controller     string `json:"controller,omitempty" support:"yes"`
	State          string `json:"state,omitempty" support:"yes"`
	Model          string `json:"model,omitempty" support:"yes"`
	Serial         string `json:"serial,omitempty" support:"yes"`
	Firmware       string `json:"firmware,omitempty" support:"yes"`
	Transport      string `json:"transport,omitempty"`
	// Subsystem is the subsystem's NVMe qualified name, ControllerID the controller's id within it, Queues how many queues
	// it has, the admin queue included.
	Subsystem    string `json:"subsystem,omitempty"`
	ControllerID int    `json:"controllerId,omitempty"`
	Queues       int    `json:"queues,omitempty"`
	// HostMemory is whether the drive uses host memory as its buffer: on, off; none for a drive that wants none.
	HostMemory string          `json:"hostMemory,omitempty"`
	Namespaces []NVMeNamespace `json:"namespaces" support:"yes"`
	Link       *PCILink        `json:"link,omitempty" support:"yes"`
	// Port is the port that the function is plugged into; none on a root bus, as in virtual machines.
	Port *PCIPort `json:"port,omitempty"`
	// Errors are the counts of advanced error reporting; none without that capability.
	Errors *PCIErrors `json:"errors,omitempty" support:"yes"`
	// PowerState is D0, D3hot, D3cold, …; ASPM are the link's power-saving states that are switched on.
	PowerState string   `json:"powerState,omitempty" support:"yes"`
	ASPM       []string `json:"aspm,omitempty" support:"yes"`
	// PowerControl is auto or on, RuntimeStatus active or suspended; D3ColdAllowed says that the kernel may take its power.
	PowerControl  string `json:"powerControl,omitempty"`
	RuntimeStatus string `json:"runtimeStatus,omitempty"`
	D3ColdAllowed bool   `json:"d3coldAllowed,omitempty"`
	// Quirks are what the running kernel does differently for the drive, by the kernel's names: as it says itself (7.x), or
	// as its tables are known to have it.
	Quirks []string `json:"quirks,omitempty" support:"yes"`
	// Health is what the drive says of itself; none while it is not asked or does not answer.
	Health *NVMeHealth `json:"health,omitempty" support:"yes"`
	// HealthError is why the newest question for its health has no answer.
	HealthError string `json:"healthError,omitempty" support:"yes"`
	// Memory is what labd knows of the drive from before. Missing says that it was here and is gone; the id then names the
	// function that it was last at.
	Memory  *NVMeMemory `json:"memory,omitempty"`
	Missing bool        `json:"missing,omitempty" support:"yes"`
	// Incidents are what happened in this slot, oldest first.
	Incidents []NVMeIncident `json:"incidents,omitempty" support:"yes"`
	// Storages are the PVE storages that lie on the drive, or lay on it when it was last here, as storage/NODE/ID.
	Storages []string `json:"storages,omitempty" support:"yes"`
	// Prediction is there where the request names a kernel.
	Prediction *NVMePrediction `json:"prediction,omitempty"`
	// Findings are the codes of the findings whose subject is this item.
	Findings []string `json:"findings" support:"yes"`
	// Problems are attributes that could not be read, one sentence each.
	Problems []string `json:"problems,omitempty" support:"yes"`
}

// NVMeNamespace is one namespace of a controller and its block device.
type NVMeNamespace struct {
	Device           string `json:"device" support:"yes"`
	NSID             int    `json:"nsid" support:"yes"`
	SizeBytes        int64  `json:"sizeBytes" support:"yes"`
	LogicalBlockSize int    `json:"logicalBlockSizeBytes,omitempty"`
	ReadOnly         bool   `json:"readOnly,omitempty" support:"yes"`
	WWID             string `json:"wwid,omitempty" support:"yes"`
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
	Contents []string `json:"contents,omitempty" support:"yes"`
	// Storages are the PVE storages on this namespace, as storage/NODE/ID.
	Storages []string `json:"storages,omitempty" support:"yes"`
}

// PCILink is the PCIe link of a function; speeds as the kernel writes them ("8.0 GT/s PCIe").
type PCILink struct {
	CurrentSpeed string `json:"currentSpeed,omitempty" support:"yes"`
	MaxSpeed     string `json:"maxSpeed,omitempty" support:"yes"`
	CurrentWidth int    `json:"currentWidth,omitempty" support:"yes"`
	MaxWidth     int    `json:"maxWidth,omitempty" support:"yes"`
}

// NVMeHealth is a drive's own account (SMART log page 02h and others).
type NVMeHealth struct {
	At time.Time `json:"at" support:"yes"` // when it was asked
	// CriticalWarning are the words for the bits that are set: spare, temperature, reliability, read-only, backup,
	// persistent-memory.
	CriticalWarning     []string    `json:"criticalWarning" support:"yes"`
	TemperatureCelsius  *int        `json:"temperatureCelsius,omitempty" support:"yes"` // absent where the drive does not say
	WarnCelsius         int         `json:"warnCelsius,omitempty" support:"yes"`
	CriticalCelsius     int         `json:"criticalCelsius,omitempty" support:"yes"`
	SensorsCelsius      map[int]int `json:"sensorsCelsius,omitempty" support:"yes"`
	SparePercent        int         `json:"sparePercent" support:"yes"`
	SpareThreshold      int         `json:"spareThresholdPercent" support:"yes"`
	UsedPercent         int         `json:"usedPercent" support:"yes"` // of the rated life; beyond 100 too
	BytesRead           uint64      `json:"bytesRead" support:"yes"`
	BytesWritten        uint64      `json:"bytesWritten" support:"yes"`
	PowerOnSeconds      float64     `json:"powerOnSeconds" support:"yes"`
	PowerCycles         uint64      `json:"powerCycles" support:"yes"`
	UnsafeShutdowns     uint64      `json:"unsafeShutdowns" support:"yes"`
	MediaErrors         uint64      `json:"mediaErrors" support:"yes"`
	ErrorLogEntries     uint64      `json:"errorLogEntries" support:"yes"`
	WarningTempSeconds  float64     `json:"warningTemperatureSeconds" support:"yes"`
	CriticalTempSeconds float64     `json:"criticalTemperatureSeconds" support:"yes"`
	// SelfTest is the last one: passed, failed or aborted; "" when there was none.
	SelfTest string `json:"selfTest,omitempty" support:"yes"`
	// SelfTests are the ones that the drive remembers, the newest first; SelfTestPercent is how far one is that runs.
	SelfTests       []NVMeSelfTest `json:"selfTests,omitempty" support:"yes"`
	SelfTestPercent *int           `json:"selfTestPercent,omitempty" support:"yes"`
	// Errors are the newest entries of the drive's error log, the newest first.
	Errors []NVMeError `json:"errors,omitempty" support:"yes"`
	// FirmwareSlots are the versions in the drive's firmware slots by number, ActiveSlot is the one that runs, NextSlot the
	// one that will after the next reset, where that is another.
	FirmwareSlots map[int]string `json:"firmwareSlots,omitempty" support:"yes"`
	ActiveSlot    int            `json:"activeFirmwareSlot,omitempty" support:"yes"`
	NextSlot      int            `json:"nextFirmwareSlot,omitempty" support:"yes"`
	// Problems are parts of the account that the drive did not give, one sentence each.
	Problems []string `json:"problems,omitempty" support:"yes"`
	// Doubts are values that cannot be right: nothing should be concluded from an account that has some.
	Doubts []string `json:"doubts,omitempty" support:"yes"`
	// BusySeconds, ReadCommands and WriteCommands are over the drive's life.
	BusySeconds   float64 `json:"busySeconds,omitempty" support:"yes"`
	ReadCommands  uint64  `json:"readCommands,omitempty" support:"yes"`
	WriteCommands uint64  `json:"writeCommands,omitempty" support:"yes"`
	// WearPerDay is in percent of the rated life, by the last 30 days, DaysLeft the days to 100 % at that pace; none where
	// they do not tell.
	WearPerDay *float64 `json:"wearPercentPerDay,omitempty" support:"yes"`
	DaysLeft   *float64 `json:"daysLeft,omitempty" support:"yes"`
}

// NVMeSelfTest is one self-test of a drive.
type NVMeSelfTest struct {
	// Kind is short, extended or vendor; Result passed, failed or aborted.
	Kind   string `json:"kind" support:"yes"`
	Result string `json:"result" support:"yes"`
	// PowerOnSeconds is the drive's time with power at its end, in whole hours.
	PowerOnSeconds float64 `json:"powerOnSeconds" support:"yes"`
}

// NVMeError is one entry of a drive's error log.
type NVMeError struct {
	Count     uint64 `json:"count" support:"yes"` // since the drive was made
	Status    int    `json:"status" support:"yes"`
	Text      string `json:"text" support:"yes"`
	LBA       uint64 `json:"lba" support:"yes"`
	Namespace uint32 `json:"namespace" support:"yes"`
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
	At time.Time `json:"at" support:"yes"`
	// Slot is the PCI address at which it happened; a drive brings its incidents with it to another.
	Slot   string `json:"slot,omitempty"`
	Serial string `json:"serial,omitempty" support:"yes"`
	// Kind is down, disabled, inaccessible, power-refused, bus-error, internal-error, not-ready, timeout, media-error or io-error.
	Kind string `json:"kind" support:"yes"`
	Text string `json:"text" support:"yes"`
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
	Correctable uint64 `json:"correctable" support:"yes"`
	NonFatal    uint64 `json:"nonFatal" support:"yes"`
	Fatal       uint64 `json:"fatal" support:"yes"`
}

// StorageItem is one entry of storage.cfg as one node sees it.
type StorageItem struct {
	// ID is storage/<node>/<storage id>.
	ID      string         `json:"id" support:"yes"`
	Storage string         `json:"storage"`
	Type    string         `json:"type" support:"yes"`
	Path    string         `json:"path,omitempty" support:"yes"`
	Verdict StorageVerdict `json:"verdict" support:"yes"`
	// Reason is why, in one sentence.
	Reason string `json:"reason,omitempty" support:"yes"`
	// GoneSince is since when the storage has been found dead.
	GoneSince *time.Time `json:"goneSince,omitempty"`
	// CandidateAt is when a bare fix-storage may include the entry; null when it never will by itself.
	CandidateAt *time.Time  `json:"candidateAt" support:"yes"`
	References  []Reference `json:"references" support:"yes"`
	Findings    []string    `json:"findings" support:"yes"`
	Plan        *Plan       `json:"plan,omitempty"`
	// Refusal is why there is no plan for an entry that is dead.
	Refusal string `json:"refusal,omitempty" support:"yes"`
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
	Grade Grade `json:"grade" support:"yes"`
	// Reason is what is at stake, in a few words.
	Reason string `json:"reason,omitempty"`
	// Kept says that it is another node's, for which the entry stays.
	Kept bool `json:"kept,omitempty"`
}

// NetworkItem is one Docker network in one container.
type NetworkItem struct {
	// ID is network/<container id>/<network name>.
	ID        string   `json:"id" support:"yes"`
	Container int      `json:"container"`
	Name      string   `json:"name"`
	Driver    string   `json:"driver,omitempty" support:"yes"`
	Bridge    string   `json:"bridge,omitempty" support:"yes"`
	Subnets   []string `json:"subnets" support:"yes"`
	// Mode is direct (by its own addresses), alias (by those of an alias) or off.
	Mode NetworkMode `json:"mode" support:"yes"`
	// Aliases are the prefixes that stand for the subnets, in mode alias.
	Aliases []Alias        `json:"aliases" support:"yes"`
	Verdict NetworkVerdict `json:"verdict" support:"yes"`
	Reason  string         `json:"reason,omitempty" support:"yes"`
	// Route is the wanted route per subnet, as "10.1.0.0/24 via 10.77.0.101 dev vmbr0".
	Route []string `json:"route" support:"yes"`
	// Rules are the wanted rules in the container, in iptables-save syntax; or, behind "nft", in nft's.
	Rules    []string `json:"rules" support:"yes"`
	Findings []string `json:"findings" support:"yes"`
}

// Alias is a prefix that stands for a subnet, or for the first part of it, address by address.
type Alias struct {
	Prefix string `json:"prefix" support:"yes"`
	Subnet string `json:"subnet" support:"yes"`
}

// StatusItem is one job of labd in one line.
type StatusItem struct {
	// ID is nvme, storage or network.
	ID         string    `json:"id" support:"yes"`
	Verdict    Health    `json:"verdict" support:"yes"`
	Summary    string    `json:"summary" support:"yes"`
	ObservedAt time.Time `json:"observedAt" support:"yes"`
}

// JournalItem is the title line of one journal entry; what undo needs stays in the daemon.
type JournalItem struct {
	ID        string       `json:"id" support:"yes"`
	Time      time.Time    `json:"time" support:"yes"`
	EndedAt   *time.Time   `json:"endedAt,omitempty"`
	Actor     string       `json:"actor"`
	Title     string       `json:"title" support:"yes"`
	Subjects  []string     `json:"subjects" support:"yes"`
	State     JournalState `json:"state" support:"yes"`
	Undoable  bool         `json:"undoable"`
	Undoes    string       `json:"undoes,omitempty"`
	UndoneBy  string       `json:"undoneBy,omitempty" support:"yes"`
	StepsDone int          `json:"stepsDone" support:"yes"`
	Steps     int          `json:"steps" support:"yes"`
	Error     string       `json:"error,omitempty" support:"yes"`
	// StepList are the steps; only where one entry was asked for.
	StepList []JournalStep `json:"stepList,omitempty"`
}

// JournalStep is one step of a journal entry.
type JournalStep struct {
	Title    string `json:"title"`
	How      string `json:"how"`
	Verify   string `json:"verify"`
	Undo     string `json:"undo,omitempty"`
	Undoable bool   `json:"undoable"`
	// Former is what was there before, in words, without secrets; empty where labd does not say.
	Former string `json:"former,omitempty"`
	// Begun says that the step may have changed something, Done that it ran and was verified.
	Begun bool `json:"begun"`
	Done  bool `json:"done"`
	// BegunAt and EndedAt are when it began, and when it was verified or failed.
	BegunAt *time.Time `json:"begunAt,omitempty"`
	EndedAt *time.Time `json:"endedAt,omitempty"`
	Error   string     `json:"error,omitempty"`
}

// Version is the answer of GET /v1/version, and of labctl version.
type Version struct {
	Labctl string `json:"labctl,omitempty"`
	Labd   string `json:"labd,omitempty"`
	Kernel string `json:"kernel,omitempty"`
}

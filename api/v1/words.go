package v1

import "labd/internal/health"

// The words that a field may hold are types of their own. Each lists its words by Values, from which openapi.yaml has
// them; a program that names a word by its constant does not compile when the word is renamed.

// Health is how well something is; see [health.Level] for the order.
type Health = health.Level

// Healths, from well to bad.
const (
	HealthOK      = health.OK
	HealthInfo    = health.Info
	HealthUnknown = health.Unknown
	HealthWarn    = health.Warn
	HealthFail    = health.Fail
)

// WorstHealth returns the worst of healths; HealthOK when there is none.
func WorstHealth(healths ...Health) Health { return health.Worst(healths...) }

// Severity is how bad a finding is.
type Severity string

// Severities of a Finding, from harmless to bad.
const (
	SeverityInfo Severity = "info"
	SeverityWarn Severity = "warn"
	SeverityFail Severity = "fail"
)

// Values returns all severities.
func (Severity) Values() []Severity { return []Severity{SeverityInfo, SeverityWarn, SeverityFail} }

// Health returns how bad a finding of the severity is.
func (s Severity) Health() Health { return Health(s) }

// State is whether a finding is shown, or why it is not.
type State string

// States of a Finding.
const (
	StateActive      State = "active"
	StatePending     State = "pending"
	StateConsequence State = "consequence"
	StateSilenced    State = "silenced"
)

// Values returns all states.
func (State) Values() []State {
	return []State{StateActive, StatePending, StateConsequence, StateSilenced}
}

// Confidence is how sure a cause or a prediction is.
type Confidence string

// Confidences.
const (
	ConfidenceCertain Confidence = "certain"
	ConfidenceLikely  Confidence = "likely"
	ConfidenceUnknown Confidence = "unknown"
)

// Values returns all confidences.
func (Confidence) Values() []Confidence {
	return []Confidence{ConfidenceCertain, ConfidenceLikely, ConfidenceUnknown}
}

// Risk is what a remedy or a step of a plan can cost.
type Risk string

// Risks.
const (
	RiskNone Risk = "none"
	RiskLow  Risk = "low"
	RiskHigh Risk = "high"
)

// Values returns all risks.
func (Risk) Values() []Risk { return []Risk{RiskNone, RiskLow, RiskHigh} }

// Rung is a rung of the ladder that an NVMe drive climbs.
type Rung string

// Rungs, in their order; RungOK is the end of the ladder.
const (
	RungPCI        Rung = "pci"
	RungDriver     Rung = "driver"
	RungController Rung = "controller"
	RungNamespace  Rung = "namespace"
	RungBlock      Rung = "block"
	RungOK         Rung = "ok"
)

// Values returns all rungs.
func (Rung) Values() []Rung {
	return []Rung{RungPCI, RungDriver, RungController, RungNamespace, RungBlock, RungOK}
}

// StorageVerdict is what is the matter with a storage.
type StorageVerdict string

// Verdicts on a storage.
const (
	StorageOK          StorageVerdict = "ok"
	StorageDown        StorageVerdict = "down"
	StorageGone        StorageVerdict = "gone"
	StorageMasked      StorageVerdict = "masked"
	StorageOrphanNode  StorageVerdict = "orphan-node"
	StorageMisplaced   StorageVerdict = "misplaced"
	StorageMalformed   StorageVerdict = "malformed"
	StorageUnsupported StorageVerdict = "unsupported"
	StorageDisabled    StorageVerdict = "disabled"
	StorageUnknown     StorageVerdict = "unknown"
)

// Values returns all verdicts.
func (StorageVerdict) Values() []StorageVerdict {
	return []StorageVerdict{
		StorageOK, StorageDown, StorageGone, StorageMasked, StorageOrphanNode, StorageMisplaced, StorageMalformed, StorageUnsupported,
		StorageDisabled, StorageUnknown,
	}
}

// Health returns how well a storage with the verdict is.
func (v StorageVerdict) Health() Health {
	switch v {
	case StorageOK:
		return HealthOK
	case StorageDisabled:
		return HealthInfo
	case StorageGone, StorageMasked, StorageMalformed:
		return HealthFail
	case StorageDown, StorageOrphanNode, StorageMisplaced, StorageUnsupported:
		return HealthWarn
	default:
		return HealthUnknown
	}
}

// Grade says whether a reference to a storage can be taken away without loss.
type Grade string

// Grades of a Reference.
const (
	GradeBlock   Grade = "block"
	GradeFixable Grade = "fixable"
)

// Values returns all grades.
func (Grade) Values() []Grade { return []Grade{GradeBlock, GradeFixable} }

// Effect is what becomes of a hazard in storage.cfg.
type Effect string

// Effects of a StorageHazard.
const (
	EffectBlocks   Effect = "blocks"
	EffectLoses    Effect = "loses"
	EffectMisreads Effect = "misreads"
	EffectHarmless Effect = "harmless"
)

// Values returns all effects.
func (Effect) Values() []Effect {
	return []Effect{EffectBlocks, EffectLoses, EffectMisreads, EffectHarmless}
}

// NetworkVerdict is what is the matter with a Docker network.
type NetworkVerdict string

// Verdicts on a Docker network.
const (
	NetworkOK          NetworkVerdict = "ok"
	NetworkPlanned     NetworkVerdict = "planned"
	NetworkRefused     NetworkVerdict = "refused"
	NetworkDrift       NetworkVerdict = "drift"
	NetworkUnreachable NetworkVerdict = "unreachable"
	NetworkUnknown     NetworkVerdict = "unknown"
)

// Values returns all verdicts.
func (NetworkVerdict) Values() []NetworkVerdict {
	return []NetworkVerdict{NetworkOK, NetworkPlanned, NetworkRefused, NetworkDrift, NetworkUnreachable, NetworkUnknown}
}

// Health returns how well a network with the verdict is.
func (v NetworkVerdict) Health() Health {
	switch v {
	case NetworkOK:
		return HealthOK
	case NetworkPlanned:
		return HealthInfo
	case NetworkRefused, NetworkDrift, NetworkUnreachable:
		return HealthWarn
	default:
		return HealthUnknown
	}
}

// NetworkMode is how a Docker network is reached.
type NetworkMode string

// Modes of a Docker network.
const (
	NetworkDirect NetworkMode = "direct"
	NetworkAlias  NetworkMode = "alias"
	NetworkOff    NetworkMode = "off"
)

// Values returns all modes.
func (NetworkMode) Values() []NetworkMode {
	return []NetworkMode{NetworkDirect, NetworkAlias, NetworkOff}
}

// ProbeVerdict is whether packets arrive.
type ProbeVerdict string

// Verdicts of a probe.
const (
	ProbeOK ProbeVerdict = "ok"
	// ProbeClosed says that packets arrive, and nothing listens on the port.
	ProbeClosed  ProbeVerdict = "closed"
	ProbeBlocked ProbeVerdict = "blocked"
	ProbeUnknown ProbeVerdict = "unknown"
)

// Values returns all verdicts.
func (ProbeVerdict) Values() []ProbeVerdict {
	return []ProbeVerdict{ProbeOK, ProbeClosed, ProbeBlocked, ProbeUnknown}
}

// Health returns how well the way to an address is.
func (v ProbeVerdict) Health() Health {
	switch v {
	case ProbeOK:
		return HealthOK
	case ProbeClosed:
		return HealthWarn
	case ProbeBlocked:
		return HealthFail
	default:
		return HealthUnknown
	}
}

// PortState is what a TCP connection to a port found.
type PortState string

// States of a port: something accepted the connection, something refused it, nothing answered.
const (
	PortOpen     PortState = "open"
	PortClosed   PortState = "closed"
	PortFiltered PortState = "filtered"
)

// Values returns all states.
func (PortState) Values() []PortState { return []PortState{PortOpen, PortClosed, PortFiltered} }

// HopState is whether packets pass a place on the way.
type HopState string

// States of a ProbeHop.
const (
	HopOK       HopState = "ok"
	HopBlocking HopState = "blocking"
	HopUnknown  HopState = "unknown"
)

// Values returns all states.
func (HopState) Values() []HopState { return []HopState{HopOK, HopBlocking, HopUnknown} }

// Health returns how well a hop in the state is.
func (s HopState) Health() Health {
	switch s {
	case HopOK:
		return HealthOK
	case HopBlocking:
		return HealthFail
	default:
		return HealthUnknown
	}
}

// HopName is a place on the way of a packet.
type HopName string

// Places on the way, in the order of the way.
const (
	HopRoute               HopName = "route"
	HopHostForwarding      HopName = "host-forwarding"
	HopHostRPFilter        HopName = "host-rp-filter"
	HopHostForward         HopName = "host-forward"
	HopHostOutput          HopName = "host-output"
	HopPVEFirewall         HopName = "pve-firewall"
	HopContainer           HopName = "container"
	HopContainerAlias      HopName = "container-alias"
	HopContainerRaw        HopName = "container-raw"
	HopContainerForwarding HopName = "container-forwarding"
	HopContainerRPFilter   HopName = "container-rp-filter"
	HopContainerForward    HopName = "container-forward"
	HopContainerInput      HopName = "container-input"
	HopDockerFirewall      HopName = "docker-firewall"
	HopBridge              HopName = "bridge"
	HopDockerContainer     HopName = "docker-container"
	HopPort                HopName = "port"
	HopPVEIPFilter         HopName = "pve-ipfilter"
	HopReturn              HopName = "return"
)

// Values returns all places.
func (HopName) Values() []HopName {
	return []HopName{
		HopRoute, HopHostForwarding, HopHostRPFilter, HopHostForward, HopHostOutput, HopPVEFirewall, HopContainer, HopContainerAlias, HopContainerRaw,
		HopContainerForwarding, HopContainerRPFilter, HopContainerForward, HopContainerInput, HopDockerFirewall, HopBridge, HopDockerContainer, HopPort,
		HopPVEIPFilter, HopReturn,
	}
}

// Outcome is what a kernel would make of a drive.
type Outcome string

// Outcomes of an NVMePrediction.
const (
	OutcomeRecognised Outcome = "recognised"
	OutcomeIDsCleared Outcome = "ids-cleared"
	OutcomeRefused    Outcome = "refused"
	OutcomeNotReady   Outcome = "not-ready"
	OutcomeUnknown    Outcome = "unknown"
)

// Values returns all outcomes.
func (Outcome) Values() []Outcome {
	return []Outcome{OutcomeRecognised, OutcomeIDsCleared, OutcomeRefused, OutcomeNotReady, OutcomeUnknown}
}

// Health returns how well a drive with the outcome would be.
func (o Outcome) Health() Health {
	switch o {
	case OutcomeRecognised:
		return HealthOK
	case OutcomeIDsCleared:
		return HealthInfo
	case OutcomeRefused, OutcomeNotReady:
		return HealthFail
	default:
		return HealthWarn
	}
}

// JournalState is how a journal entry ended.
type JournalState string

// States of a JournalItem. One without an end is under way, or its labd was killed.
const (
	JournalUnended     JournalState = ""
	JournalApplied     JournalState = "applied"
	JournalFailed      JournalState = "failed"
	JournalInterrupted JournalState = "interrupted"
	JournalUndone      JournalState = "undone"
)

// Values returns all states.
func (JournalState) Values() []JournalState {
	return []JournalState{JournalUnended, JournalApplied, JournalFailed, JournalInterrupted, JournalUndone}
}

// StepPhase is how far a step of a plan is.
type StepPhase string

// Phases of a step.
const (
	StepBegun  StepPhase = "begun"
	StepDone   StepPhase = "done"
	StepFailed StepPhase = "failed"
)

// Values returns all phases.
func (StepPhase) Values() []StepPhase { return []StepPhase{StepBegun, StepDone, StepFailed} }

// TreeKind is what a TreeItem is.
type TreeKind string

// Kinds of a TreeItem, from the root down.
const (
	TreeNode      TreeKind = "node"
	TreeLXC       TreeKind = "lxc"
	TreeProject   TreeKind = "project"
	TreeContainer TreeKind = "container"
	TreeNetwork   TreeKind = "network"
	TreeRoute     TreeKind = "route"
)

// Values returns all kinds.
func (TreeKind) Values() []TreeKind {
	return []TreeKind{TreeNode, TreeLXC, TreeProject, TreeContainer, TreeNetwork, TreeRoute}
}

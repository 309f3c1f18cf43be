package v1

import (
	"fmt"
	"slices"
)

// Actions of a PlanRequest.
const (
	ActionNVMeRescue     = "nvme.rescue"
	ActionStorageRemove  = "storage.remove"
	ActionStorageDisable = "storage.disable"
	ActionNetworkApply   = "network.apply"
	ActionNetworkOn      = "network.on"
	ActionNetworkOff     = "network.off"
	ActionNetworkApprove = "network.approve"
	ActionSetupPVE       = "setup.pve"
	ActionUndo           = "journal.undo"
)

// MethodRotate has setup.pve replace a token that works.
const MethodRotate = "rotate"

// RescueMethod is a way to bring an NVMe function to work; empty takes what fits.
type RescueMethod string

// Ways to bring an NVMe function to work.
const (
	RescueReprobe RescueMethod = "reprobe"
	RescueBind    RescueMethod = "bind"
	RescueNewID   RescueMethod = "new-id"
)

// Values returns all methods.
func (RescueMethod) Values() []RescueMethod {
	return []RescueMethod{RescueReprobe, RescueBind, RescueNewID}
}

// PlanRequest asks for a plan: POST /v1/plans. The same request with the digest of the plan applies it: POST
// /v1/plans/apply. It is the envelope of the requests of all actions; each takes the fields of its own and no others.
type PlanRequest struct {
	Action string `json:"action"`
	// IDs are what to act on: the PCI address for nvme.rescue, storage ids for storage.remove and storage.disable (none means
	// every dead storage whose time has come), prefixes for network.approve (none means every one that waits), the id of a
	// journal entry for journal.undo.
	IDs []string `json:"ids,omitempty"`
	// Method is how: reprobe, bind or new-id of nvme.rescue, rotate of setup.pve. Empty takes what fits.
	Method string `json:"method,omitempty"`
	// FixRefs allows storage.remove to take away the references that can be taken away without loss.
	FixRefs bool `json:"fixRefs,omitempty"`
	// Digest is the plan's digest; required to apply.
	Digest string `json:"digest,omitempty"`
}

// Request is what one action takes; PlanRequest is how it travels.
type Request interface{ PlanRequest() PlanRequest }

// RescueRequest asks to bring the NVMe function at a PCI address to work.
type RescueRequest struct {
	Address string
	Method  RescueMethod
}

// RemoveStoragesRequest asks to remove dead storages: those named, or all whose time has come.
type RemoveStoragesRequest struct {
	IDs []string
	// FixRefs allows to take away the references that can be taken away without loss.
	FixRefs bool
}

// DisableStoragesRequest asks to disable storages.
type DisableStoragesRequest struct{ IDs []string }

// ApplyNetworksRequest asks to make the routes and rules that Docker networks want.
type ApplyNetworksRequest struct {
	// Keep has labd keep them as they are wanted from then on.
	Keep bool
}

// NetworksOffRequest asks to take away every route, chain and table of labd.
type NetworksOffRequest struct{}

// ApproveNetworksRequest asks to let Docker networks with subnets outside the pools have routes: those prefixes, or all that
// wait.
type ApproveNetworksRequest struct{ Prefixes []string }

// SetupPVERequest asks for labd's own access to PVE.
type SetupPVERequest struct {
	// Rotate replaces a token that works.
	Rotate bool
}

// UndoEntryRequest asks to take a journal entry back. It is applied by POST /v1/journal/{id}/undo.
type UndoEntryRequest struct{ ID string }

// PlanRequest returns the envelope.
func (r RescueRequest) PlanRequest() PlanRequest {
	return PlanRequest{Action: ActionNVMeRescue, IDs: []string{r.Address}, Method: string(r.Method)}
}

// PlanRequest returns the envelope.
func (r RemoveStoragesRequest) PlanRequest() PlanRequest {
	return PlanRequest{Action: ActionStorageRemove, IDs: r.IDs, FixRefs: r.FixRefs}
}

// PlanRequest returns the envelope.
func (r DisableStoragesRequest) PlanRequest() PlanRequest {
	return PlanRequest{Action: ActionStorageDisable, IDs: r.IDs}
}

// PlanRequest returns the envelope.
func (r ApplyNetworksRequest) PlanRequest() PlanRequest {
	if r.Keep {
		return PlanRequest{Action: ActionNetworkOn}
	}
	return PlanRequest{Action: ActionNetworkApply}
}

// PlanRequest returns the envelope.
func (NetworksOffRequest) PlanRequest() PlanRequest { return PlanRequest{Action: ActionNetworkOff} }

// PlanRequest returns the envelope.
func (r ApproveNetworksRequest) PlanRequest() PlanRequest {
	return PlanRequest{Action: ActionNetworkApprove, IDs: r.Prefixes}
}

// PlanRequest returns the envelope.
func (r SetupPVERequest) PlanRequest() PlanRequest {
	if r.Rotate {
		return PlanRequest{Action: ActionSetupPVE, Method: MethodRotate}
	}
	return PlanRequest{Action: ActionSetupPVE}
}

// PlanRequest returns the envelope.
func (r UndoEntryRequest) PlanRequest() PlanRequest {
	return PlanRequest{Action: ActionUndo, IDs: []string{r.ID}}
}

// Open returns the request that the envelope carries. It fails for an unknown action, and for a field that the action does
// not take: what would be ignored is not what its sender meant.
func (p PlanRequest) Open() (Request, error) {
	var r Request
	switch p.Action {
	case ActionNVMeRescue:
		if len(p.IDs) != 1 {
			return nil, fmt.Errorf("%s takes the PCI address of one function", p.Action)
		}
		method := RescueMethod(p.Method)
		if method != "" && !slices.Contains(method.Values(), method) {
			return nil, fmt.Errorf("%s has no method %q, only %q", p.Action, p.Method, method.Values())
		}
		r = RescueRequest{Address: p.IDs[0], Method: method}
	case ActionStorageRemove:
		r = RemoveStoragesRequest{IDs: p.IDs, FixRefs: p.FixRefs}
	case ActionStorageDisable:
		r = DisableStoragesRequest{IDs: p.IDs}
	case ActionNetworkApply, ActionNetworkOn:
		r = ApplyNetworksRequest{Keep: p.Action == ActionNetworkOn}
	case ActionNetworkOff:
		r = NetworksOffRequest{}
	case ActionNetworkApprove:
		r = ApproveNetworksRequest{Prefixes: p.IDs}
	case ActionSetupPVE:
		if p.Method != "" && p.Method != MethodRotate {
			return nil, fmt.Errorf("%s has no method but %s", p.Action, MethodRotate)
		}
		r = SetupPVERequest{Rotate: p.Method == MethodRotate}
	case ActionUndo:
		if len(p.IDs) != 1 {
			return nil, fmt.Errorf("%s takes the id of one journal entry", p.Action)
		}
		r = UndoEntryRequest{ID: p.IDs[0]}
	default:
		return nil, fmt.Errorf("unknown action %q", p.Action)
	}
	if back := r.PlanRequest(); !slices.Equal(back.IDs, p.IDs) || back.Method != p.Method || back.FixRefs != p.FixRefs {
		return nil, fmt.Errorf("%s takes other fields: %s", p.Action, takes(p.Action))
	}
	return r, nil
}

// takes says which fields of the envelope an action takes.
func takes(action string) string {
	switch action {
	case ActionNVMeRescue:
		return "ids and method"
	case ActionStorageRemove:
		return "ids and fixRefs"
	case ActionStorageDisable, ActionNetworkApprove, ActionUndo:
		return "ids"
	case ActionSetupPVE:
		return "method"
	default:
		return "none"
	}
}

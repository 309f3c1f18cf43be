package v1

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every request comes out of its envelope as it went in, and the JSON is that of the version before.
func TestPlanRequests(t *testing.T) {
	for text, r := range map[string]Request{
		`{"action":"nvme.rescue","ids":["0000:01:00.0"]}`:                   RescueRequest{Address: "0000:01:00.0"},
		`{"action":"nvme.rescue","ids":["0000:01:00.0"],"method":"new-id"}`: RescueRequest{Address: "0000:01:00.0", Method: RescueNewID},
		`{"action":"storage.remove"}`:                                       RemoveStoragesRequest{},
		`{"action":"storage.remove","ids":["usb1"],"fixRefs":true}`:         RemoveStoragesRequest{IDs: []string{"usb1"}, FixRefs: true},
		`{"action":"storage.disable","ids":["usb1"]}`:                       DisableStoragesRequest{IDs: []string{"usb1"}},
		`{"action":"network.apply"}`:                                        ApplyNetworksRequest{},
		`{"action":"network.on"}`:                                           ApplyNetworksRequest{Keep: true},
		`{"action":"network.off"}`:                                          NetworksOffRequest{},
		`{"action":"network.approve","ids":["10.118.0.0/24"]}`:              ApproveNetworksRequest{Prefixes: []string{"10.118.0.0/24"}},
		`{"action":"setup.pve"}`:                                            SetupPVERequest{},
		`{"action":"setup.pve","method":"rotate"}`:                          SetupPVERequest{Rotate: true},
		`{"action":"journal.undo","ids":["7"]}`:                             UndoEntryRequest{ID: "7"},
	} {
		data, err := json.Marshal(r.PlanRequest())
		if err != nil || string(data) != text {
			t.Errorf("%T is %s, want %s (%v)", r, data, text, err)
		}
		var envelope PlanRequest
		if err := json.Unmarshal([]byte(text), &envelope); err != nil {
			t.Fatal(err)
		}
		envelope.Digest = "d"
		got, err := envelope.Open()
		if diff := cmp.Diff(r, got); err != nil || diff != "" {
			t.Errorf("%s: %v, -want +got:\n%s", text, err, diff)
		}
	}
}

// A field that the action does not take is an error, not something to overlook.
func TestPlanRequestsWithForeignFields(t *testing.T) {
	for _, p := range []PlanRequest{
		{},
		{Action: "storage.eat"},
		{Action: ActionNVMeRescue},
		{Action: ActionNVMeRescue, IDs: []string{"a", "b"}},
		{Action: ActionNVMeRescue, IDs: []string{"a"}, Method: "hammer"},
		{Action: ActionNVMeRescue, IDs: []string{"a"}, FixRefs: true},
		{Action: ActionStorageRemove, Method: "bind"},
		{Action: ActionStorageDisable, IDs: []string{"usb1"}, FixRefs: true},
		{Action: ActionNetworkApply, IDs: []string{"101"}},
		{Action: ActionNetworkOff, IDs: []string{"101"}},
		{Action: ActionSetupPVE, Method: "bind"},
		{Action: ActionSetupPVE, IDs: []string{"pve1"}},
		{Action: ActionUndo},
	} {
		if r, err := p.Open(); err == nil {
			t.Errorf("%+v is taken for %+v", p, r)
		}
	}
}

package pve

import "context"

// StorageState is what a member of the cluster last told the others of a storage
// that is enabled there.
type StorageState struct {
	Storage string `json:"storage"`
	Node    string `json:"node"`
	Type    string `json:"plugintype"`
	// Status is "available" up to 300 s after the storage was last seen active,
	// else "unknown", also for all storages of a node whose pvestatd hangs.
	Status string `json:"status"`
}

// StorageStates returns the state of the storages by member, without activating
// any: it is what pvestatd of each node has sent. Storages that the token may
// not see (Datastore.Audit) are left out without a word.
func (c *Client) StorageStates(ctx context.Context) ([]StorageState, error) {
	var out []StorageState
	err := c.get(ctx, "/cluster/resources?type=storage", &out)
	return out, err
}

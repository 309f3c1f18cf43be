package access

import (
	"fmt"
	"slices"
	"strconv"
)

// Action is something that a caller may ask labd for.
type Action string

// Actions.
const (
	ReadNode     Action = "read-node"     // reports, findings, events and the tree of a node
	ReadGuest    Action = "read-guest"    // what of a report is about one guest
	ReadStorage  Action = "read-storage"  // what of a report is about one storage
	ReadJournal  Action = "read-journal"  // titles of journal entries
	ReadSteps    Action = "read-steps"    // their steps, with former values
	ReadConfig   Action = "read-config"   // the configuration, a support bundle
	FixStorage   Action = "fix-storage"   // take an entry out of storage.cfg
	ChangeMount  Action = "change-mount"  // remove or change units, fstab and mount points
	ChangeGuest  Action = "change-guest"  // take references out of a guest's configuration
	ChangeJobs   Action = "change-jobs"   // the same of jobs
	ChangeNet    Action = "change-net"    // routes and rules of the host
	ChangeCTNet  Action = "change-ct-net" // rules in one container
	Rescue       Action = "rescue-nvme"   // bring a drive back
	Silence      Action = "silence"       // silence findings, forget a drive
	ChangeNodes  Action = "change-nodes"  // add and remove nodes, set-up
	ReadVersion  Action = "read-version"  // which labd and kernel run
	Logs         Action = "logs"
	PortForward  Action = "port-forward"
	Exec         Action = "exec"
	DockerRead   Action = "docker-socket-read-only"
	DockerSocket Action = "docker-socket"
)

// Target is what an action is about; parts that do not matter for it are empty.
type Target struct {
	Node    string
	Guest   int
	Storage string
	// Privileged says that the guest is a container whose root is the host's.
	Privileged bool
}

// Need is one of PVE's privileges on one of PVE's paths.
type Need struct{ Privilege, Path string }

func (n Need) String() string { return fmt.Sprintf("%s on %s", n.Privilege, n.Path) }

// where is how a row's path is made.
type where int

const (
	onRoot where = iota
	onNode
	onGuest
	onStorage
	onStorages
)

// right is one privilege of a row; where PVE 8 has another name for it, former is that.
type right struct {
	privilege, former string
	on                where
}

// table says what each action asks for; all of a row. The privileges are those by which PVE guards the like: a console
// for what shows a container's inside, the agent's unrestricted commands for commands in it, Datastore.Allocate for
// DELETE /storage/ID, Sys.Modify for the node's own files.
func table() map[Action][]right {
	console := right{"VM.Console", "VM.Console", onGuest}
	unrestricted := right{"VM.GuestAgent.Unrestricted", "VM.Monitor", onGuest}
	modifyNode := right{"Sys.Modify", "Sys.Modify", onNode}
	modifyRoot := right{"Sys.Modify", "Sys.Modify", onRoot}
	auditNode := right{"Sys.Audit", "Sys.Audit", onNode}
	return map[Action][]right{
		ReadNode:     {auditNode},
		ReadGuest:    {{"VM.Audit", "VM.Audit", onGuest}},
		ReadStorage:  {{"Datastore.Audit", "Datastore.Audit", onStorage}},
		ReadJournal:  {auditNode},
		ReadSteps:    {modifyNode},
		ReadConfig:   {modifyRoot},
		FixStorage:   {{"Datastore.Allocate", "Datastore.Allocate", onStorages}},
		ChangeMount:  {modifyRoot},
		ChangeGuest:  {{"VM.Config.Disk", "VM.Config.Disk", onGuest}, {"VM.Config.CDROM", "VM.Config.CDROM", onGuest}, {"VM.Config.Options", "VM.Config.Options", onGuest}},
		ChangeJobs:   {modifyRoot},
		ChangeNet:    {modifyNode},
		ChangeCTNet:  {{"VM.Config.Network", "VM.Config.Network", onGuest}},
		Rescue:       {modifyNode},
		Silence:      {modifyNode},
		ChangeNodes:  {modifyRoot},
		ReadVersion:  {}, // an account that PVE accepts is enough
		Logs:         {console},
		PortForward:  {console},
		Exec:         {console, unrestricted},
		DockerRead:   {console},
		DockerSocket: {console, unrestricted},
	}
}

// Actions are all actions, sorted.
func Actions() []Action {
	var out []Action
	for a := range table() {
		out = append(out, a)
	}
	slices.Sort(out)
	return out
}

// entersGuest reports whether an action reaches into a container. In a privileged one that is as good as root on the node.
func (a Action) entersGuest() bool {
	return slices.Contains([]Action{Logs, PortForward, Exec, DockerRead, DockerSocket}, a)
}

// Needs returns what PVE must grant a caller for an action; all of it. major is the PVE that runs, 8 or 9: a privilege
// that a PVE does not know is granted to nobody. An action that is not in the table is granted to nobody either.
func Needs(a Action, t Target, major int) []Need {
	row, ok := table()[a]
	if !ok {
		return []Need{{Privilege: "an action that labd does not know", Path: "/"}}
	}
	var out []Need
	for _, r := range row {
		name := r.privilege
		if major < 9 {
			name = r.former
		}
		out = append(out, Need{name, path(r.on, t)})
	}
	if a.entersGuest() && t.Privileged {
		out = append(out, Need{"Sys.Modify", "/"})
	}
	return out
}

func path(on where, t Target) string {
	switch on {
	case onNode:
		return "/nodes/" + t.Node
	case onGuest:
		return "/vms/" + strconv.Itoa(t.Guest)
	case onStorage:
		return "/storage/" + t.Storage
	case onStorages:
		return "/storage"
	}
	return "/"
}

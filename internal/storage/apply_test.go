package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labd/internal/host"
	"labd/internal/plan"
	"labd/internal/pve"
	"labd/test/pvesim"
)

// systemctlTool is systemctl as far as unit files go: a unit is known while its file is there. It disables nothing: that would
// follow Also= of a unit file to units that nobody asked about.
const systemctlTool = "\n-- bin/systemctl --\n#!/bin/sh\nroot=${0%/bin/*}\ncase $1 in\ndisable) exit 1 ;;\n" +
	"show) if [ -e \"$root/etc/systemd/system/$4\" ]; then echo loaded; else echo not-found; fi ;;\nreset-failed) exit 1 ;;\nesac\n"

// bench is a world with PVE's API and a runner of plans.
type bench struct {
	*testing.T
	host    *host.Host
	root    string
	server  *pvesim.Server
	runner  *plan.Runner
	applier *Applier
}

func newBench(t *testing.T, patches ...string) *bench {
	t.Helper()
	h := world(t, append(patches, systemctlTool)...)
	root := filepath.Dir(h.Etc)
	token, err := pvesim.Prepare(root, "pve1")
	if err != nil {
		t.Fatal(err)
	}
	server, err := pvesim.Start(t.Context(), pvesim.Config{Root: root, Node: "pve1", LockTimeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	client, err := pve.NewClient(pve.ClientConfig{Node: "pve1", BaseURL: server.URL(), Token: token, CA: server.CA(), Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, host: h, root: root, server: server, applier: NewApplier(
		Inputs{Host: h, Node: "pve1", Memory: NewMemory(h.State, nil), Now: time.Now}, func(context.Context) (PVE, error) { return client, nil }, pve.StorageFile{Root: h.PVE}.Edit,
	)}
	b.runner = &plan.Runner{Journal: plan.NewJournal(filepath.Join(root, "journal"), time.Now), Ops: b.applier.Ops()}
	return b
}

func (b *bench) plan(o Options, ids ...string) *plan.Plan {
	b.Helper()
	f, r := look(b.T, b.host)
	p, err := PlanRemoval(f, r, ids, o)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// snapshot is everything below /etc that a plan may change. What PVE writes in an order of its own is compared by its
// meaning.
func (b *bench) snapshot() map[string]string {
	b.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(filepath.Join(b.root, "etc"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(b.root, path)
		if d.Type()&fs.ModeSymlink != 0 {
			out[name], err = os.Readlink(path)
			return err
		}
		data, err := os.ReadFile(path)
		out[name] = string(data)
		if strings.HasSuffix(name, ".conf") && strings.Contains(name, "/nodes/") {
			// PVE sorts the keys at each write.
			out[name] = strings.Join(slices.Sorted(strings.Lines(string(data))), "")
		}
		switch name {
		case "etc/pve/storage.cfg":
			config, sections := pve.ParseStorageConfig(data, pve.StorageConfigOptions{}), map[string]any{}
			for _, s := range config.Sections {
				sections[s.ID] = []any{identity(s), s.Disabled(), s.Malformed}
			}
			for _, s := range config.Skipped {
				sections[s.ID] = s.Reason
			}
			out[name] = asJSON(b.T, sections)
		case "etc/pve/user.cfg":
			out[name] = asJSON(b.T, rightsOf(pve.ParseUserConfig(data)))
		case "etc/pve/jobs.cfg":
			jobs := map[string]map[string]string{}
			for _, s := range pve.ParseSections(data) {
				jobs[s.ID] = map[string]string{}
				for _, p := range s.Properties {
					jobs[s.ID][p.Key] = p.Value
				}
				if jobs[s.ID]["enabled"] == "1" { // PVE's default
					delete(jobs[s.ID], "enabled")
				}
				if v, ok := jobs[s.ID]["fleecing"]; ok {
					jobs[s.ID]["fleecing"] = strings.TrimPrefix(v, "enabled=")
				}
			}
			out[name] = asJSON(b.T, jobs)
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// rightsOf is user.cfg as sets: PVE writes one ACL line as several, in an order of its own.
func rightsOf(u pve.UserConfig) []string {
	var out []string
	for _, acl := range u.ACLs {
		for _, subject := range acl.Subjects {
			out = append(out, fmt.Sprint(acl.Path, " ", subject, " ", acl.Roles, " ", acl.Propagate))
		}
	}
	for _, pool := range u.Pools {
		slices.Sort(pool.Storages)
		out = append(out, fmt.Sprint(pool.ID, " ", pool.Storages))
	}
	slices.Sort(out)
	return out
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func ops(p *plan.Plan) string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, strings.TrimPrefix(s.Op, "storage."))
	}
	return strings.Join(out, " ")
}

// Every kind of plan is carried out on PVE's API and on files, and taken back to what was before.
func TestApplyAndUndo(t *testing.T) {
	const rights = "\n-- etc/pve/user.cfg --\nuser:root@pam:1:0::::::\ntoken:root@pam!dev:0:0::\nuser:joe@pve:1:0::::::\ngroup:ops:joe@pve::\npool:lab:a pool::usb1,local:\nacl:1:/storage/usb1:joe@pve,@ops:PVEDatastoreUser:\n"
	const guests = "\n-- etc/pve/nodes/pve1/qemu-server/100.conf --\nide2: usb1:iso/debian.iso,media=cdrom,size=1M\nhookscript: usb1:snippets/hook.pl\nunused0: usb1:100/vm-100-disk-1.raw\ncicustom: user=usb1:snippets/u.yaml,meta=local:snippets/m.yaml\n" +
		"-- etc/pve/nodes/pve1/lxc/101.conf --\nhookscript: usb1:snippets/hook.pl\nrootfs: local:101/vm-101-disk-0.raw\nunused0: usb1:101/vm-101-disk-1.raw\n" +
		"-- etc/pve/jobs.cfg --\nvzdump: backup-1\n\tschedule 02:00\n\tstorage usb1\n\tall 1\n\nvzdump: backup-2\n\tschedule 03:00\n\tstorage local\n\tfleecing enabled=1,storage=usb1\n\tall 1\n\nvzdump: backup-3\n\tschedule 03:00\n\tstorage usb1\n\tenabled 0\n\n" +
		"-- etc/vzdump.conf --\n# defaults\nstorage: usb1\nmode: snapshot\n"
	pbs := cfg("pbs: vault\n\tserver 192.0.2.1\n\tdatastore d\n\tcontent backup\n\tnodes old\n\tencryption-key aa:bb\n\tusername root@pam\n\n") +
		"\n-- etc/pve/.members --\n" + members("pve1", "pve2") + "-- etc/pve/priv/storage/vault.enc --\n{\"kdf\":null,\"data\":\"secret\"}\n-- etc/pve/priv/storage/vault.pw --\nhunter2\n-- etc/pve/nodes/pve1/lrm_status --\n"
	fstab := pulled + "\n-- etc/systemd/system/mnt-pve-usb1.mount -> (gone) --\n-- etc/systemd/system/multi-user.target.wants/mnt-pve-usb1.mount -> (gone) --\n-- etc/fstab --\n# boot\nUUID=ROOT / ext4 defaults 0 1\nUUID=USB1 /mnt/pve/usb1 ext4 nofail 0 2\n"
	for _, tt := range []struct {
		name    string
		patches []string
		ids     []string
		o       Options
		ops     string
		after   map[string]string // file: what it must contain; "" for a file that must be gone
		lost    []string          // files that undo does not bring back as they were
	}{
		{
			name: "directory with rights", patches: []string{pulled, rights}, ids: []string{"usb1"},
			ops:   "disable stop-unit delete-entry remove-unit remove-mount-point",
			after: map[string]string{"etc/systemd/system/mnt-pve-usb1.mount": "", "etc/pve/user.cfg": `["lab [local]"]`},
		},
		{
			name: "fstab", patches: []string{fstab}, ids: []string{"usb1"},
			ops:   "disable stop-unit delete-entry comment-line remove-mount-point",
			after: map[string]string{"etc/fstab": "# labd: storage gone: UUID=USB1 /mnt"},
		},
		{
			name: "references", patches: []string{pulled, guests}, ids: []string{"usb1"}, o: Options{FixRefs: true},
			ops: "fix-job fix-job fix-guest fix-guest fix-guest fix-guest comment-line disable stop-unit delete-entry fix-guest fix-guest remove-unit remove-mount-point",
			after: map[string]string{
				"etc/pve/nodes/pve1/qemu-server/100.conf": "ide2: none,media=cdrom", "etc/pve/jobs.cfg": `"backup-1":{"all":"1","enabled":"0"`, "etc/vzdump.conf": "# labd: storage gone: storage: usb1",
			},
		},
		{
			name: "drop a node", patches: []string{pulled, cfg(strings.Replace(usb1, "\tnodes pve1\n", "", 1)), "\n-- etc/pve/.members --\n" + members("pve1", "pve2", "pve3"), "\n-- etc/pve/nodes/pve2/qemu-server/200.conf --\nscsi0: usb1:200/vm-200-disk-0.raw\n"},
			ids: []string{"usb1"}, ops: "drop-node stop-unit remove-unit remove-mount-point",
			after: map[string]string{"etc/pve/storage.cfg": `"nodes":"pve2,pve3"`},
		},
		{
			name: "volume group", patches: []string{cfg("lvm: usb1\n\tvgname vgdata\n\tcontent images\n\tnodes pve1\n\n"), lvmTools(vgAbsent, pvAbsent, lvWhole, pvAbsent)}, ids: []string{"usb1"},
			ops: "disable delete-entry",
		},
		{
			name: "pool", patches: []string{cfg("zfspool: usb1\n\tpool tank\n\tcontent images\n\tnodes pve1\n\n"), zfsTools("", "no pools available to import\n", ""), "\n-- etc/systemd/system/zfs-import.target.wants/zfs-import@tank.service -> /lib/systemd/system/zfs-import@.service --\n"}, ids: []string{"usb1"},
			ops:   "disable delete-entry disable-importer",
			after: map[string]string{"etc/systemd/system/zfs-import.target.wants/zfs-import@tank.service": ""},
		},
		{
			name: "backup server of a removed node", patches: []string{pbs}, ids: []string{"vault"}, ops: "disable delete-entry",
			after: map[string]string{"etc/pve/priv/storage/vault.enc": "", "etc/pve/priv/storage/vault.pw": ""},
		},
		{
			// One of each type that has secrets: PVE takes an esxi entry only with its password.
			name: "machines of another maker", patches: []string{
				cfg("esxi: vault\n\tserver 192.0.2.1\n\tcontent import\n\tnodes old\n\tusername root\n\n"), "\n-- etc/pve/.members --\n" + members("pve1", "pve2") + "-- etc/pve/priv/storage/vault.pw --\nhunter2\n-- etc/pve/nodes/pve1/lrm_status --\n",
			}, ids: []string{"vault"}, ops: "disable delete-entry",
			after: map[string]string{"etc/pve/priv/storage/vault.pw": ""},
		},
		{
			name: "left-over unit", patches: []string{pulled, cfg("")}, ids: []string{"usb1"}, ops: "stop-unit remove-unit remove-mount-point",
			after: map[string]string{"etc/systemd/system/mnt-pve-usb1.mount": ""},
		},
		{
			name: "malformed, with a unit", patches: []string{cfg("dir: usb1\n\tcontent backup\n\n")}, ids: []string{"usb1"}, ops: "repair-entry",
			after: map[string]string{"etc/pve/storage.cfg": `"path":"/mnt/pve/usb1"`}, lost: []string{"etc/pve/storage.cfg"},
		},
		{
			name: "malformed, with a comment", patches: []string{cfg("dir: data\n\tpath /srv/data # the big one\n\tcontent backup\n\n")}, ids: []string{"data"}, ops: "repair-entry",
			after: map[string]string{"etc/pve/storage.cfg": `"path":"/srv/data"`}, lost: []string{"etc/pve/storage.cfg"},
		},
		{
			name: "malformed, nothing known", patches: []string{cfg("lvmthin: data\n\tvgname v\n\tcontent images\n\n")}, ids: []string{"data"}, ops: "remove-section", lost: []string{"etc/pve/storage.cfg"},
		},
		{
			name: "unknown type", patches: []string{cfg("glusterfs: data\n\tserver a\n\tvolume v\n\n")}, ids: []string{"data"}, ops: "remove-section",
		},
		{
			name: "two at once", patches: []string{pulled, cfg(usb1 + "lvm: data\n\tvgname vgdata\n\tcontent images\n\tnodes pve1\n\n"), lvmTools(vgAbsent, pvAbsent, lvWhole, pvAbsent)}, ids: []string{"usb1", "data"},
			ops: "disable stop-unit delete-entry remove-unit remove-mount-point disable delete-entry",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.patches...)
			before := b.snapshot()
			p := b.plan(tt.o, tt.ids...)
			if got := ops(p); got != tt.ops {
				t.Fatalf("steps\n%s\nwant\n%s", got, tt.ops)
			}
			entry, err := b.runner.Apply(t.Context(), p, "test")
			if err != nil {
				t.Fatal(err)
			}
			after := b.snapshot()
			for file, want := range tt.after {
				if have, there := after[file]; want == "" && there || !strings.Contains(have, want) {
					t.Errorf("%s holds %q, want %q", file, have, want)
				}
			}
			if cmp.Equal(before, after) {
				t.Error("nothing was changed")
			}
			undo, err := b.runner.UndoPlan(entry.ID)
			if len(tt.lost) == 1 && tt.lost[0] == "etc/pve/storage.cfg" {
				if err == nil {
					t.Error("a repair can be undone")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.runner.Undo(t.Context(), entry.ID, undo.Digest, "test"); err != nil {
				t.Fatal(err)
			}
			restored := b.snapshot()
			for _, file := range tt.lost {
				delete(before, file)
				delete(restored, file)
			}
			if diff := cmp.Diff(before, restored); diff != "" {
				t.Errorf("after undo, -want +got:\n%s", diff)
			}
		})
	}
}

// guest reads the file of a guest, put writes a file.
func (b *bench) guest(name string) string {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.root, "etc/pve/nodes/pve1", name))
	if err != nil {
		b.Fatal(err)
	}
	return string(data)
}

func (b *bench) put(name, text string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(b.root, name), []byte(text), 0o640); err != nil {
		b.Fatal(err)
	}
}

// What somebody has changed since is not written over by an undo. It is said before consent, stops nothing else, and a
// second undo takes up what is left.
func TestUndoLeavesWhatOthersMade(t *testing.T) {
	const guest = "\n-- etc/pve/nodes/pve1/qemu-server/100.conf --\nide2: usb1:iso/debian.iso,media=cdrom\nmemory: 1024\n" +
		"-- etc/pve/jobs.cfg --\nvzdump: backup-1\n\tschedule 02:00\n\tstorage usb1\n\tall 1\n\n"
	const unit = "etc/systemd/system/mnt-pve-usb1.mount"
	for _, tt := range []struct {
		name   string
		change func(b *bench)
		mend   func(b *bench)
		note   string
		kept   func(b *bench) string
		want   string
	}{
		{
			"another disc is in the drive", func(b *bench) {
				b.put("etc/pve/nodes/pve1/qemu-server/100.conf", "ide2: local:iso/other.iso,media=cdrom\nmemory: 1024\n")
			}, func(b *bench) {
				b.put("etc/pve/nodes/pve1/qemu-server/100.conf", "ide2: none,media=cdrom\nmemory: 1024\n")
			}, "somebody has set ide2", func(b *bench) string { return b.guest("qemu-server/100.conf") }, "local:iso/other.iso",
		},
		{
			"another unit has the name", func(b *bench) { b.put(unit, "[Mount]\nWhat=/dev/other\nWhere=/mnt/pve/usb1\n") },
			func(b *bench) { _ = os.Remove(filepath.Join(b.root, unit)) }, "somebody has made another",
			func(b *bench) string { data, _ := os.ReadFile(filepath.Join(b.root, unit)); return string(data) }, "/dev/other",
		},
		{
			"another entry has the name", func(b *bench) { b.put("etc/pve/storage.cfg", "dir: usb1\n\tpath /srv/other\n\tcontent iso\n\n") },
			func(b *bench) {
				b.put("etc/pve/storage.cfg", "dir: local\n\tpath /var/lib/vz\n\tcontent backup,iso,vztmpl\n\n")
			}, "another storage is called usb1",
			func(b *bench) string {
				data, _ := os.ReadFile(filepath.Join(b.root, "etc/pve/storage.cfg"))
				return string(data)
			}, "/srv/other",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, pulled, guest)
			before := b.snapshot()
			entry, err := b.runner.Apply(t.Context(), b.plan(Options{FixRefs: true}, "usb1"), "test")
			if err != nil {
				t.Fatal(err)
			}
			tt.change(b)
			undo, err := b.runner.UndoPlan(entry.ID)
			if err != nil || !strings.Contains(strings.Join(undo.Notes, "\n"), tt.note) {
				t.Fatalf("notes %q, %v", undo.Notes, err)
			}
			_, err = b.runner.Undo(t.Context(), entry.ID, undo.Digest, "test")
			var step *plan.StepError
			if !errors.As(err, &step) || step.Undoes != entry.ID {
				t.Fatalf("undo: %v", err)
			}
			if got := tt.kept(b); !strings.Contains(got, tt.want) {
				t.Errorf("what somebody made is gone: %s", got)
			}
			if data, err := os.ReadFile(filepath.Join(b.root, "etc/pve/jobs.cfg")); err != nil || strings.Contains(string(data), "enabled 0") {
				t.Errorf("the job behind it is not back: %s, %v", data, err)
			}
			tt.mend(b)
			if undo, err = b.runner.UndoPlan(entry.ID); err != nil || len(undo.Steps) >= len(entry.Steps) {
				t.Fatalf("%d steps the second time, %v", len(undo.Steps), err)
			}
			if _, err := b.runner.Undo(t.Context(), entry.ID, undo.Digest, "test"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, b.snapshot()); diff != "" {
				t.Errorf("after the second undo, -want +got:\n%s", diff)
			}
		})
	}
}

// The value that was judged is compared in the very reading whose digest PVE gets.
func TestFixRefsTakesOnlyWhatWasJudged(t *testing.T) {
	const guests = "\n-- etc/pve/nodes/pve1/qemu-server/100.conf --\nunused0: usb1:100/vm-100-disk-1.raw\n" +
		"-- etc/pve/nodes/pve1/lxc/201.conf --\nrootfs: local:201/x.raw\nunused0: usb1:201/vm-201-disk-1.raw\n"
	for _, file := range []string{"qemu-server/100.conf", "lxc/201.conf"} {
		t.Run(file, func(t *testing.T) {
			b := newBench(t, pulled, guests)
			op := b.applier.fixGuest()
			g := guestFix{Kind: pve.QEMU, ID: 100, Node: "pve1", Key: "unused0", Value: "usb1:100/vm-100-disk-1.raw"}
			if file == "lxc/201.conf" {
				g = guestFix{Kind: pve.LXC, ID: 201, Node: "pve1", Key: "unused0", Value: "usb1:201/vm-201-disk-1.raw"}
			}
			params, err := json.Marshal(g)
			if err != nil {
				t.Fatal(err)
			}
			if err := op.Check(t.Context(), params); err != nil {
				t.Fatal(err)
			}
			// Somebody detaches another volume between the check and the change.
			other := "unused0: local:9/vm-9-disk-9.raw\n"
			b.put("etc/pve/nodes/pve1/"+file, other)
			var changed *plan.ChangedError
			if err := op.Do(t.Context(), params); !errors.As(err, &changed) {
				t.Errorf("got %v", err)
			}
			if got := b.guest(file); got != other {
				t.Errorf("the file holds %q", got)
			}
		})
	}
}

// What comes back, or is changed by another, between the plan and its steps ends the plan before anything is touched.
func TestApplyRefusesWhatChanged(t *testing.T) {
	lvm := cfg("lvm: usb1\n\tvgname vgdata\n\tcontent images\n\tnodes pve1\n\n")
	write := func(b *bench, name, text string) {
		b.Helper()
		if err := os.WriteFile(filepath.Join(b.root, name), []byte(text), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name    string
		patches []string
		change  func(b *bench)
		refused bool // rather than changed
	}{
		{"the disk is back", []string{pulled}, func(b *bench) { write(b, "dev/disk/by-uuid/USB1", "") }, false},
		{"the group is back", []string{lvm, lvmTools(vgAbsent, pvAbsent, lvWhole, pvAbsent)}, func(b *bench) {
			write(b, "bin/vgs", "#!/bin/sh\necho '"+vgWhole+"'\n")
		}, false},
		{"LVM does not answer any more", []string{lvm, lvmTools(vgAbsent, pvAbsent, lvWhole, pvAbsent)}, func(b *bench) { write(b, "bin/vgs", "#!/bin/sh\nexit 5\n") }, false},
		{"the entry is another one", []string{pulled}, func(b *bench) {
			write(b, "etc/pve/storage.cfg", "dir: usb1\n\tpath /srv/other\n\tcontent iso\n\n")
		}, false},
		{"the entry is gone", []string{pulled}, func(b *bench) { write(b, "etc/pve/storage.cfg", "dir: local\n\tpath /var/lib/vz\n\n") }, false},
		{"the quorum is lost", []string{pulled}, func(b *bench) {
			if err := b.server.SetQuorum(false); err != nil {
				b.Fatal(err)
			}
		}, true},
		{"the cluster file system goes down", []string{pulled}, func(b *bench) {
			if err := b.server.SetClusterFS(false); err != nil {
				b.Fatal(err)
			}
		}, false},
		{"a task works on it", []string{pulled}, func(b *bench) { b.server.StartTask("root@pam", "imgcopy", "usb1") }, true},
		{"another writer is faster", []string{pulled}, func(b *bench) {
			b.server.Inject(pvesim.Fault{Method: "PUT", Path: "/storage/usb1", Times: 1, Do: func() {
				write(b, "etc/pve/storage.cfg", "# changed\ndir: local\n\tpath /var/lib/vz\n\tcontent iso\n\n"+usb1)
			}})
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.patches...)
			p := b.plan(Options{}, "usb1")
			tt.change(b)
			before := b.snapshot()
			entry, err := b.runner.Apply(t.Context(), p, "test")
			var changed *plan.ChangedError
			var refused *plan.RefusedError
			down := tt.name == "the cluster file system goes down" && err != nil
			if tt.refused && !errors.As(err, &refused) || !tt.refused && !errors.As(err, &changed) && !down {
				t.Errorf("got %v", err)
			}
			if entry.StepsDone() != 0 {
				t.Errorf("%d steps were done", entry.StepsDone())
			}
			after := b.snapshot()
			if tt.name == "another writer is faster" {
				after["etc/pve/storage.cfg"] = before["etc/pve/storage.cfg"]
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("something was touched, -before +after:\n%s", diff)
			}
		})
	}
}

// Faults of PVE in the middle of a plan: what was begun is in the journal, an undo brings back what was before, and a
// second removal works.
func TestApplySurvivesFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		inject func(b *bench)
		end    func(b *bench)
		passes bool
	}{
		{"PVE fails", func(b *bench) {
			b.server.Inject(pvesim.Fault{Method: "DELETE", Path: "/storage/usb1", Times: 1, Status: 500, Reason: "delete storage failed: something"})
		}, nil, false},
		{"596 after the change was made", func(b *bench) {
			b.server.Inject(pvesim.Fault{Method: "DELETE", Path: "/storage/usb1", Times: 1, After: true, Status: 596, Reason: "Broken pipe"})
		}, nil, true},
		{"596 and no change was made", func(b *bench) {
			b.server.Inject(pvesim.Fault{Method: "DELETE", Path: "/storage/usb1", Times: 1, Status: 596, Reason: "Broken pipe"})
		}, nil, false},
		{"the quorum is lost half-way", func(b *bench) {
			b.server.Inject(pvesim.Fault{Method: "DELETE", Path: "/storage/usb1", Times: 1, Do: func() { _ = b.server.SetQuorum(false) }})
		}, func(b *bench) { _ = b.server.SetQuorum(true) }, false},
		{"another holds the lock", func(b *bench) {
			b.server.Inject(pvesim.Fault{Method: "DELETE", Path: "/storage/usb1", Times: 1, Do: func() {
				_ = os.MkdirAll(filepath.Join(b.root, "etc/pve/priv/lock/file-storage_cfg"), 0o755)
			}})
		}, func(b *bench) { _ = os.Remove(filepath.Join(b.root, "etc/pve/priv/lock/file-storage_cfg")) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, pulled)
			before := b.snapshot()
			tt.inject(b)
			entry, err := b.runner.Apply(t.Context(), b.plan(Options{}, "usb1"), "test")
			if tt.passes {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || entry.State != plan.StateFailed || entry.StepsDone() != 2 {
				t.Fatalf("error %v, state %s, %d steps done", err, entry.State, entry.StepsDone())
			}
			if tt.end != nil {
				tt.end(b)
			}
			undo, err := b.runner.UndoPlan(entry.ID)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.runner.Undo(t.Context(), entry.ID, undo.Digest, "test"); err != nil {
				t.Fatal(err)
			}
			restored := b.snapshot()
			delete(before, "etc/pve/.members") // written anew when the quorum went and came
			delete(restored, "etc/pve/.members")
			if diff := cmp.Diff(before, restored); diff != "" {
				t.Errorf("after undo, -want +got:\n%s", diff)
			}
			if _, err := b.runner.Apply(t.Context(), b.plan(Options{}, "usb1"), "test"); err != nil {
				t.Errorf("second removal: %v", err)
			}
		})
	}
}

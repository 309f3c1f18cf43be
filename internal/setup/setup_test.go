package setup_test

import (
	"context"
	"encoding/json"
	"errors"
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
	"labd/internal/setup"
	"labd/test/pvesim"
	"labd/test/pvesim/front"
)

// This binary is also the simulated host's pveum.
func TestMain(m *testing.M) {
	if code, ok := front.Run(os.Args, os.Stdout, os.Stderr); ok {
		front.Exit(code)
	}
	os.Exit(m.Run())
}

// bed is a simulated host with labd's runner on it.
type bed struct {
	*testing.T
	root   string
	server *pvesim.Server
	access *setup.Access
	runner *plan.Runner
}

func newBed(t *testing.T) *bed {
	t.Helper()
	root := t.TempDir()
	if _, err := pvesim.Prepare(root, "pve1"); err != nil {
		t.Fatal(err)
	}
	server, err := pvesim.Start(t.Context(), pvesim.Config{Root: root, Node: "pve1", LockTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A short path: a socket's name has room for 108 bytes.
	programs, err := os.MkdirTemp("", "pve")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(programs) })
	if err := server.InstallPrograms(programs, self); err != nil {
		t.Fatal(err)
	}
	paths := host.DefaultPaths()
	paths.PVE, paths.Exec = filepath.Join(root, "etc/pve"), programs
	b := &bed{T: t, root: root, server: server}
	b.access = &setup.Access{
		Host: host.New(paths, ""), TokenFile: filepath.Join(root, "etc/labd/token"),
		Try: func(ctx context.Context, token string) (pve.Permissions, error) {
			c, err := pve.NewClient(pve.ClientConfig{BaseURL: server.URL(), CA: server.CA(), Token: token, Node: "pve1"})
			if err != nil {
				return nil, err
			}
			defer c.Close()
			return c.Permissions(ctx)
		},
	}
	b.runner = &plan.Runner{Journal: plan.NewJournal(filepath.Join(root, "journal"), time.Now), Ops: b.access.Ops()}
	return b
}

func (b *bed) plan(rotate bool) (*plan.Plan, error) {
	b.Helper()
	facts, err := b.access.Observe(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return setup.Plan(facts, rotate)
}

func (b *bed) apply(rotate bool) *plan.Entry {
	b.Helper()
	p, err := b.plan(rotate)
	if err != nil {
		b.Fatal(err)
	}
	entry, err := b.runner.Apply(b.Context(), p, "root")
	if err != nil {
		b.Fatal(err)
	}
	return entry
}

func (b *bed) undo(id string) error {
	b.Helper()
	p, err := b.runner.UndoPlan(id)
	if err != nil {
		return err
	}
	_, err = b.runner.Undo(b.Context(), id, p.Digest, "root")
	return err
}

func (b *bed) read(name string) string {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.root, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.Fatal(err)
	}
	return string(data)
}

func commands(p *plan.Plan) []string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, s.How)
	}
	return out
}

func TestSetup(t *testing.T) {
	b := newBed(t)
	before := b.read("etc/pve/user.cfg") + b.read("etc/pve/priv/token.cfg")
	p, err := b.plan(false)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"pveum role add LabdStorage --privs Datastore.Allocate,Datastore.Audit",
		"pveum role add LabdTasks --privs Sys.Audit",
		"pveum user add labd@pve --comment labd",
		"pveum acl modify /storage --users labd@pve --roles LabdStorage",
		"pveum acl modify /nodes --users labd@pve --roles LabdTasks",
		"pveum user token add labd@pve labd --privsep 0 --output-format json",
	}
	if diff := cmp.Diff(want, commands(p)); diff != "" {
		t.Error(diff)
	}
	entry := b.apply(false)
	token := b.read("etc/labd/token")
	info, err := os.Stat(b.access.TokenFile)
	if err != nil || info.Mode() != 0o600 || !strings.HasPrefix(token, "labd@pve!labd=") || !strings.HasSuffix(token, "\n") {
		t.Errorf("token file: %v, mode %v", err, info.Mode())
	}
	if entries, _ := os.ReadDir(filepath.Dir(b.access.TokenFile)); len(entries) != 1 {
		t.Errorf("left beside the token: %v", entries)
	}
	// All is well: nothing to do, and the token works for what labd does.
	if p, err = b.plan(false); err != nil || len(p.Steps) != 0 || len(p.Notes) != 1 {
		t.Errorf("second run: %v %v, %v", commands(p), p.Notes, err)
	}
	journal, err := json.Marshal(entry.Plan)
	if err != nil || strings.Contains(string(journal), strings.TrimSpace(token)) {
		t.Errorf("the plan holds the secret (%v)", err)
	}
	if err := b.undo(entry.ID); err != nil {
		t.Fatal(err)
	}
	if after := b.read("etc/pve/user.cfg") + b.read("etc/pve/priv/token.cfg"); after != before {
		t.Errorf("after undo:\n%s", cmp.Diff(before, after))
	}
	if token := b.read("etc/labd/token"); token != "" {
		t.Error("the token file is still there after undo")
	}
}

func TestRotate(t *testing.T) {
	b := newBed(t)
	b.apply(false)
	first := b.read("etc/labd/token")
	p, err := b.plan(true)
	if err != nil || !slices.Equal(commands(p), []string{"pveum user token remove labd@pve labd; pveum user token add labd@pve labd --privsep 0 --output-format json"}) || p.Steps[0].Undoable {
		t.Fatalf("%v, %v", commands(p), err)
	}
	b.apply(true)
	second := b.read("etc/labd/token")
	if second == first {
		t.Error("the token is the old one")
	}
	if _, err := b.access.Try(t.Context(), strings.TrimSpace(first)); !errors.Is(err, pve.ErrUnauthenticated) {
		t.Errorf("the old token: %v", err)
	}
	if _, err := b.access.Try(t.Context(), strings.TrimSpace(second)); err != nil {
		t.Errorf("the new token: %v", err)
	}
}

// A later entry that can never be taken back does not block an earlier one, and an undo brings no dead secret back.
func TestUndoAfterRotate(t *testing.T) {
	b := newBed(t)
	before := b.read("etc/pve/user.cfg") + b.read("etc/pve/priv/token.cfg")
	first := b.apply(false)
	second := b.apply(true)
	var refused *plan.RefusedError
	if err := b.undo(second.ID); !errors.As(err, &refused) {
		t.Errorf("undo of the rotation: %v", err)
	}
	if err := b.undo(first.ID); err != nil {
		t.Fatal(err)
	}
	if after := b.read("etc/pve/user.cfg") + b.read("etc/pve/priv/token.cfg") + b.read("etc/labd/token"); after != before {
		t.Errorf("after undo:\n%s", cmp.Diff(before, after))
	}
}

// A token that somebody made since the plan was shown is not replaced: others may use it.
func TestTokenMadeMeanwhile(t *testing.T) {
	b := newBed(t)
	p, err := b.plan(false)
	if err != nil {
		t.Fatal(err)
	}
	b.change("user:root@pam", "user:labd@pve:1:0::::::\ntoken:labd@pve!labd:0:0::\nuser:root@pam")
	b.change("token:root@pam!dev", "role:LabdStorage:Datastore.Allocate,Datastore.Audit:\nrole:LabdTasks:Sys.Audit:\ntoken:root@pam!dev")
	p.Steps = p.Steps[len(p.Steps)-1:]
	var changed *plan.ChangedError
	if _, err := b.runner.Apply(t.Context(), p, "root"); !errors.As(err, &changed) {
		t.Errorf("got %v", err)
	}
}

// What is missing is added, what is there stays.
func TestSetupAddsWhatIsMissing(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(b *bed)
		want  []string
	}{
		"the file was lost": {
			func(b *bed) { _ = os.Remove(b.access.TokenFile) },
			[]string{"pveum user token remove labd@pve labd; pveum user token add labd@pve labd --privsep 0 --output-format json"},
		},
		"the token was deleted": {
			func(b *bed) { b.change("token:labd@pve!labd:0:0::\n", "") },
			[]string{"pveum user token add labd@pve labd --privsep 0 --output-format json"},
		},
		"a right is missing": {
			func(b *bed) {
				b.change("role:LabdStorage:Datastore.Allocate,Datastore.Audit:", "role:LabdStorage:Datastore.Audit,VM.Audit:")
			},
			[]string{"pveum role modify LabdStorage --privs Datastore.Allocate,Datastore.Audit --append 1"},
		},
		"a permission is missing": {
			func(b *bed) { b.change("acl:1:/storage:labd@pve:LabdStorage:\n", "") },
			[]string{"pveum acl modify /storage --users labd@pve --roles LabdStorage"},
		},
		"the token has rights of its own": {
			func(b *bed) { b.change("token:labd@pve!labd:0:0::", "token:labd@pve!labd:0:1::") },
			[]string{"pveum user token remove labd@pve labd; pveum user token add labd@pve labd --privsep 0 --output-format json"},
		},
		"the token has expired": {
			func(b *bed) { b.change("token:labd@pve!labd:0:0::", "token:labd@pve!labd:1700000000:0::") },
			[]string{"pveum user token remove labd@pve labd; pveum user token add labd@pve labd --privsep 0 --output-format json"},
		},
		"the file holds another token": {
			func(b *bed) {
				_ = os.WriteFile(b.access.TokenFile, []byte("root@pam!dev=11111111-2222-3333-4444-555555555555\n"), 0o600)
			},
			[]string{"pveum user token remove labd@pve labd; pveum user token add labd@pve labd --privsep 0 --output-format json"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.apply(false)
			tt.spoil(b)
			p, err := b.plan(false)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, commands(p)); diff != "" {
				t.Error(diff)
			}
			b.apply(false)
			if p, err := b.plan(false); err != nil || len(p.Steps) != 0 {
				t.Errorf("afterwards: %v, %v", commands(p), err)
			}
		})
	}
}

// change edits user.cfg by hand.
func (b *bed) change(old, text string) {
	b.Helper()
	was := b.read("etc/pve/user.cfg")
	if !strings.Contains(was, old) {
		b.Fatalf("%q is not in user.cfg:\n%s", old, was)
	}
	if err := os.WriteFile(filepath.Join(b.root, "etc/pve/user.cfg"), []byte(strings.Replace(was, old, text, 1)), 0o640); err != nil {
		b.Fatal(err)
	}
}

func TestSetupRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(b *bed)
		text  string
	}{
		"no quorum":      {func(b *bed) { _ = b.server.SetQuorum(false) }, "no quorum"},
		"pmxcfs is down": {func(b *bed) { _ = b.server.SetClusterFS(false) }, "no PVE host"},
		"no pveum":       {func(b *bed) { b.access.Host.Exec = b.root }, "pveum"},
		"user expired": {func(b *bed) {
			b.change("user:root@pam", "user:labd@pve:1:1700000000::::::\nuser:root@pam")
		}, "has expired"},
		"PVE does not answer": {func(b *bed) {
			b.apply(false)
			b.server.Inject(pvesim.Fault{Path: "/access/permissions", Cut: true})
		}, "cannot be told"},
		"user off": {func(b *bed) { b.change("user:root@pam", "user:labd@pve:0:0::::::\nuser:root@pam") }, "switched the user"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			tt.spoil(b)
			var refused *plan.RefusedError
			if p, err := b.plan(false); !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.text) || refused.Hint == "" {
				t.Errorf("%v, %v", p, err)
			}
		})
	}
}

// A token whose secret could not be kept is not left behind in PVE.
func TestSecretThatCannotBeKept(t *testing.T) {
	b := newBed(t)
	if err := os.WriteFile(filepath.Join(b.root, "etc/labd"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.access.TokenFile = filepath.Join(b.root, "blocked/token")
	p, err := b.plan(false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.root, "blocked"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	entry, err := b.runner.Apply(t.Context(), p, "root")
	if err == nil || strings.Contains(b.read("etc/pve/user.cfg"), "token:labd@pve") || b.read("etc/pve/priv/token.cfg") != "root@pam!dev 11111111-2222-3333-4444-555555555555\n" {
		t.Errorf("%v\n%s", err, b.read("etc/pve/user.cfg"))
	}
	if err := b.undo(entry.ID); err != nil || strings.Contains(b.read("etc/pve/user.cfg"), "labd") {
		t.Errorf("undo: %v\n%s", err, b.read("etc/pve/user.cfg"))
	}
}

// The page of the configuration shows the commands that are run.
func TestDocumentedCommands(t *testing.T) {
	b := newBed(t)
	p, err := b.plan(false)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if block := "```\n" + strings.Join(commands(p), "\n") + "\n```\n"; !strings.Contains(string(page), block) {
		t.Errorf("docs/configuration.md does not have:\n%s", block)
	}
}

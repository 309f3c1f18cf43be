package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"labd/internal/config"
	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/pve"
	"labd/internal/storage"
	"labd/test/pvesim"
)

// What PVE would answer with 401 or 403 is found before consent, named, and without a request that PVE would log as an
// attack; what cannot be told stops nothing.
func TestAccessIsCheckedBefore(t *testing.T) {
	const well = "user:labd@pve:1:0::::::\ntoken:labd@pve!labd:0:0::\n\n\n\nrole:LabdStorage:Datastore.Allocate,Datastore.Audit:\nrole:LabdTasks:Sys.Audit:\n\n" +
		"acl:1:/nodes:labd@pve:LabdTasks:\nacl:1:/storage:labd@pve:LabdStorage:\n"
	for _, tt := range []struct {
		name     string
		old, new string
		spoil    func(s *pvesim.Server)
		secret   string
		want     error
		text     string
		requests int
	}{
		{name: "all is well", requests: 1},
		{name: "the token has expired", old: "token:labd@pve!labd:0:", new: "token:labd@pve!labd:1700000000:", want: pve.ErrUnauthenticated, text: "expired on 2023-11-14"},
		{name: "the user is switched off", old: "user:labd@pve:1:", new: "user:labd@pve:0:", want: pve.ErrUnauthenticated, text: "the user labd@pve is switched off"},
		{name: "the token was deleted", old: "token:labd@pve!labd:0:0::\n", want: pve.ErrUnauthenticated, text: "there is no API token labd@pve!labd"},
		{name: "the token was replaced", secret: "other", want: pve.ErrUnauthenticated, text: "somebody replaced the token"},
		{name: "no rights on /storage", old: "acl:1:/storage:labd@pve:LabdStorage:\n", want: pve.ErrNotPermitted, text: "lacks Datastore.Allocate on /storage", requests: 1},
		{name: "no right to see tasks", old: "acl:1:/nodes:labd@pve:LabdTasks:\n", want: pve.ErrNotPermitted, text: "lacks Sys.Audit on /nodes/pve1", requests: 1},
		{name: "PVE does not answer", spoil: func(s *pvesim.Server) { s.Inject(pvesim.Fault{Cut: true}) }, requests: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			if _, err := pvesim.Prepare(root, "pve1"); err != nil {
				t.Fatal(err)
			}
			server, err := pvesim.Start(t.Context(), pvesim.Config{Root: root, Node: "pve1"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			secret := "s1"
			if tt.secret != "" {
				secret = tt.secret
			}
			for name, text := range map[string]string{
				"etc/pve/user.cfg": strings.Replace(well, tt.old, tt.new, 1), "etc/pve/priv/token.cfg": "labd@pve!labd " + secret + "\n", "token": "labd@pve!labd=s1\n", "ca.pem": string(server.CA()),
			} {
				if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			requests := 0
			server.Inject(pvesim.Fault{Times: 1, Do: func() { requests++ }})
			if tt.spoil != nil {
				server.ClearFaults()
				server.Inject(pvesim.Fault{Cut: true, Do: func() { requests++ }})
			}
			cfg := config.Default()
			cfg.PVE.API, cfg.PVE.Node, cfg.PVE.TokenFile, cfg.PVE.CAFile = server.URL(), "pve1", filepath.Join(root, "token"), filepath.Join(root, "ca.pem")
			paths := host.DefaultPaths()
			paths.PVE = filepath.Join(root, "etc/pve")
			access := &pveAccess{cfg: cfg, host: host.New(paths, "")}
			for range 2 { // the second answer is the first one, without another request
				err = access.Check(t.Context(), false)
				if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v", err)
				}
			}
			if requests != tt.requests {
				t.Errorf("%d requests, want %d", requests, tt.requests)
			}
			r := storage.Diagnose(&storage.Facts{Node: "pve1", Config: &pve.StorageConfig{}, AccessErr: err}, storage.DefaultPolicy())
			if raised := slices.ContainsFunc(r.Findings, func(f finding.Finding) bool { return f.Code == "pve.access" }); raised != (tt.want != nil) {
				t.Errorf("findings %+v", r.Findings)
			}
		})
	}
}

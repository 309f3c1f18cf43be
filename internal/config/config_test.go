package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadErrorsNameFileLineAndKey(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key in a section", "[paths]\nsysfs = \"/s\"\nsysfsx = \"/t\"\n", `:3: unknown key "paths.sysfsx"; did you mean "paths.sysfs"?`},
		{"unknown section", "\n[storages]\ngrace = 1\n", `:2: unknown key "storages`},
		{"nothing near", "zzzzzzzzzzzz = 1\n", `:1: unknown key "zzzzzzzzzzzz"`},
		{"wrong type", "[paths]\nsysfs = 3\n", ":2: "},
		{"syntax", "[paths\n", ":1: "},
		{"relative path", "[paths]\nsysfs = \"sys\"\n", `key "paths.sysfs": "sys" is not an absolute path`},
		{"API without TLS", "[pve]\napi = \"http://127.0.0.1:8006\"\n", `key "pve.api"`},
		{"secret in the API's address", "[pve]\napi = \"https://u:s3cret@h:8006\"\n", `key "pve.api": a user or password has no place`},
		{"a number out of its limits", "[nvme]\n\nwear_percent = 300\n", `:3: key "nvme.wear_percent": 300 is not from 1 to 255`},
		{"a time out of its limits", "[storage]\nresync = \"2h\"\n", `:2: key "storage.resync": 2h0m0s is not from 1s to 1h0m0s`},
		{"too few networks", "[network]\nmax_networks = 0\n", `:2: key "network.max_networks": 0 is not at least 1`},
		{"an alias too short", "network.alias_length = 1\n", `:1: key "network.alias_length": 1 is not from `},
		{"an alias too short, in its section", "[network] # of Docker\nalias_length = 1\n", `:2: key "network.alias_length": 1 is not from `},
		{"a word that is none", "[notify]\nmin_severity = \"bad\"\n", `:2: key "notify.min_severity": "bad" is none of info, warn and fail`},
		{"the second of two wrong keys", "[nvme]\nwear_percent = 0\nwear_days = -1\n", `:3: key "nvme.wear_days": -1 is not from 0 to 3650`},
		{"a wrong type", "[nvme]\nwear_percent = \"x\"\n", `:2: key "nvme.wear_percent": `},
		{"listen address", "[listen]\nmetrics = \"localhost\"\n", `key "listen.metrics"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "labd.toml")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(file)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("got %v, want the file and %q", err, tt.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "labd.toml")
	if _, err := Load(file); err == nil {
		t.Error("a named file that is missing was accepted")
	}
	text := "[paths]\nsysfs = \"/tree/sys\"\n[kernel]\nrelease = \"6.2.16-3-pve\"\n[pve]\nnode = \"pve1\"\ntoken_file = \"/x\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Paths.Sysfs != "/tree/sys" || cfg.Paths.Procfs != "/proc" || cfg.Kernel.Release != "6.2.16-3-pve" || cfg.PVE.Node != "pve1" || cfg.Listen.Metrics != "127.0.0.1:9717" {
		t.Errorf("got %+v", cfg)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("[paths]\nsysfs = \"/s\"\n[network]\nmode = \"observe\"\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = Parse("labd.toml", data) // must not panic
	})
}

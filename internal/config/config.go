package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"labd/internal/disk"
	"labd/internal/host"
	"labd/internal/network"
	"labd/internal/notify"
	"labd/internal/policy"
	"labd/internal/storage"
)

// DefaultFile is read when no file is named; it may be missing.
const DefaultFile = "/etc/labd/labd.toml"

// Config is the effective configuration: the defaults with what the file says.
type Config struct {
	Paths   host.Paths     `toml:"paths"`
	Kernel  Kernel         `toml:"kernel"`
	PVE     PVE            `toml:"pve"`
	Listen  Listen         `toml:"listen"`
	NVMe    disk.Policy    `toml:"nvme"`
	Storage storage.Policy `toml:"storage"`
	Network network.Policy `toml:"network"`
	Notify  notify.Policy  `toml:"notify"`
}

// Kernel is the section [kernel].
type Kernel struct {
	// Release is what uname -r would say, for fixtures; empty asks the kernel.
	Release string `toml:"release"`
}

// PVE is the section [pve]: how labd reaches PVE's API.
type PVE struct {
	API string `toml:"api"`
	// Node is this node's name in PVE; empty means the host name.
	Node string `toml:"node"`
	// TokenFile holds one line, user@realm!name=secret. Empty means that there is no token.
	TokenFile string `toml:"token_file"`
	// CAFile holds the certificate authority that the API's certificate must come from.
	CAFile string `toml:"ca_file"`
}

// Listen is the section [listen].
type Listen struct {
	// Metrics is the TCP address of /metrics, /healthz and /readyz; empty opens no port.
	Metrics string `toml:"metrics"`
	// API answers the reports of the API on that port too, to anyone who reaches it; never plans, journal or changes.
	API bool `toml:"api"`
	// WebConfigFile gives that port TLS and passwords, in the form of Prometheus' exporters; empty for neither.
	WebConfigFile string `toml:"web_config_file"`
	// LAN is the TLS address for callers from the network, such as ":9718"; empty opens no port.
	LAN string `toml:"lan"`
	// Hosts are names that the Host header of a request may carry, besides localhost and any IP address.
	Hosts []string `toml:"hosts"`
}

// Default is the configuration of an empty file.
func Default() Config {
	return Config{
		Paths:   host.DefaultPaths(),
		PVE:     PVE{API: "https://127.0.0.1:8006", CAFile: "/etc/pve/pve-root-ca.pem"},
		Listen:  Listen{Metrics: "127.0.0.1:9717"},
		NVMe:    disk.DefaultPolicy(),
		Storage: storage.DefaultPolicy(),
		Network: network.DefaultPolicy(),
		Notify:  notify.DefaultPolicy(),
	}
}

// FileName is the file that Load reads: file itself, or DefaultFile when it is empty.
func FileName(file string) string {
	if file == "" {
		return DefaultFile
	}
	return file
}

// Error says what is wrong with a configuration file: which file, the line where it is known, the key where there is one.
type Error struct {
	File string
	// Line is counted from 1; 0 where it is not known.
	Line int
	Err  error
}

func (e *Error) Error() string {
	place := e.File
	if e.Line > 0 {
		place += ":" + strconv.Itoa(e.Line)
	}
	return fmt.Sprintf("configuration %s: %v", place, e.Err)
}

// Unwrap returns what is wrong, without the place.
func (e *Error) Unwrap() error { return e.Err }

// Load reads file, or DefaultFile when file is empty. Every error names the file, and the line and key where there is
// one; nothing of a wrong file is used.
func Load(file string) (Config, error) {
	named := file != ""
	file = FileName(file)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return withNode(Default())
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	cfg, err := Parse(file, data)
	if err != nil {
		return Config{}, err
	}
	return withNode(cfg)
}

// Parse reads the text of a configuration file over the defaults and checks it. It fails with an *Error, or with several of
// them joined.
func Parse(file string, data []byte) (Config, error) {
	cfg := Default()
	decoder := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := decoder.Decode(&cfg); err != nil {
		line, err := explain(err)
		return Config{}, &Error{file, line, err}
	}
	var errs []error
	for _, err := range cfg.problems() {
		line := 0
		var key *policy.KeyError
		if errors.As(err, &key) {
			line = lineOf(data, key.Key)
		}
		errs = append(errs, &Error{file, line, err})
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// explain returns the line that the decoder stopped at, 0 where it does not say, and what is wrong there.
func explain(err error) (line int, _ error) {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		first := unknown.Errors[0]
		line, _ := first.Position()
		key := strings.Join(first.Key(), ".")
		if near := nearest(key, Keys()); near != "" {
			return line, fmt.Errorf("unknown key %q; did you mean %q?", key, near)
		}
		return line, fmt.Errorf("unknown key %q", key)
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, _ := decode.Position()
		if key := strings.Join(decode.Key(), "."); key != "" {
			return line, &policy.KeyError{Key: key, Err: err}
		}
		return line, err
	}
	return 0, err
}

// lineOf returns the line on which the file gives a dotted key a value; 0 where it gives none, so that the default counts.
func lineOf(data []byte, key string) int {
	section := ""
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			name, _, _ = strings.Cut(name, "]")
			section = strings.TrimSpace(name) + "."
			continue
		}
		if name, _, ok := strings.Cut(line, "="); ok && (section+strings.TrimSpace(name) == key || strings.TrimSpace(name) == key) {
			return i + 1
		}
	}
	return 0
}

// problems returns what is wrong with the values, each as a *policy.KeyError with the whole key.
func (c Config) problems() []error {
	errs := leaves(c.validate())
	for _, section := range []struct {
		name string
		err  error
	}{{"nvme", c.NVMe.Validate()}, {"storage", c.Storage.Validate()}, {"network", c.Network.Validate()}, {"notify", c.Notify.Validate()}} {
		for _, err := range leaves(section.err) {
			var key *policy.KeyError
			if errors.As(err, &key) {
				err = &policy.KeyError{Key: section.name + "." + key.Key, Err: key.Err}
			}
			errs = append(errs, err)
		}
	}
	return errs
}

// leaves takes joined errors apart.
func leaves(err error) []error {
	if err == nil {
		return nil
	}
	var out []error
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			out = append(out, leaves(e)...)
		}
		return out
	}
	return []error{err}
}

func (c Config) validate() error {
	p := c.Paths
	for _, path := range []struct{ key, value string }{
		{"sysfs", p.Sysfs},
		{"procfs", p.Procfs},
		{"dev", p.Dev},
		{"etc", p.Etc},
		{"pve", p.PVE},
		{"lxc", p.LXC},
		{"usr", p.Usr},
		{"kmsg", p.Kmsg},
		{"state", p.State},
		{"run", p.Run},
	} {
		if !filepath.IsAbs(path.value) {
			return policy.Wrong("paths."+path.key, "%q is not an absolute path", path.value)
		}
	}
	switch u, err := url.Parse(c.PVE.API); {
	case err != nil || u.Scheme != "https" || u.Host == "":
		return policy.Wrong("pve.api", "not an https address")
	case u.User != nil:
		// The address is shown in logs and by labctl config; a secret has no place in it.
		return policy.Wrong("pve.api", "a user or password has no place in the address; name a file in pve.token_file")
	}
	if file := c.Listen.WebConfigFile; file != "" && !filepath.IsAbs(file) {
		return policy.Wrong("listen.web_config_file", "%q is not an absolute path", file)
	}
	if c.Listen.LAN != "" {
		if _, _, err := net.SplitHostPort(c.Listen.LAN); err != nil {
			return policy.Wrong("listen.lan", "%w", err)
		}
	}
	if c.Listen.Metrics != "" {
		if _, _, err := net.SplitHostPort(c.Listen.Metrics); err != nil {
			return policy.Wrong("listen.metrics", "%w", err)
		}
	}
	return nil
}

func withNode(cfg Config) (Config, error) {
	if cfg.PVE.Node != "" {
		return cfg, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return Config{}, fmt.Errorf("find this node's name (set pve.node to give it): %w", err)
	}
	// PVE names a node by the first label of its host name (PVE::INotify::nodename).
	cfg.PVE.Node, _, _ = strings.Cut(name, ".")
	return cfg, nil
}

package netfilter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"labd/internal/host"
)

// Backend is the kernel interface that an iptables program uses; an ACCEPT in one does not override a DROP in the
// other, so labd uses the one that Docker uses in that namespace.
type Backend string

// Backends.
const (
	NFT    Backend = "nft"
	Legacy Backend = "legacy"
)

// family is IPv4 or IPv6: the names of its programs and of the file that lists its legacy tables.
type family struct{ program, legacyTables string }

var (
	ipv4 = family{"iptables", "ip_tables_names"}
	ipv6 = family{"ip6tables", "ip6_tables_names"}
)

// Table of labd's in nftables.
const nftTable = "inet labd"

// Namespace is one network namespace to read and change.
type Namespace struct {
	Host *host.Host
	// NetNS is the namespace; nil is labd's own.
	NetNS *os.File
	// Proc is the directory of /proc that shows this namespace, as /proc/PID/net. Its ip_tables_names lists the
	// iptables-legacy tables in use; the legacy programs are run only where there are some, since they make those
	// tables that they look at.
	Proc string
	// Cache, where set, spares a look at rules that did not change.
	Cache *Cache
}

// Detect tells which backend Docker uses here: legacy where its filter table is in use and holds a chain of Docker's.
func (n Namespace) Detect(ctx context.Context) (Backend, *Ruleset, error) {
	inUse, err := n.legacyInUse(ctx, ipv4)
	if err != nil {
		return "", nil, err
	}
	backend := NFT
	var rs *Ruleset
	if inUse {
		legacy, err := n.read(ctx, Legacy, ipv4)
		if err != nil {
			return "", nil, err
		}
		if legacy.Chain("filter", "DOCKER") != nil || legacy.Chain("filter", userChain) != nil {
			backend, rs = Legacy, legacy
		}
	}
	if rs == nil {
		if rs, err = n.read(ctx, NFT, ipv4); err != nil {
			return "", nil, err
		}
	}
	for _, table := range []string{"filter", "raw"} {
		if slices.Contains(rs.Unreadable, table) {
			return "", nil, fmt.Errorf("read the %s rules: table %s holds rules of nft that iptables does not understand", backend, table)
		}
	}
	return backend, rs, nil
}

// legacyInUse tells whether a legacy table exists in the namespace. The file is missing where the kernel module is.
func (n Namespace) legacyInUse(ctx context.Context, f family) (bool, error) {
	tables, err := n.legacyTables(ctx, f.legacyTables)
	return len(tables) > 0, err
}

// legacyTables are the legacy tables in use, sorted, as a file of /proc/net lists them.
func (n Namespace) legacyTables(ctx context.Context, file string) ([]string, error) {
	data, err := n.Host.ReadFile(ctx, filepath.Join(n.Proc, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the legacy tables in use: %w", err)
	}
	tables := strings.Fields(string(data))
	slices.Sort(tables)
	return tables, nil
}

// Read returns the IPv4 ruleset of a backend.
func (n Namespace) Read(ctx context.Context, backend Backend) (*Ruleset, error) {
	return n.read(ctx, backend, ipv4)
}

// Count returns the IPv4 ruleset of a backend with what its rules have counted.
func (n Namespace) Count(ctx context.Context, backend Backend) (*Ruleset, error) {
	return n.read(ctx, backend, ipv4, "--counters")
}

// Backends are the backends with IPv4 rules to look at: nft always, legacy where it has tables.
func (n Namespace) Backends(ctx context.Context) ([]Backend, error) {
	inUse, err := n.legacyInUse(ctx, ipv4)
	if err != nil || !inUse {
		return []Backend{NFT}, err
	}
	return []Backend{NFT, Legacy}, nil
}

func (n Namespace) read(ctx context.Context, backend Backend, f family, args ...string) (*Ruleset, error) {
	load := func() (*Ruleset, error) { return n.load(ctx, backend, f, args...) }
	if len(args) > 0 { // counters change all the time
		return load()
	}
	return remembered(n.Cache, f.program+"-"+string(backend), func() (string, error) { return n.generation(ctx, backend, f) }, load)
}

// generation is a text that changes when the rules of a backend change.
func (n Namespace) generation(ctx context.Context, backend Backend, f family) (string, error) {
	if backend == NFT {
		return n.Cache.nftGeneration()
	}
	return n.legacyGeneration(ctx, slices.Index([]family{ipv4, ipv6}, f))
}

func (n Namespace) load(ctx context.Context, backend Backend, f family, args ...string) (*Ruleset, error) {
	out, err := n.run(ctx, host.Cmd{Name: f.program + "-" + string(backend) + "-save", Args: args})
	if err != nil {
		return nil, fmt.Errorf("read the %s rules: %w", backend, err)
	}
	return ParseSave(out)
}

// run runs a program of the host in the namespace.
func (n Namespace) run(ctx context.Context, cmd host.Cmd) ([]byte, error) {
	cmd.NetNS = n.NetNS
	out, err := n.Host.Run(ctx, cmd)
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Code < 0 {
		return nil, fmt.Errorf("%s crashed: %w", cmd.Name, err)
	}
	return out, err
}

// Replace makes labd's chains hold want, with their jumps at position 1, atomically for each table. current must be
// fresh from Detect; doing it twice changes nothing.
func (n Namespace) Replace(ctx context.Context, backend Backend, current *Ruleset, want Chains) error {
	if own, inPlace := current.Own(); inPlace && own.Equal(want) {
		return nil
	}
	return n.restore(ctx, backend, ipv4, current.replaceScript(want))
}

// Remove takes labd's chains, jumps and nftables table away: both backends, IPv4 and IPv6. It goes on after an error
// and returns all of them.
func (n Namespace) Remove(ctx context.Context) error {
	marks, err := n.marks(ctx)
	errs := []error{err}
	for _, m := range marks {
		script, err := m.rules.removeScript()
		if err == nil {
			err = n.restore(ctx, m.backend, m.family, script)
		}
		errs = append(errs, err)
	}
	found, err := n.hasTable(ctx)
	errs = append(errs, err)
	if found {
		_, err := n.run(ctx, host.Cmd{Name: "nft", Args: append([]string{"delete", "table"}, strings.Fields(nftTable)...)})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// HasMark tells whether anything of labd's is in the namespace: in either backend, IPv4 or IPv6, or as a table of
// nftables.
func (n Namespace) HasMark(ctx context.Context) (bool, error) {
	marks, err1 := n.marks(ctx)
	found, err2 := n.hasTable(ctx)
	return len(marks) > 0 || found, errors.Join(err1, err2)
}

// marked is one backend of one family that holds chains of labd's.
type marked struct {
	backend Backend
	family  family
	rules   *Ruleset
}

// marks are the rulesets with chains of labd's, those that can be read also with an error.
func (n Namespace) marks(ctx context.Context) ([]marked, error) {
	var found []marked
	var errs []error
	look := func(backend Backend, f family) {
		// Without the program nothing can have been made with it.
		if n.Host.ExecPATH() != "" && !n.Host.HasProgram(f.program+"-"+string(backend)+"-save") {
			return
		}
		rs, err := n.read(ctx, backend, f)
		if err != nil {
			errs = append(errs, err)
		} else if rs.HasMark() {
			found = append(found, marked{backend, f, rs})
		}
	}
	for _, f := range []family{ipv4, ipv6} {
		look(NFT, f)
		inUse, err := n.legacyInUse(ctx, f)
		errs = append(errs, err)
		if inUse {
			look(Legacy, f)
		}
	}
	return found, errors.Join(errs...)
}

func (n Namespace) hasTable(ctx context.Context) (bool, error) {
	if n.Host.ExecPATH() != "" && !n.Host.HasProgram("nft") {
		return false, nil
	}
	// Only the tables' names: nft 1.0.6 crashes on some whole rulesets.
	out, err := n.run(ctx, host.Cmd{Name: "nft", Args: []string{"list", "tables"}})
	if err != nil {
		return false, fmt.Errorf("list the nftables tables: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.TrimSpace(line) == "table "+nftTable {
			return true, nil
		}
	}
	return false, nil
}

func (n Namespace) restore(ctx context.Context, backend Backend, f family, script string) error {
	// The wait is for the lock of the legacy programs; those of nft know the flag and have no lock.
	cmd := host.Cmd{Name: f.program + "-" + string(backend) + "-restore", Args: []string{"--noflush", "--wait", "5"}, Stdin: script}
	if _, err := n.run(ctx, cmd); err != nil {
		return fmt.Errorf("change the %s rules: %w", backend, err)
	}
	return nil
}

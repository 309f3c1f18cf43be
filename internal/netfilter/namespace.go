package netfilter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
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

// Family is IPv4 or IPv6.
type Family string

// Families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// FamilyOf is the family of an address.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}

// program is the beginning of the names of the family's programs.
func (f Family) program() string {
	if f == IPv6 {
		return "ip6tables"
	}
	return "iptables"
}

// legacyTables is the file of /proc/net that lists the family's legacy tables in use.
func (f Family) legacyTables() string {
	if f == IPv6 {
		return "ip6_tables_names"
	}
	return "ip_tables_names"
}

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

// Detect tells which backend Docker uses here, with its IPv4 rules: legacy where its filter table is in use and holds a
// chain of Docker's.
func (n Namespace) Detect(ctx context.Context) (Backend, *Ruleset, error) {
	inUse, err := n.legacyInUse(ctx, IPv4)
	if err != nil {
		return "", nil, err
	}
	if inUse {
		legacy, err := n.read(ctx, Legacy, IPv4)
		if err != nil {
			return "", nil, err
		}
		if legacy.Chain("filter", "DOCKER") != nil || legacy.Chain("filter", userChain) != nil {
			return Legacy, legacy, legacy.usable(Legacy)
		}
	}
	rs, err := n.read(ctx, NFT, IPv4)
	if err != nil {
		return "", nil, err
	}
	return NFT, rs, rs.usable(NFT)
}

// usable says why labd cannot work with a ruleset.
func (r *Ruleset) usable(backend Backend) error {
	for _, table := range []string{"filter", "raw"} {
		if slices.Contains(r.Unreadable, table) {
			return fmt.Errorf("read the %s rules: table %s holds rules of nft that iptables does not understand", backend, table)
		}
	}
	return nil
}

// Current returns the ruleset of one family in the backend that Detect found, ready to be changed.
func (n Namespace) Current(ctx context.Context, backend Backend, f Family) (*Ruleset, error) {
	if backend == Legacy {
		// The program would make the tables that it looks at.
		if inUse, err := n.legacyInUse(ctx, f); err != nil || !inUse {
			return &Ruleset{Tables: map[string]map[string]*Chain{}}, err
		}
	}
	rs, err := n.read(ctx, backend, f)
	if err != nil {
		return nil, err
	}
	return rs, rs.usable(backend)
}

// legacyInUse reports whether a legacy table exists in the namespace. The file is missing where the kernel module is.
func (n Namespace) legacyInUse(ctx context.Context, f Family) (bool, error) {
	tables, err := n.legacyTables(ctx, f.legacyTables())
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

// Read returns the ruleset of a backend and family.
func (n Namespace) Read(ctx context.Context, backend Backend, f Family) (*Ruleset, error) {
	return n.read(ctx, backend, f)
}

// Count returns the ruleset of a backend and family with what its rules have counted.
func (n Namespace) Count(ctx context.Context, backend Backend, f Family) (*Ruleset, error) {
	return n.read(ctx, backend, f, "--counters")
}

// Backends are the backends with rules of a family to look at: nft always, legacy where it has tables.
func (n Namespace) Backends(ctx context.Context, f Family) ([]Backend, error) {
	inUse, err := n.legacyInUse(ctx, f)
	if err != nil || !inUse {
		return []Backend{NFT}, err
	}
	return []Backend{NFT, Legacy}, nil
}

func (n Namespace) read(ctx context.Context, backend Backend, f Family, args ...string) (*Ruleset, error) {
	load := func() (*Ruleset, error) { return n.load(ctx, backend, f, args...) }
	if len(args) > 0 { // counters change all the time
		return load()
	}
	return remembered(n.Cache, f.program()+"-"+string(backend), func() (string, error) { return n.generation(ctx, backend, f) }, load)
}

// generation is a text that changes when the rules of a backend change.
func (n Namespace) generation(ctx context.Context, backend Backend, f Family) (string, error) {
	if backend == NFT {
		return n.Cache.nftGeneration()
	}
	return n.legacyGeneration(ctx, slices.Index([]Family{IPv4, IPv6}, f))
}

func (n Namespace) load(ctx context.Context, backend Backend, f Family, args ...string) (*Ruleset, error) {
	out, err := n.run(ctx, host.Cmd{Name: f.program() + "-" + string(backend) + "-save", Args: args})
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

// Replace makes labd's chains of one family hold want, with their jumps at position 1, atomically for each table.
// current must be fresh from Detect or Current; doing it twice changes nothing.
func (n Namespace) Replace(ctx context.Context, backend Backend, f Family, current *Ruleset, want Chains) error {
	if own, inPlace := current.Own(); inPlace && own.Equal(want) {
		return nil
	}
	if len(want.NAT) > 0 && slices.Contains(current.Unreadable, "nat") {
		return fmt.Errorf("change the %s rules: table nat holds rules of nft that iptables does not understand", backend)
	}
	script, err := current.replaceScript(want)
	if err != nil {
		return err
	}
	return n.restore(ctx, backend, f, script)
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
		errs = append(errs, n.removeTable(ctx))
	}
	return errors.Join(errs...)
}

// HasMark reports whether anything of labd's is in the namespace: in either backend, IPv4 or IPv6, or as a table of
// nftables.
func (n Namespace) HasMark(ctx context.Context) (bool, error) {
	marks, err1 := n.marks(ctx)
	found, err2 := n.hasTable(ctx)
	return len(marks) > 0 || found, errors.Join(err1, err2)
}

// marked is one backend of one family that holds chains of labd's.
type marked struct {
	backend Backend
	family  Family
	rules   *Ruleset
}

// marks are the rulesets with chains of labd's, those that can be read also with an error.
func (n Namespace) marks(ctx context.Context) ([]marked, error) {
	var found []marked
	var errs []error
	look := func(backend Backend, f Family) {
		// Without the program nothing can have been made with it.
		if n.Host.ExecPATH() != "" && !n.Host.HasProgram(f.program()+"-"+string(backend)+"-save") {
			return
		}
		rs, err := n.read(ctx, backend, f)
		if err != nil {
			errs = append(errs, err)
		} else if rs.HasMark() {
			found = append(found, marked{backend, f, rs})
		}
	}
	for _, f := range []Family{IPv4, IPv6} {
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
	out, err := n.list(ctx, "tables")
	if err != nil {
		return false, fmt.Errorf("list the nftables tables: %w", err)
	}
	for line := range strings.Lines(out) {
		if strings.TrimSpace(line) == "table "+nftTable {
			return true, nil
		}
	}
	return false, nil
}

func (n Namespace) restore(ctx context.Context, backend Backend, f Family, script string) error {
	// The wait is for the lock of the legacy programs; those of nft know the flag and have no lock.
	cmd := host.Cmd{Name: f.program() + "-" + string(backend) + "-restore", Args: []string{"--noflush", "--wait", "5"}, Stdin: script}
	if _, err := n.run(ctx, cmd); err != nil {
		return fmt.Errorf("change the %s rules: %w", backend, err)
	}
	return nil
}

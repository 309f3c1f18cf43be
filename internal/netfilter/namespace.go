package netfilter

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// Namespace is one network namespace to read and change.
type Namespace struct {
	Host *host.Host
	// NetNS is the namespace; nil is labd's own.
	NetNS *os.File
	// LegacyTables is the path of ip_tables_names in it, which lists the iptables-legacy tables in use.
	LegacyTables string
}

// Detect tells which backend Docker uses here: legacy where its filter table is in use and holds a chain of Docker's.
func (n Namespace) Detect(ctx context.Context) (Backend, *Ruleset, error) {
	if n.legacyInUse(ctx) {
		rs, err := n.Read(ctx, Legacy)
		if err != nil {
			return "", nil, err
		}
		if rs.Chain("filter", "DOCKER") != nil || rs.Chain("filter", "DOCKER-USER") != nil {
			return Legacy, rs, nil
		}
	}
	rs, err := n.Read(ctx, NFT)
	return NFT, rs, err
}

func (n Namespace) legacyInUse(ctx context.Context) bool {
	data, err := n.Host.ReadFile(ctx, n.LegacyTables)
	return err == nil && strings.TrimSpace(string(data)) != ""
}

// Read returns the IPv4 ruleset of a backend.
func (n Namespace) Read(ctx context.Context, backend Backend) (*Ruleset, error) {
	out, err := n.Host.Run(ctx, host.Cmd{Name: "iptables-" + string(backend) + "-save", NetNS: n.NetNS})
	if err != nil {
		return nil, fmt.Errorf("read the %s rules: %w", backend, err)
	}
	return ParseSave(out)
}

// Replace makes labd's chains hold want, with their jumps at position 1, atomically for each table. current must be
// fresh from Read; doing it twice changes nothing.
func (n Namespace) Replace(ctx context.Context, backend Backend, current *Ruleset, want Chains) error {
	if own, inPlace := current.Own(); inPlace && own.Equal(want) {
		return nil
	}
	return n.restore(ctx, backend, current.replaceScript(want))
}

// Remove takes labd's chains and jumps away, in both backends.
func (n Namespace) Remove(ctx context.Context) error {
	backends := []Backend{NFT}
	if n.legacyInUse(ctx) {
		backends = append(backends, Legacy)
	}
	var errs []error
	for _, backend := range backends {
		current, err := n.Read(ctx, backend)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if script := current.removeScript(); script != "" {
			errs = append(errs, n.restore(ctx, backend, script))
		}
	}
	return errors.Join(errs...)
}

func (n Namespace) restore(ctx context.Context, backend Backend, script string) error {
	cmd := host.Cmd{Name: "iptables-" + string(backend) + "-restore", Args: []string{"--noflush"}, Stdin: script, NetNS: n.NetNS}
	if backend == Legacy {
		cmd.Args = append(cmd.Args, "--wait", "5") // the nft backend has no lock to wait for
	}
	if _, err := n.Host.Run(ctx, cmd); err != nil {
		return fmt.Errorf("change the %s rules: %w", backend, err)
	}
	return nil
}

package netfilter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"labd/internal/host"
)

// Table of labd's in nftables.
const nftTable = "inet labd"

// Table are the rules of labd's nftables table, in nft's syntax: for a Docker that programs nftables itself and leaves
// no place for rules of others in its own tables.
type Table struct {
	// Mark are rules that give packets the mark that Docker accepts, Alias rules that map an alias onto a subnet.
	Mark, Alias []string
}

// Len is the number of rules.
func (t Table) Len() int { return len(t.Mark) + len(t.Alias) }

// Append is t with the rules of o behind its own.
func (t Table) Append(o Table) Table {
	return Table{Mark: slices.Concat(t.Mark, o.Mark), Alias: slices.Concat(t.Alias, o.Alias)}
}

// Rules are all rules of labd's in one network namespace: in iptables chains of both families, and in nftables.
type Rules struct {
	IPv4, IPv6 Chains
	Table      Table
}

// Len is the number of rules.
func (r Rules) Len() int { return r.IPv4.Len() + r.IPv6.Len() + r.Table.Len() }

// Append is r with the rules of o behind its own.
func (r Rules) Append(o Rules) Rules {
	return Rules{IPv4: r.IPv4.Append(o.IPv4), IPv6: r.IPv6.Append(o.IPv6), Table: r.Table.Append(o.Table)}
}

// Of are the chains of one family.
func (r Rules) Of(f Family) Chains {
	if f == IPv6 {
		return r.IPv6
	}
	return r.IPv4
}

// fingerprint tells one content of the table from another. It stands in the table's comment: the text that nft prints
// for a rule differs between its versions, so that rules cannot be compared word by word.
func (t Table) fingerprint() string {
	sum := sha256.Sum256([]byte(strings.Join(t.Mark, "\n") + "\n\n" + strings.Join(t.Alias, "\n")))
	return "labd:" + hex.EncodeToString(sum[:8])
}

// script makes the table hold t, in one transaction. The mark must be there before Docker's forward chains look for it,
// and be set on the alias, so before destinations are changed; those are changed before Docker's own turn.
func (t Table) script() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s\ndelete table %s\ntable %s {\n\tcomment %q\n", nftTable, nftTable, nftTable, t.fingerprint())
	for _, c := range []struct {
		name, hook string
		rules      []string
	}{
		{"prerouting", "type filter hook prerouting priority mangle; policy accept;", t.Mark},
		{"alias", "type nat hook prerouting priority dstnat - 1; policy accept;", t.Alias},
	} {
		if len(c.rules) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\tchain %s {\n\t\t%s\n", c.name, c.hook)
		for _, rule := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", rule)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// TableState is labd's table as it was found.
type TableState struct {
	There       bool
	Fingerprint string
	// Rules is how many rules of labd's are in it.
	Rules int
}

// Holds reports whether the table is as t wants it; without rules there is to be none.
func (s TableState) Holds(t Table) bool {
	if t.Len() == 0 {
		return !s.There
	}
	return s.There && s.Fingerprint == t.fingerprint() && s.Rules == t.Len()
}

// parseTable reads what nft lists of labd's table.
func parseTable(text string) TableState {
	s := TableState{There: true}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if mark, ok := strings.CutPrefix(line, `comment "`); ok {
			s.Fingerprint = strings.TrimSuffix(mark, `"`)
		} else if strings.Contains(line, `comment "labd:`) {
			s.Rules++
		}
	}
	return s
}

// ReadTable looks for labd's nftables table.
func (n Namespace) ReadTable(ctx context.Context) (TableState, error) {
	found, err := n.hasTable(ctx)
	if err != nil || !found {
		return TableState{}, err
	}
	text, err := n.list(ctx, append([]string{"table"}, strings.Fields(nftTable)...)...)
	if err != nil {
		return TableState{}, fmt.Errorf("list labd's nftables table: %w", err)
	}
	return parseTable(text), nil
}

// ReplaceTable makes labd's nftables table hold want, atomically; with no rules the table goes.
func (n Namespace) ReplaceTable(ctx context.Context, want Table) error {
	current, err := n.ReadTable(ctx)
	if err != nil || current.Holds(want) {
		return err
	}
	if want.Len() == 0 {
		return n.removeTable(ctx)
	}
	if _, err := n.run(ctx, host.Cmd{Name: "nft", Args: []string{"-f", "-"}, Stdin: want.script()}); err != nil {
		return fmt.Errorf("make labd's nftables table: %w", err)
	}
	return nil
}

func (n Namespace) removeTable(ctx context.Context) error {
	_, err := n.run(ctx, host.Cmd{Name: "nft", Args: append([]string{"delete", "table"}, strings.Fields(nftTable)...)})
	return err
}

// Mark is a packet mark by which Docker accepts packets: those whose mark has Value in the bits of Mask.
type Mark struct{ Value, Mask uint32 }

// Set is the statement of nft that gives a packet the mark and leaves its other bits alone.
func (m Mark) Set() string {
	if m.Mask == ^uint32(0) {
		return fmt.Sprintf("meta mark set %#x", m.Value)
	}
	return fmt.Sprintf("meta mark set meta mark & %#x | %#x", ^m.Mask, m.Value)
}

// DockerTable is what Docker's own nftables table of one family says.
type DockerTable struct {
	// Accepts are the marks by which bridges accept packets (dockerd's bridge-accept-fwmark), by bridge.
	Accepts map[string]Mark
	// Drops are the prefixes for which it drops what is routed to them, whatever their mark.
	Drops []netip.Prefix
}

// DropsRouted reports whether routed packets to some of the prefix are dropped before any mark counts.
func (t DockerTable) DropsRouted(p netip.Prefix) bool {
	return slices.ContainsFunc(t.Drops, func(d netip.Prefix) bool { return d.Overlaps(p) })
}

// ReadDocker reads what Docker's nftables backend does with packets for some bridges. Only single chains are listed:
// nft 1.0.6 crashes on whole rulesets of Docker 29. A table or chain that is not there says nothing.
func (n Namespace) ReadDocker(ctx context.Context, f Family, bridges []string) (DockerTable, error) {
	out := DockerTable{Accepts: map[string]Mark{}}
	family := "ip"
	if f == IPv6 {
		family = "ip6"
	}
	list := func(chain string) (string, error) {
		text, err := n.list(ctx, "chain", family, "docker-bridges", chain)
		if err != nil {
			return "", fmt.Errorf("list Docker's nftables chain %s: %w", chain, err)
		}
		return text, nil
	}
	raw, err := list("raw-PREROUTING")
	if err != nil {
		return out, err
	}
	out.Drops = parseDockerDrops(raw, family)
	for _, bridge := range bridges {
		text, err := list("filter-forward-in__" + bridge)
		if err != nil {
			return out, err
		}
		if mark, ok := parseAcceptedMark(text); ok {
			out.Accepts[bridge] = mark
		}
	}
	return out, nil
}

// list is what nft lists of something, "" where it is not there.
func (n Namespace) list(ctx context.Context, what ...string) (string, error) {
	load := func() (string, error) {
		out, err := n.run(ctx, host.Cmd{Name: "nft", Args: append([]string{"list"}, what...)})
		var exit *host.ExitError
		if errors.As(err, &exit) && strings.Contains(exit.Stderr, "No such file") {
			return "", nil
		}
		return string(out), err
	}
	return remembered(n.Cache, "nft "+strings.Join(what, " "), func() (string, error) { return n.Cache.nftGeneration() }, load)
}

// parseDockerDrops finds the destinations of drop rules ("ip daddr 172.18.0.2 iifname != ... counter ... drop").
func parseDockerDrops(text, family string) []netip.Prefix {
	var drops []netip.Prefix
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if !slices.Contains(words, "drop") {
			continue
		}
		for i := 0; i+2 < len(words); i++ {
			if words[i] == family && words[i+1] == "daddr" {
				if p, err := parsePrefix(words[i+2]); err == nil {
					drops = append(drops, p)
				}
			}
		}
	}
	return drops
}

// parseAcceptedMark finds the rule by which Docker accepts a mark: "meta mark 0x4c counter ... accept", or, with a
// mask, "meta mark & 0x3 == 0x2" (moby, nftabler/network.go).
func parseAcceptedMark(text string) (Mark, bool) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 4 || words[0] != "meta" || words[1] != "mark" || !slices.Contains(words, "accept") {
			continue
		}
		masked := (words[2] == "&" || words[2] == "and") && len(words) > 5 && words[4] == "=="
		value, mask := words[2], "0xffffffff"
		if masked {
			value, mask = words[5], words[3]
		}
		v, err1 := strconv.ParseUint(value, 0, 32)
		m, err2 := strconv.ParseUint(mask, 0, 32)
		if err1 == nil && err2 == nil {
			return Mark{uint32(v), uint32(m)}, true
		}
	}
	return Mark{}, false
}

package netfilter

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// userChain is the chain that Docker keeps for rules of others.
const userChain = "DOCKER-USER"

// Names of labd's chains.
const (
	ChainRaw     = "LABD-RAW"
	ChainForward = "LABD-FWD"
	ChainNAT     = "LABD-NAT"
)

// Chains are the rules of labd's own chains of one family, in order. A chain without rules is not there at all.
type Chains struct {
	Raw, Forward, NAT []Rule
}

// Equal reports whether both hold the same rules in the same order.
func (c Chains) Equal(o Chains) bool {
	return equalRules(c.Raw, o.Raw) && equalRules(c.Forward, o.Forward) && equalRules(c.NAT, o.NAT)
}

// Len is the number of rules.
func (c Chains) Len() int { return len(c.Raw) + len(c.Forward) + len(c.NAT) }

// Append is c with the rules of o behind its own.
func (c Chains) Append(o Chains) Chains {
	return Chains{
		Raw: slices.Concat(c.Raw, o.Raw), Forward: slices.Concat(c.Forward, o.Forward), NAT: slices.Concat(c.NAT, o.NAT),
	}
}

// of are the rules of one chain.
func (c Chains) of(chain string) []Rule {
	switch chain {
	case ChainRaw:
		return c.Raw
	case ChainForward:
		return c.Forward
	default:
		return c.NAT
	}
}

func equalRules(a, b []Rule) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

// jump is where one of labd's chains is called from.
type jump struct {
	table, from, chain string
}

// jumps are the places of the jumps. Docker keeps DOCKER-USER for rules of others and never flushes it; where there is
// none, as with Podman, FORWARD takes its place.
func (r *Ruleset) jumps() []jump {
	forward := "FORWARD"
	if r.Chain("filter", userChain) != nil {
		forward = userChain
	}
	return []jump{{"raw", "PREROUTING", ChainRaw}, {"filter", forward, ChainForward}, {"nat", "PREROUTING", ChainNAT}}
}

// foundJumps are the jumps of one kind with their positions in the chain, counted from 0.
type foundJumps struct {
	jump
	positions []int
}

// ownJumps are all jumps to labd's chains, wherever they are, in a stable order.
func (r *Ruleset) ownJumps() []foundJumps {
	found := map[jump][]int{}
	if r != nil {
		for table, chains := range r.Tables {
			for name, chain := range chains {
				for i, rule := range chain.Rules {
					if isOwn(rule.Target()) {
						j := jump{table, name, rule.Target()}
						found[j] = append(found[j], i)
					}
				}
			}
		}
	}
	var list []foundJumps
	for j, positions := range found {
		list = append(list, foundJumps{j, positions})
	}
	slices.SortFunc(list, func(a, b foundJumps) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.from, b.from), cmp.Compare(a.chain, b.chain))
	})
	return list
}

func isOwn(chain string) bool {
	return chain == ChainRaw || chain == ChainForward || chain == ChainNAT
}

// Own returns the rules of labd's chains, and whether each chain that is there has rules and is jumped to exactly once,
// from position 1 of the right chain.
func (r *Ruleset) Own() (chains Chains, inPlace bool) {
	rules := func(table, chain string) []Rule {
		if c := r.Chain(table, chain); c != nil {
			return c.Rules
		}
		return nil
	}
	chains = Chains{Raw: rules("raw", ChainRaw), Forward: rules("filter", ChainForward), NAT: rules("nat", ChainNAT)}
	inPlace = r != nil
	for _, want := range r.jumps() {
		plain := r.plainJumps(want)
		if r.Chain(want.table, want.chain) == nil {
			continue
		}
		inPlace = inPlace && len(chains.of(want.chain)) > 0 && len(plain) == 1 && plain[0] == 0
	}
	return chains, inPlace
}

// plainJumps are the positions of the jumps as labd makes them, without any condition.
func (r *Ruleset) plainJumps(j jump) []int {
	var positions []int
	if from := r.Chain(j.table, j.from); from != nil {
		for i, rule := range from.Rules {
			if rule.plainJump(j.chain) {
				positions = append(positions, i)
			}
		}
	}
	return positions
}

// plainJump reports whether the rule jumps to chain without any condition.
func (r Rule) plainJump(chain string) bool {
	return len(r.Args) == 2 && r.Args[0] == "-j" && r.Args[1] == chain
}

// HasMark reports whether anything of labd's is in the ruleset.
func (r *Ruleset) HasMark() bool {
	if r == nil {
		return false
	}
	for _, chains := range r.Tables {
		for name := range chains {
			if isOwn(name) {
				return true
			}
		}
	}
	return false
}

// replaceScript is the input of iptables-restore --noflush that makes labd's chains hold want, with their jumps in
// place, one transaction a table; a chain that is to hold nothing goes. Chains of others keep every rule. A jump that
// labd made elsewhere, as in FORWARD before there was DOCKER-USER, goes.
func (r *Ruleset) replaceScript(want Chains) (string, error) {
	var b strings.Builder
	for _, j := range r.jumps() {
		rules := want.of(j.chain)
		if len(rules) == 0 {
			if r.Chain(j.table, j.chain) == nil {
				continue
			}
			if err := r.writeRemoval(&b, j.table, []string{j.chain}); err != nil {
				return "", err
			}
			continue
		}
		fmt.Fprintf(&b, "*%s\n:%s - [0:0]\n", j.table, j.chain)
		for _, rule := range rules {
			fmt.Fprintf(&b, "-A %s %s\n", j.chain, rule)
		}
		for _, found := range r.ownJumps() {
			if found.table == j.table && found.chain == j.chain {
				for range r.plainJumps(found.jump) {
					fmt.Fprintf(&b, "-D %s -j %s\n", found.from, j.chain)
				}
			}
		}
		fmt.Fprintf(&b, "-I %s 1 -j %s\nCOMMIT\n", j.from, j.chain)
	}
	return b.String(), nil
}

// removeScript takes labd's chains and every jump to them away; "" when there are none.
func (r *Ruleset) removeScript() (string, error) {
	var b strings.Builder
	for _, table := range slices.Sorted(maps.Keys(r.Tables)) {
		var own []string
		for _, name := range []string{ChainRaw, ChainForward, ChainNAT} {
			if r.Chain(table, name) != nil {
				own = append(own, name)
			}
		}
		if len(own) == 0 {
			continue
		}
		if err := r.writeRemoval(&b, table, own); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// writeRemoval writes the transaction that takes chains of labd's in one table away, with every jump to them.
func (r *Ruleset) writeRemoval(b *strings.Builder, table string, chains []string) error {
	fmt.Fprintf(b, "*%s\n", table)
	for _, found := range r.ownJumps() {
		if found.table != table || !slices.Contains(chains, found.chain) {
			continue
		}
		// By its full text: a position could be another's rule by now.
		for _, i := range found.positions {
			rule := r.Tables[table][found.from].Rules[i]
			if !rule.harmless() {
				return fmt.Errorf("a rule that labd did not make leads to its chain %s; remove it by hand: -A %s %s", found.chain, found.from, rule)
			}
			fmt.Fprintf(b, "-D %s %s\n", found.from, rule)
		}
	}
	for _, name := range chains {
		fmt.Fprintf(b, "-F %s\n", name)
	}
	for _, name := range chains {
		fmt.Fprintf(b, "-X %s\n", name)
	}
	b.WriteString("COMMIT\n")
	return nil
}

// harmless reports whether the rule's text may be given to an iptables program that runs as root: only matches that open
// no file and load no other match by a name from the container.
func (r Rule) harmless() bool {
	known := []string{"-s", "-d", "-i", "-o", "-p", "-j", "-g", "-m", "--comment", "!"}
	for i, a := range r.Args {
		switch {
		case i > 0 && r.Args[i-1] == "-m":
			if a != "comment" {
				return false
			}
		case strings.HasPrefix(a, "-") && !slices.Contains(known, a):
			return false
		}
	}
	return true
}

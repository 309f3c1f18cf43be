package netfilter

import (
	"fmt"
	"strings"
)

// Names of labd's chains.
const (
	ChainRaw     = "LABD-RAW"
	ChainForward = "LABD-FWD"
	ChainNAT     = "LABD-NAT"
)

// Chains are the rules of labd's own chains, in order.
type Chains struct {
	Raw, Forward []Rule
}

// Equal tells whether both hold the same rules in the same order.
func (c Chains) Equal(o Chains) bool {
	return equalRules(c.Raw, o.Raw) && equalRules(c.Forward, o.Forward)
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
	if r.Chain("filter", "DOCKER-USER") != nil {
		forward = "DOCKER-USER"
	}
	return []jump{{"raw", "PREROUTING", ChainRaw}, {"filter", forward, ChainForward}}
}

// ownJumps are all jumps to labd's chains with their positions, counted from 0, wherever they are.
func (r *Ruleset) ownJumps() map[jump][]int {
	found := map[jump][]int{}
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
	return found
}

func isOwn(chain string) bool {
	return chain == ChainRaw || chain == ChainForward || chain == ChainNAT
}

// Own returns the rules of labd's chains, and whether each chain with rules is jumped to exactly once, from position 1
// of the right chain.
func (r *Ruleset) Own() (chains Chains, inPlace bool) {
	rules := func(table, chain string) []Rule {
		if c := r.Chain(table, chain); c != nil {
			return c.Rules
		}
		return nil
	}
	chains = Chains{Raw: rules("raw", ChainRaw), Forward: rules("filter", ChainForward)}
	found := r.ownJumps()
	inPlace = len(found) <= 2
	for _, j := range r.jumps() {
		positions := found[j]
		inPlace = inPlace && len(positions) == 1 && positions[0] == 0 && r.Chain(j.table, j.from).Rules[0].plainJump(j.chain)
	}
	return chains, inPlace
}

// plainJump tells whether the rule jumps to chain without any condition.
func (r Rule) plainJump(chain string) bool {
	return len(r.Args) == 2 && r.Args[0] == "-j" && r.Args[1] == chain
}

// HasMark tells whether anything of labd's is in the ruleset.
func (r *Ruleset) HasMark() bool {
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
// place, one transaction a table. Chains of others keep every rule.
func (r *Ruleset) replaceScript(want Chains) string {
	bodies := map[string][]Rule{ChainRaw: want.Raw, ChainForward: want.Forward}
	found := r.ownJumps()
	var b strings.Builder
	for _, j := range r.jumps() {
		fmt.Fprintf(&b, "*%s\n:%s - [0:0]\n", j.table, j.chain)
		for _, rule := range bodies[j.chain] {
			fmt.Fprintf(&b, "-A %s %s\n", j.chain, rule)
		}
		for other, positions := range found {
			if other.table == j.table && other.chain == j.chain {
				r.deleteJumps(&b, other, positions)
			}
		}
		fmt.Fprintf(&b, "-I %s 1 -j %s\nCOMMIT\n", j.from, j.chain)
	}
	return b.String()
}

// removeScript takes labd's chains and jumps away; "" when there are none.
func (r *Ruleset) removeScript() string {
	found := r.ownJumps()
	var b strings.Builder
	for _, table := range []string{"raw", "nat", "filter", "mangle", "security"} {
		var own []string
		for _, name := range []string{ChainRaw, ChainForward, ChainNAT} {
			if r.Chain(table, name) != nil {
				own = append(own, name)
			}
		}
		if len(own) == 0 {
			continue
		}
		fmt.Fprintf(&b, "*%s\n", table)
		for j, positions := range found {
			if j.table == table {
				r.deleteJumps(&b, j, positions)
			}
		}
		for _, name := range own {
			fmt.Fprintf(&b, "-F %s\n", name)
		}
		for _, name := range own {
			fmt.Fprintf(&b, "-X %s\n", name)
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// deleteJumps names each jump by its full text: a position could be another's rule by now.
func (r *Ruleset) deleteJumps(b *strings.Builder, j jump, positions []int) {
	for _, i := range positions {
		fmt.Fprintf(b, "-D %s %s\n", j.from, r.Tables[j.table][j.from].Rules[i])
	}
}

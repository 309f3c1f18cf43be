package netfilter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Ruleset is what iptables-save prints: tables, chains, rules in order.
type Ruleset struct {
	Tables map[string]map[string]*Chain
	// Unreadable are tables that iptables-nft-save could not print, because nft put something into them that it does
	// not understand.
	Unreadable []string
}

// Chain is one chain. Policy is ACCEPT, DROP, or "-" for a chain of a user's own.
type Chain struct {
	Policy string
	// Packets is how many packets met the policy, where counters were read.
	Packets uint64
	Rules   []Rule
}

// Rule is one rule as its arguments behind "-A CHAIN", quotes resolved.
type Rule struct {
	Args []string
	// Packets is how many packets matched, where counters were read.
	Packets uint64
}

// Chain returns a chain, or nil.
func (r *Ruleset) Chain(table, chain string) *Chain {
	if r == nil {
		return nil
	}
	return r.Tables[table][chain]
}

// Equal reports whether two rules are the same, whatever they have counted.
func (r Rule) Equal(o Rule) bool { return slices.Equal(r.Args, o.Args) }

// String is the rule in iptables-save syntax.
func (r Rule) String() string {
	words := make([]string, len(r.Args))
	for i, a := range r.Args {
		words[i] = quote(a)
	}
	return strings.Join(words, " ")
}

// option returns the value behind one of the given flags, and whether "!" stands before it.
func (r Rule) option(flags ...string) (value string, negated, found bool) {
	for i, a := range r.Args {
		if slices.Contains(flags, a) && i+1 < len(r.Args) {
			return r.Args[i+1], i > 0 && r.Args[i-1] == "!", true
		}
	}
	return "", false, false
}

// Target is where the rule jumps or goes to: ACCEPT, DROP, a chain; "" for a rule that only counts.
func (r Rule) Target() string {
	target, _, _ := r.option("-j", "-g")
	return target
}

// MayMeet reports whether a packet that comes in on the interface in for an address within dst can match the rule, as
// far as its interface and destination say. It errs to yes.
func (r Rule) MayMeet(in string, dst netip.Prefix) bool {
	if name, negated, found := r.option("-i"); found && !strings.HasSuffix(name, "+") && (name == in) == negated {
		return false
	}
	return r.mayHave(dst, "-d")
}

// mayHave reports whether an address within p can match the option.
func (r Rule) mayHave(p netip.Prefix, flag string) bool {
	text, negated, found := r.option(flag)
	if !found {
		return true
	}
	prefix, err := parsePrefix(text)
	switch {
	case err != nil:
		return true
	case negated: // unless all of p is excepted
		return prefix.Bits() > p.Bits() || !prefix.Contains(p.Addr())
	default:
		return prefix.Overlaps(p)
	}
}

// KeepsApart reports whether the rule is for what goes out by a bridge and does not come from the bridge's own network:
// the shape in which Docker closes internal networks, "! -s SUBNET -o BRIDGE" or "! -i BRIDGE -o BRIDGE" without any
// port.
func (r Rule) KeepsApart(bridge string) bool {
	out, negatedOut, ok := r.option("-o")
	if !ok || negatedOut || out != bridge {
		return false
	}
	_, otherSource, hasSource := r.option("-s")
	return hasSource && otherSource
}

// MayLeaveBy reports whether a packet that goes out by the interface out can match the rule.
func (r Rule) MayLeaveBy(out string) bool {
	name, negated, found := r.option("-o")
	return !found || strings.HasSuffix(name, "+") || (name == out) != negated
}

func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		return addr.Prefix(addr.BitLen())
	}
	return netip.ParsePrefix(text)
}

// ParseSave reads the output of iptables-save. A table that does not end with COMMIT is an error: rules may be missing.
func ParseSave(data []byte) (*Ruleset, error) {
	rs := &Ruleset{Tables: map[string]map[string]*Chain{}}
	var table map[string]*Chain
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, len(data)+1)
	for number := 1; scanner.Scan(); number++ {
		line := strings.TrimSpace(scanner.Text())
		fail := func(why string) error { return fmt.Errorf("iptables-save, line %d: %s: %q", number, why, line) }
		switch {
		case line == "" || line[0] == '#':
			// iptables-nft-save prints: # Table `filter' is incompatible, use 'nft' tool.
			if name, ok := strings.CutPrefix(line, "# Table `"); ok && strings.Contains(line, "incompatible") {
				name, _, _ = strings.Cut(name, "'")
				rs.Unreadable = append(rs.Unreadable, name)
			}
		case line == "COMMIT":
			table = nil
		case line[0] == '*':
			if table != nil {
				return nil, fail("the table before it has no COMMIT")
			}
			table = map[string]*Chain{}
			rs.Tables[line[1:]] = table
		case table == nil:
			return nil, fail("it stands in no table")
		case line[0] == ':':
			fields := strings.Fields(line[1:])
			if len(fields) < 2 {
				return nil, fail("a chain without policy")
			}
			chain := &Chain{Policy: fields[1]}
			if len(fields) > 2 {
				chain.Packets = counter(fields[2])
			}
			table[fields[0]] = chain
		default:
			// With counters a rule begins with [packets:bytes].
			var packets uint64
			if line[0] == '[' {
				count, rest, _ := strings.Cut(line, " ")
				packets, line = counter(count), rest
			}
			args, err := split(line)
			if err != nil {
				return nil, fail(err.Error())
			}
			if len(args) < 2 || args[0] != "-A" || table[args[1]] == nil {
				return nil, fail("not a rule of a known chain")
			}
			chain := table[args[1]]
			chain.Rules = append(chain.Rules, Rule{Args: args[2:], Packets: packets})
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("iptables-save: %w", err)
	}
	if table != nil {
		return nil, errors.New("iptables-save: the last table has no COMMIT")
	}
	return rs, nil
}

// counter is the number of packets of "[packets:bytes]", 0 where it is none.
func counter(text string) uint64 {
	packets, _, _ := strings.Cut(strings.TrimPrefix(text, "["), ":")
	n, err := strconv.ParseUint(packets, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// ParseRules reads rules as String writes them.
func ParseRules(lines []string) ([]Rule, error) {
	rules := make([]Rule, 0, len(lines))
	for _, line := range lines {
		args, err := split(line)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", line, err)
		}
		rules = append(rules, Rule{Args: args})
	}
	return rules, nil
}

var errQuote = errors.New("a quote is not closed")

// split takes a rule apart as iptables-restore does (iptables/xshared.c, add_param_to_argv): blanks separate, double
// quotes hold together, a backslash inside them takes the next character as it is.
func split(line string) ([]string, error) {
	var args []string
	var word strings.Builder
	inWord, quoted := false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quoted && c == '\\' && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == '"':
			quoted, inWord = !quoted, true
		case !quoted && (c == ' ' || c == '\t'):
			if inWord {
				args = append(args, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quoted {
		return nil, errQuote
	}
	if inWord {
		args = append(args, word.String())
	}
	return args, nil
}

// quote is the inverse of split for one word.
func quote(word string) string {
	plain := word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '\'' || r == '\\' || r >= 0x7f
	})
	if plain {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
}

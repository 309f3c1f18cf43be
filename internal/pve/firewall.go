package pve

import (
	"strings"
)

// Firewall is a file of PVE's firewall: firewall/ID.fw of a guest, firewall/cluster.fw, nodes/NODE/host.fw.
// Source: PVE::Firewall, generic_fw_config_parser; pve-docs, pve-firewall.adoc.
type Firewall struct {
	// Options by their name.
	Options map[string]string
	// Rules of the section [RULES], in order.
	Rules []FirewallRule
	// Sets are the entries of each [IPSET name], as they are written: CIDRs, aliases, with "!" before an exception.
	Sets map[string][]string
	// Aliases are the values of [ALIASES] by name, Groups the rules of each [group NAME].
	Aliases map[string]string
	Groups  map[string][]FirewallRule
}

// FirewallRule is one rule of [RULES].
type FirewallRule struct {
	// Text is the rule as it is written.
	Text     string
	Disabled bool
	// Direction is IN, OUT, FORWARD, or GROUP for a security group that Action names.
	Direction string
	// Macro is the macro of "Macro(ACTION)", empty without one.
	Macro, Action string
	// Options are what follows, without the leading dash: source, dest, p, dport, i.
	Options map[string]string
}

// Enabled tells whether the option enable is on.
func (f *Firewall) Enabled() bool { return f.Options["enable"] != "" && f.Options["enable"] != "0" }

// ParseFirewall reads a firewall file. Lines that PVE would ignore with a warning are left out.
func ParseFirewall(data []byte) Firewall {
	f := Firewall{Options: map[string]string{}, Sets: map[string][]string{}}
	section, name := "", ""
	for line := range strings.SplitSeq(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if head, ok := strings.CutPrefix(line, "["); ok {
			head, _, _ = strings.Cut(head, "]")
			section, name, _ = strings.Cut(strings.ToLower(strings.TrimSpace(head)), " ")
			name = strings.TrimSpace(name)
			if section == "ipset" && name != "" {
				f.Sets[name] = append([]string{}, f.Sets[name]...)
			}
			continue
		}
		switch section {
		case "options":
			if key, value, ok := strings.Cut(line, ":"); ok {
				f.Options[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
			}
		case "ipset":
			if name != "" {
				f.Sets[name] = append(f.Sets[name], strings.Join(strings.Fields(line), " "))
			}
		case "aliases":
			if words := strings.Fields(line); len(words) > 1 {
				if f.Aliases == nil {
					f.Aliases = map[string]string{}
				}
				f.Aliases[strings.ToLower(words[0])] = words[1]
			}
		case "group":
			if f.Groups == nil {
				f.Groups = map[string][]FirewallRule{}
			}
			if rule, ok := parseFirewallRule(line); ok {
				f.Groups[name] = append(f.Groups[name], rule)
			}
		case "rules":
			if rule, ok := parseFirewallRule(line); ok {
				f.Rules = append(f.Rules, rule)
			}
		}
	}
	return f
}

func parseFirewallRule(line string) (FirewallRule, bool) {
	rule := FirewallRule{Text: line, Options: map[string]string{}}
	line, rule.Disabled = strings.CutPrefix(line, "|")
	words := strings.Fields(line)
	if len(words) < 2 {
		return rule, false
	}
	rule.Direction, rule.Action = strings.ToUpper(words[0]), words[1]
	switch rule.Direction {
	case "IN", "OUT", "FORWARD":
		if macro, action, ok := strings.Cut(rule.Action, "("); ok {
			rule.Macro, rule.Action = macro, strings.TrimSuffix(action, ")")
		}
		rule.Action = strings.ToUpper(rule.Action)
	case "GROUP":
	default:
		return rule, false
	}
	rest := words[2:]
	for i := 0; i < len(rest); i++ {
		key, ok := strings.CutPrefix(rest[i], "-")
		if !ok || i+1 == len(rest) {
			// An old form names the interface without "-i".
			if i == 0 && !ok {
				rule.Options["i"] = rest[i]
				continue
			}
			return rule, false
		}
		i++
		rule.Options[strings.TrimPrefix(key, "-")] = rest[i]
	}
	return rule, true
}

package walk

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const (
	// mostSteps bounds the rules that are looked at for one packet, mostBranches the parts that it falls into: chains that
	// lead into one another again and again can make them many more than there are.
	mostSteps    = 100_000
	mostBranches = 2_000
	// deepest is how many chains may lead into one another (NFT_JUMP_STACK_SIZE is 16). The kernel refuses loops; what is
	// read here need not come from it.
	deepest = 32
)

// Bases returns the base chains of a hook that decide, in the order in which the kernel calls them.
func (r *Ruleset) Bases(hook Hook) []*Chain {
	var bases []*Chain
	for _, chain := range r.Chains {
		if chain.Hook == hook && !chain.NAT {
			bases = append(bases, chain)
		}
	}
	slices.SortFunc(bases, func(a, b *Chain) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Name, b.Name))
	})
	return bases
}

// Walk says what becomes of a packet at a hook: it has to get through every base chain there.
func (r *Ruleset) Walk(hook Hook, p Packet) Result {
	var out Result
	for _, u := range r.Unread {
		if len(u.Hooks) == 0 || slices.Contains(u.Hooks, hook) {
			out.Outcome, out.Because, out.At = Unknown, u.Why, Place{ChainKey: ChainKey{Table: u.Table}}
		}
	}
	for _, base := range r.Bases(hook) {
		if base.Device != "" && base.Device != p.In {
			continue
		}
		one := r.WalkChain(base.ChainKey, p, nil)
		if one.Outcome == Dropped {
			return one // whatever else is there
		}
		worse := one.Outcome > out.Outcome
		if worse || out.Place.Number == 0 && one.Place.Number != 0 && out.Outcome != Unknown {
			out.Place = one.Place
		}
		if worse {
			out.Outcome, out.Because, out.At = one.Outcome, one.Because, one.At
		}
		out.Parts = append(out.Parts, one.Parts...)
	}
	return out
}

// WalkChain says what becomes of a packet in one chain and those that it leads to. skip, where set, leaves rules out. A
// chain that is not there, and one that is left at its end, lets the packet go on.
func (r *Ruleset) WalkChain(key ChainKey, p Packet, skip func(ChainKey, Rule) bool) Result {
	chain := r.Chains[key]
	if chain == nil {
		return Result{Place: Place{ChainKey: key}}
	}
	w := &walker{rules: r, skip: skip, base: chain, seen: map[string]bool{}}
	w.push(branch{frames: []frame{{chain: chain}}, packet: p})
	for len(w.queue) > 0 {
		last := len(w.queue) - 1
		b := w.queue[last]
		w.queue = w.queue[:last]
		w.follow(b)
	}
	return w.result()
}

// frame is a place in a chain: the next rule there.
type frame struct {
	chain *Chain
	next  int
}

// branch is a part of the packets on its way.
type branch struct {
	frames []frame
	packet Packet
	// match tells the part, empty for the whole; path are the rules that it met on its way there.
	match string
	path  []Rule
	// doubt is the first match that could not be judged on the way, at its rule.
	doubt   string
	doubtAt Place
	// matched says that the branch is the one for which the doubtful match is thought to hold.
	matched bool
}

// end is where a branch ended.
type end struct {
	branch
	place Place
}

type walker struct {
	rules *Ruleset
	skip  func(ChainKey, Rule) bool
	base  *Chain
	queue []branch
	ends  []end
	seen  map[string]bool
	steps int
	spent bool
}

// push puts a branch on the queue, unless one just like it was there.
func (w *walker) push(b branch) {
	var key strings.Builder
	for _, f := range b.frames {
		fmt.Fprintf(&key, "%s/%s:%d ", f.chain.Table, f.chain.Name, f.next)
	}
	fmt.Fprintf(&key, "%v", b.packet)
	switch {
	case w.seen[key.String()]:
	case len(w.seen) >= mostBranches:
		w.spent = true
	default:
		w.seen[key.String()] = true
		w.queue = append(w.queue, b)
	}
}

// follow takes a branch to its end. Parts of it that leave it on the way are put on the queue.
func (w *walker) follow(b branch) {
	for len(b.frames) > 0 {
		f := &b.frames[len(b.frames)-1]
		if f.next >= len(f.chain.Rules) {
			b.frames = b.frames[:len(b.frames)-1]
			continue
		}
		rule := f.chain.Rules[f.next]
		f.next++
		if w.steps++; w.steps > mostSteps {
			w.spent = true
			return
		}
		if w.skip != nil && w.skip(f.chain.ChainKey, rule) {
			continue
		}
		hit, opaque := all, ""
		for _, c := range rule.Conds {
			a := c.meets(w.rules.Family, &b.packet)
			if a == unclear && opaque == "" {
				opaque = c.Text
			}
			if hit = both(hit, a); hit == none {
				break
			}
		}
		place := Place{ChainKey: f.chain.ChainKey, Number: rule.Number, Text: rule.Text, Drops: rule.Action == Drop}
		if hit == none || rule.Action == Next {
			continue
		}
		if hit == all && rule.Action != Opaque {
			if w.act(&b, rule, place) {
				return
			}
			continue
		}
		// A part of the packets meets it, or it may be met: that goes its own way.
		part := b
		part.frames = slices.Clone(b.frames)
		part.path = slices.Clone(b.path)
		if hit == unclear || rule.Action == Opaque {
			if opaque == "" {
				opaque = rule.Text
			}
			if b.doubt == "" {
				b.doubt, b.doubtAt = opaque, place
				part.doubt, part.doubtAt = opaque, place
			}
			part.matched = true
		}
		for _, c := range rule.Conds {
			if c.meets(w.rules.Family, &part.packet) == some {
				part.packet = c.narrow(part.packet)
				part.match = strings.TrimSpace(part.match + " " + c.Text)
			}
		}
		if rule.Action == Opaque {
			for _, drops := range []bool{true, false} { // it may do either
				place.Drops = drops
				w.ends = append(w.ends, end{part, place})
			}
			continue
		}
		if !w.act(&part, rule, place) {
			w.push(part)
		}
	}
	w.ends = append(w.ends, end{b, Place{ChainKey: w.base.ChainKey, Drops: w.base.Drops}})
}

// act does what a rule does with a branch that meets it, and reports whether it ended there.
func (w *walker) act(b *branch, rule Rule, place Place) bool {
	switch rule.Action {
	case Accept, Drop:
		b.path = append(b.path, rule)
		w.ends = append(w.ends, end{*b, place})
		return true
	case Return:
		b.frames = b.frames[:len(b.frames)-1]
	case SetMark:
		b.packet.Mark = b.packet.Mark&^rule.MarkMask | rule.MarkValue
	case Jump, Goto:
		chain := w.rules.Chains[ChainKey{place.Table, rule.Chain}]
		if chain == nil || len(b.frames) > deepest {
			return false
		}
		if rule.Action == Goto {
			b.frames = b.frames[:len(b.frames)-1]
		}
		b.frames = append(b.frames, frame{chain: chain})
		b.path = append(b.path, rule)
	}
	return false
}

// result joins the ends.
func (w *walker) result() Result {
	if w.spent || len(w.ends) == 0 {
		return Result{Outcome: Unknown, Because: "there are too many rules to follow", At: Place{ChainKey: w.base.ChainKey}}
	}
	// The main part is the one that no condition told apart: it was followed first.
	main := w.ends[len(w.ends)-1]
	for _, e := range w.ends {
		if e.match == "" && !e.matched {
			main = e
			break
		}
	}
	out := Result{Place: main.place, Outcome: Passes}
	if main.place.Drops {
		out.Outcome = Dropped
	}
	for _, e := range w.ends {
		switch {
		case e.place.Drops == main.place.Drops:
		case e.doubt != "" && e.match == "":
			out.Outcome, out.Because, out.At = Unknown, e.doubt, e.doubtAt
			out.Parts = append(out.Parts, Part{Packet: e.packet, Place: e.place, Match: e.doubt, Path: e.path})
		default:
			if out.Outcome != Unknown {
				out.Outcome = Partly
			}
			out.Parts = append(out.Parts, Part{Packet: e.packet, Place: e.place, Match: e.match, Path: e.path})
		}
	}
	return out
}

package network

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"labd/internal/reconcile"
	"labd/internal/route"
)

// progress is what a Controller remembers of the passes of its loop.
type progress struct {
	// routes lets one pass change routes at a time.
	routes sync.Mutex

	mu sync.Mutex
	// touched is when a plan last changed something; what was observed before is no ground to act on.
	touched time.Time
	// acted is the newest version of facts that routes were changed by.
	acted uint64
	// made are the rules that were last made in each container, madeRoutes the routes that were, with the time.
	made       map[int]rulesParams
	madeRoutes map[route.Route]time.Time
	madeRules  map[route.Rule]time.Time
	pace       map[paceKey]*reconcile.Bucket
	figures    Figures
	// pending is what the report of a version says.
	version uint64
	pending *pending
}

// pending is what is to be changed, taken apart once for all passes of a version.
type pending struct {
	Unsettled
	rules  map[int]rulesParams
	all    routesParams
	routes map[int]routesParams // by container
}

// Figures count what was done to keep routes and rules so, since labd started.
type Figures struct {
	// Rules are changes of a container's rules, Routes of routes, Delayed those that had to wait for their turn.
	Rules, Routes, Delayed uint64
	// Convergence are the times from the first word of a change to the routes and rules that follow from it.
	Convergence reconcile.Histogram
}

func newProgress() progress {
	return progress{
		made: map[int]rulesParams{}, madeRoutes: map[route.Route]time.Time{}, madeRules: map[route.Rule]time.Time{}, pace: map[paceKey]*reconcile.Bucket{},
		figures: Figures{Convergence: reconcile.NewHistogram(0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2, 5, 10, 30)},
	}
}

const (
	// rulesTimeout bounds the change of one container's rules in a pass of the loop.
	rulesTimeout = 15 * time.Second
	// What was taken away is put back so often in a row, and then once every repairEvery: who takes rules or routes away
	// in a loop gets no more of labd's time than that.
	repairBurst = 10
	repairEvery = 5 * time.Second
	// A container's rules are changed so often in a row because others are wanted, and then once every changeEvery.
	changeBurst = 30
	changeEvery = time.Second
	// retryStale is how soon a pass comes again whose facts are older than the last change.
	retryStale = 50 * time.Millisecond
)

// touched notes that a plan changed something.
func (c *Controller) touched() {
	c.progress.mu.Lock()
	defer c.progress.mu.Unlock()
	c.progress.touched = time.Now()
}

// Figures are the figures of the passes.
func (c *Controller) Figures() Figures {
	c.progress.mu.Lock()
	defer c.progress.mu.Unlock()
	f := c.progress.figures
	f.Convergence = f.Convergence.Clone()
	return f
}

// ReconcileContainer keeps the rules and routes of one container so: what PlanApply would do for it but for forwarding,
// without a journal entry, since the mark in the kernel is the record. Rules come first: a packet that the route brings
// finds the door open. It does nothing where labctl net off was stored meanwhile. It returns how many changes it made; a
// *reconcile.LaterError says that it is not the time for one.
func (c *Controller) ReconcileContainer(ctx context.Context, r *Report, id int) (repairs int, err error) {
	t := c.pending(r)
	if !r.Active || !slices.Contains(t.Containers, id) {
		return 0, nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if p, ok := t.rules[id]; ok {
		repairs, err = c.reconcileRules(ctx, r, p)
	}
	if p, ok := t.routes[id]; ok && err == nil {
		var n int
		n, err = c.reconcileRoutes(r, p, false)
		repairs += n
	}
	c.count(ctx, repairs)
	return repairs, err
}

// ReconcileRoutes keeps all routes of the host so, as ReconcileContainer does.
func (c *Controller) ReconcileRoutes(ctx context.Context, r *Report) (repairs int, err error) {
	t := c.pending(r)
	if !r.Active || !t.Routes {
		return 0, nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	repairs, err = c.reconcileRoutes(r, t.all, true)
	c.count(ctx, repairs)
	return repairs, err
}

// count counts repairs and how long it took to come to them.
func (c *Controller) count(ctx context.Context, repairs int) {
	if repairs == 0 {
		return
	}
	c.state.repairs.Add(uint64(repairs))
	c.progress.mu.Lock()
	defer c.progress.mu.Unlock()
	c.progress.figures.Convergence.Observe(time.Since(reconcile.AskedAt(ctx)))
}

// may reports whether something may be changed because of what was observed then.
func (c *Controller) may(r *Report, observed time.Time) (bool, error) {
	if value, err := c.state.Switch(); err != nil || value == SwitchOff || !r.Active {
		return false, err
	}
	c.progress.mu.Lock()
	defer c.progress.mu.Unlock()
	if observed.Before(c.progress.touched) {
		return false, &reconcile.LaterError{After: retryStale, Reason: "something was changed since this was looked at"}
	}
	return true, nil
}

// paceKey is whose turn a change is: of a container, or of the host's routes where it is 0; to put back what was lost, or to
// make what is wanted now.
type paceKey struct {
	container int
	lost      bool
}

// take takes the right to make one more change, or says when there is one.
func (c *Controller) take(t paceKey, why string) error {
	c.progress.mu.Lock()
	defer c.progress.mu.Unlock()
	bucket := c.progress.pace[t]
	if bucket == nil {
		bucket = reconcile.NewBucket(changeBurst, changeEvery)
		if t.lost {
			bucket = reconcile.NewBucket(repairBurst, repairEvery)
		}
		c.progress.pace[t] = bucket
	}
	wait := bucket.Take(time.Now())
	if wait == 0 {
		return nil
	}
	c.progress.figures.Delayed++
	return &reconcile.LaterError{After: wait, Reason: why}
}

// reconcileRules keeps the rules of one container so.
func (c *Controller) reconcileRules(ctx context.Context, r *Report, p rulesParams) (repairs int, err error) {
	id := p.Container
	if ok, err := c.may(r, r.facts.Looked[id]); !ok {
		return 0, err
	}
	lost := c.wasMade(p)
	if err := c.take(paceKey{id, lost}, "its rules were changed many times in a row"); err != nil {
		return 0, err
	}
	if lost {
		c.noteLoss(r.facts, id)
	}
	ctx, cancel := context.WithTimeout(ctx, rulesTimeout)
	defer cancel()
	if err := c.setRules(ctx, p); err != nil {
		return 0, err
	}
	c.progress.mu.Lock()
	defer c.progress.mu.Unlock()
	c.progress.made[id] = p
	c.progress.figures.Rules++
	return 1, nil
}

// wasMade reports whether the same rules were made before, in this start of the container, and nothing else since.
func (c *Controller) wasMade(p rulesParams) bool {
	c.progress.mu.Lock()
	defer c.progress.mu.Unlock()
	before, ok := c.progress.made[p.Container]
	return ok && reflect.DeepEqual(before, p)
}

// noteLoss counts rules that are not there any more.
func (c *Controller) noteLoss(f *Facts, id int) {
	for i := range f.Containers {
		if ct := &f.Containers[i]; ct.ID == id {
			c.state.contentions.lost(time.Now(), contentionKey{container: id}, loss(ct.Rules))
		}
	}
}

// reconcileRoutes changes routes; all says that they are those of the whole host.
func (c *Controller) reconcileRoutes(r *Report, p routesParams, all bool) (repairs int, err error) {
	if p.len() == 0 && maps.Equal(p.Owners, c.state.owners()) {
		return 0, nil
	}
	if ok, err := c.may(r, r.facts.At); !ok {
		return 0, err
	}
	c.progress.routes.Lock()
	defer c.progress.routes.Unlock()
	if p.Add, p.AddRules, err = c.noteRoutes(r.facts, all, p.Add, p.AddRules); err != nil {
		return 0, err
	}
	changed, err := c.changeRoutes(p)
	c.progress.mu.Lock()
	defer c.progress.mu.Unlock()
	c.progress.figures.Routes += uint64(changed)
	for _, route := range p.Remove {
		delete(c.progress.madeRoutes, route)
	}
	for _, rule := range p.RemoveRules {
		delete(c.progress.madeRules, rule)
	}
	if err == nil {
		for _, route := range p.Add {
			c.progress.madeRoutes[route] = time.Now()
		}
		for _, rule := range p.AddRules {
			c.progress.madeRules[rule] = time.Now()
		}
	}
	return changed, err
}

// noteRoutes returns the routes and rules to add without those that another pass made since the facts were observed, and
// counts those that were made and are gone. It fails where a pass over all routes has facts that are older than those that
// others acted on, and where what was lost has to wait.
func (c *Controller) noteRoutes(f *Facts, all bool, add []route.Route, rules []route.Rule) ([]route.Route, []route.Rule, error) {
	c.progress.mu.Lock()
	stale := all && f.Version < c.progress.acted
	missing, lost := madeBefore(c.progress.madeRoutes, f.At, add)
	missingRules, lostRules := madeBefore(c.progress.madeRules, f.At, rules)
	c.progress.acted = max(c.progress.acted, f.Version)
	c.progress.mu.Unlock()
	if stale {
		return nil, nil, &reconcile.LaterError{After: retryStale, Reason: "another pass has acted on newer facts"}
	}
	if len(lost)+len(lostRules) == 0 {
		return missing, missingRules, nil
	}
	if err := c.take(paceKey{lost: true}, "routes were lost many times in a row"); err != nil {
		return nil, nil, err
	}
	for _, r := range lost {
		c.state.contentions.lost(time.Now(), contentionKey{prefix: r.Dst}, "the route "+r.String()+" was gone")
	}
	for _, r := range lostRules {
		c.state.contentions.lost(time.Now(), contentionKey{prefix: r.From(), rule: true}, "the rule "+r.String()+" was gone")
	}
	return missing, missingRules, nil
}

// madeBefore parts what is missing from what was made after the facts were observed; lost is the part of it that was made
// before them.
func madeBefore[T comparable](made map[T]time.Time, observed time.Time, add []T) (missing, lost []T) {
	for _, x := range add {
		at, known := made[x]
		if known && !at.Before(observed) {
			continue
		}
		if missing = append(missing, x); known {
			lost = append(lost, x)
		}
	}
	return missing, lost
}

// Unsettled is what is not as wanted.
type Unsettled struct {
	// Containers are those whose rules or routes are not, sorted.
	Containers []int
	// Routes says that a route is not, or who had a prefix first; Orphans that this is of no running container.
	Routes, Orphans bool
}

// Unsettled compares what is wanted with what was seen.
func (c *Controller) Unsettled(r *Report) Unsettled { return c.pending(r).Unsettled }

func (c *Controller) pending(r *Report) *pending {
	c.progress.mu.Lock()
	defer c.progress.mu.Unlock()
	if c.progress.pending == nil || c.progress.version != r.Version() {
		c.progress.version, c.progress.pending = r.Version(), newPending(r)
	}
	return c.progress.pending
}

func newPending(r *Report) *pending {
	t := &pending{rules: map[int]rulesParams{}, routes: map[int]routesParams{}, all: diffRoutes(r.facts, r)}
	t.Orphans = !maps.Equal(r.Want.Owners, r.facts.Owners)
	t.Routes = t.Orphans || t.all.len() > 0
	for _, p := range diffRules(r.facts, r) {
		t.rules[p.Container] = p
		t.Containers = append(t.Containers, p.Container)
	}
	byAddress := map[netip.Addr]int{}
	for i := range r.facts.Containers {
		c := &r.facts.Containers[i]
		byAddress[c.Address], byAddress[c.Address6] = c.ID, c.ID
	}
	delete(byAddress, netip.Addr{})
	// A route is the container's that owns its prefix, else the one's that it leads to.
	of := func(route route.Route) (routesParams, int) {
		id := cmp.Or(r.Want.Owners[route.Dst].Container, r.facts.Owners[route.Dst].Container)
		if _, running := r.facts.Looked[id]; !running {
			id = byAddress[route.Via]
		}
		if id == 0 {
			t.Orphans = true
		} else {
			t.Containers = append(t.Containers, id)
		}
		p := t.routes[id]
		p.Owners, p.AddRules = t.all.Owners, t.all.AddRules
		return p, id
	}
	for _, route := range t.all.Add {
		p, id := of(route)
		p.Add = append(p.Add, route)
		t.routes[id] = p
	}
	for _, route := range t.all.Remove {
		p, id := of(route)
		p.Remove = append(p.Remove, route)
		t.routes[id] = p
	}
	slices.Sort(t.Containers)
	t.Containers = slices.Compact(t.Containers)
	return t
}

// Version is the version of the facts that the report was made from.
func (r *Report) Version() uint64 { return r.facts.Version }

// Again is the report of facts with the same Version.
func (r *Report) Again(f *Facts) *Report {
	again := *r
	again.At, again.Repairs, again.facts = f.At, f.Repairs, f
	return &again
}

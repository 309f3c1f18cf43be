package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// asked is a PVE that grants what its map holds, by user and path.
type asked struct {
	mu     sync.Mutex
	grants map[string][]string
	calls  int
	err    error
	takes  time.Duration
}

func (a *asked) CallerPermissions(ctx context.Context, c Credential, path string) ([]string, error) {
	a.mu.Lock()
	a.calls++
	err, takes := a.err, a.takes
	grants := a.grants[c.User+" "+path]
	a.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return grants, err
}

func (a *asked) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func token(t *testing.T, user string) Credential {
	t.Helper()
	c, err := ParseToken(user + "=secret")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func nine() int { return 9 }

func TestNeeds(t *testing.T) {
	to := Target{Node: "pve1", Guest: 101, Storage: "usb1"}
	for _, test := range []struct {
		action     Action
		privileged bool
		major      int
		want       string
	}{
		{ReadNode, false, 9, "Sys.Audit on /nodes/pve1"},
		{ReadGuest, false, 9, "VM.Audit on /vms/101"},
		{ReadStorage, false, 9, "Datastore.Audit on /storage/usb1"},
		{FixStorage, false, 9, "Datastore.Allocate on /storage"},
		{ChangeMount, false, 9, "Sys.Modify on /"},
		{ChangeNet, false, 9, "Sys.Modify on /nodes/pve1"},
		{ChangeCTNet, false, 9, "VM.Config.Network on /vms/101"},
		{Logs, false, 9, "VM.Console on /vms/101"},
		{PortForward, true, 9, "VM.Console on /vms/101, Sys.Modify on /"},
		{Exec, false, 9, "VM.Console on /vms/101, VM.GuestAgent.Unrestricted on /vms/101"},
		{Exec, false, 8, "VM.Console on /vms/101, VM.Monitor on /vms/101"},
		{DockerSocket, true, 9, "VM.Console on /vms/101, VM.GuestAgent.Unrestricted on /vms/101, Sys.Modify on /"},
		{"bogus", false, 9, "an action that labd does not know on /"},
	} {
		to.Privileged = test.privileged
		var got []string
		for _, need := range Needs(test.action, to, test.major) {
			got = append(got, need.String())
		}
		if text := strings.Join(got, ", "); text != test.want {
			t.Errorf("%s on PVE %d: %s", test.action, test.major, text)
		}
	}
	for _, action := range Actions() {
		if err := NewJudge(&asked{err: ErrUnauthenticated}, nine, time.Now).May(t.Context(), token(t, "ana@pve!ci"), action, to); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s is free for all: %v", action, err)
		}
	}
}

// All of an action's privileges count, each by itself.
func TestEveryPrivilegeOfARowIsNeeded(t *testing.T) {
	to := Target{Node: "pve1", Guest: 101, Storage: "usb1", Privileged: true}
	ana := token(t, "ana@pve!ci")
	for _, action := range Actions() {
		needs := Needs(action, to, 9)
		all := map[string][]string{}
		for _, n := range needs {
			all["ana@pve!ci "+n.Path] = append(all["ana@pve!ci "+n.Path], n.Privilege)
		}
		if err := NewJudge(&asked{grants: all}, nine, time.Now).May(t.Context(), ana, action, to); err != nil {
			t.Errorf("%s with all it needs: %v", action, err)
		}
		for _, missing := range needs {
			some := map[string][]string{}
			for path, privileges := range all {
				some[path] = slices.DeleteFunc(slices.Clone(privileges), func(p string) bool { return p == missing.Privilege && path == "ana@pve!ci "+missing.Path })
			}
			var denied *DeniedError
			err := NewJudge(&asked{grants: some}, nine, time.Now).May(t.Context(), ana, action, to)
			if !errors.As(err, &denied) || denied.Need != missing {
				t.Errorf("%s without %s: %v", action, missing, err)
			}
		}
	}
}

func TestADenialIsInPVEsWords(t *testing.T) {
	err := NewJudge(&asked{}, nine, time.Now).May(t.Context(), token(t, "ana@pve!ci"), Logs, Target{Guest: 101})
	if err == nil || err.Error() != "Permission check failed (/vms/101, VM.Console)" {
		t.Error(err)
	}
}

func TestAnswersAreRememberedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pve := &asked{grants: map[string][]string{"ana@pve!ci /vms/101": {"VM.Console"}}}
		j := NewJudge(pve, nine, time.Now)
		ana, to := token(t, "ana@pve!ci"), Target{Guest: 101}
		may := func() error { return j.May(t.Context(), ana, Logs, to) }
		if err := errors.Join(may(), may()); err != nil || pve.calls != 1 {
			t.Fatalf("%v after %d questions", err, pve.calls)
		}
		pve.set(func() { pve.grants = nil })
		time.Sleep(goodFor - time.Second)
		if may() != nil || pve.calls != 1 {
			t.Errorf("asked again after %d questions", pve.calls)
		}
		time.Sleep(time.Second)
		if may() == nil {
			t.Error("a right that was taken away lives on")
		}
		// What changes in user.cfg counts at once.
		pve.set(func() { pve.grants = map[string][]string{"ana@pve!ci /vms/101": {"VM.Console"}} })
		j.Forget()
		if err := may(); err != nil {
			t.Error(err)
		}
	})
}

func TestRefusalsAndFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pve := &asked{err: ErrUnauthenticated, takes: 3 * time.Second}
		j := NewJudge(pve, nine, time.Now)
		ana := token(t, "ana@pve!ci")
		var wg sync.WaitGroup
		for range 20 { // one question for all of them
			wg.Go(func() {
				if err := j.May(t.Context(), ana, Logs, Target{Guest: 101}); !errors.Is(err, ErrUnauthenticated) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if pve.calls != 1 {
			t.Errorf("%d questions", pve.calls)
		}
		time.Sleep(badFor)
		// PVE that cannot be asked grants nothing, and that is not remembered.
		pve.set(func() { pve.err, pve.takes = errors.New("connection refused"), 0 })
		for range 2 {
			if err := j.May(t.Context(), ana, Logs, Target{Guest: 101}); err == nil || errors.Is(err, ErrUnauthenticated) {
				t.Error(err)
			}
		}
		if pve.calls != 3 {
			t.Errorf("%d questions", pve.calls)
		}
	})
}

// A caller that goes away must not take the answer from the others, and a flood of secrets not the memory.
func TestAFloodOfCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pve := &asked{err: ErrUnauthenticated, takes: 3 * time.Second}
		j := NewJudge(pve, nine, time.Now)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 2 * maxRemembered {
			wg.Go(func() {
				if err := j.May(ctx, token(t, fmt.Sprintf("u%d@pve!ci", i)), Logs, Target{Guest: 101}); err == nil {
					t.Error("let in")
				}
			})
		}
		wg.Wait()
		if len(j.known) > maxRemembered {
			t.Errorf("%d remembered", len(j.known))
		}
		time.Sleep(askTime + badFor)
		synctest.Wait()
		if err := j.May(t.Context(), token(t, "late@pve!ci"), Logs, Target{Guest: 101}); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("after the flood: %v", err)
		}
	})
}

package setup

import (
	"errors"
	"fmt"
	"strings"

	"labd/internal/finding"
	"labd/internal/plan"
	"labd/internal/pve"
)

// Names of the operations.
const (
	opRole  = "setup.role"
	opUser  = "setup.user"
	opGrant = "setup.grant"
	opToken = "setup.token"
)

// tokenParams are the parameters of opToken.
type tokenParams struct {
	// Replace says that a token of that name is there and is taken away first: its secret cannot be read again.
	Replace bool   `json:"replace"`
	File    string `json:"file"`
}

// guards are the facts that the plan depends on.
type guards struct {
	Quorate bool                `json:"quorate"`
	Roles   map[string]plan.Set `json:"roles"`
	User    bool                `json:"user"`
	Grants  map[string]bool     `json:"grants"`
	Token   bool                `json:"token"`
	File    string              `json:"file"`
	Works   bool                `json:"works"`
	Rotate  bool                `json:"rotate"`
}

// Plan is what is missing of labd's access; no steps when nothing is. With rotate the token is replaced although it
// works.
func Plan(f *Facts, rotate bool) (*plan.Plan, error) {
	if err := refuse(f); err != nil {
		return nil, err
	}
	p := &plan.Plan{Title: "Give labd its own access to PVE: " + TokenID, Subjects: []finding.Subject{"pve/" + TokenID}}
	g := guards{Quorate: f.Cluster.Quorate, Roles: map[string]plan.Set{}, Grants: map[string]bool{}, File: f.TokenFile, Rotate: rotate}
	b := builder{plan: p}
	for _, r := range Rights() {
		have, exists := privileges(f.Users, r.Role)
		g.Roles[r.Role] = have
		if missing := lacks(have, r.Privileges); len(missing) > 0 {
			b.role(r, exists)
		}
	}
	if _, g.User = f.user(); !g.User {
		b.user()
	}
	for _, r := range Rights() {
		g.Grants[r.Path] = f.Users.Grants(r.Path, User, r.Role)
		if !g.Grants[r.Path] {
			b.grant(r)
		}
	}
	_, g.Token = f.token()
	g.Works = f.TryErr == nil && f.isOurs()
	needs, err := needsToken(f, len(p.Steps) > 0)
	if err != nil && !rotate {
		return nil, err
	}
	if rotate || needs {
		b.token(tokenParams{Replace: g.Token, File: f.TokenFile})
	}
	if b.err != nil {
		return nil, b.err
	}
	p.Notes = notes(f, p, g)
	p.Digest, err = plan.Digest(g)
	return p, err
}

// needsToken reports whether a token must be made, or replaced: where there is none, where its secret is lost, and where
// PVE does not take it. One that PVE takes and that only lacks rights stays, as others may use it too: a token without
// privilege separation has those of its user, which gives are about to be completed. It is refused while PVE does not
// answer, since then nobody knows whether the token works.
func needsToken(f *Facts, gives bool) (bool, error) {
	token, exists := f.token()
	var lacks *LacksError
	switch {
	case !exists, !f.isOurs():
		return true, nil
	case f.TryErr == nil:
		return false, nil
	case errors.As(f.TryErr, &lacks):
		return !gives || token.Privsep, nil
	case errors.Is(f.TryErr, pve.ErrUnauthenticated):
		return true, nil
	}
	return false, &plan.RefusedError{
		Reason: "whether the token works cannot be told: " + f.TryErr.Error(),
		Hint:   "see systemctl status pveproxy pvedaemon; labctl setup pve --rotate makes a new token all the same",
	}
}

// refuse says what stands against making anything.
func refuse(f *Facts) error {
	switch user, ok := f.user(); {
	case !f.Cluster.Mounted:
		return &plan.RefusedError{Reason: "this is no PVE host, or its cluster file system (/etc/pve) is down", Hint: "systemctl status pve-cluster"}
	case !f.HasUserManager:
		return &plan.RefusedError{Reason: "pveum, by which users and tokens are made, cannot be run", Hint: "run it on the PVE host itself; with moved paths name its directory in paths.exec"}
	case !f.Cluster.Quorate:
		return &plan.RefusedError{Reason: "the cluster has no quorum, so PVE takes no change", Hint: "pvecm status"}
	case ok && user.Expire != 0 && user.Expire <= f.At.Unix():
		return &plan.RefusedError{Reason: "the user " + User + " has expired in PVE", Hint: "pveum user modify " + User + " --expire 0"}
	case ok && !user.Enabled:
		return &plan.RefusedError{Reason: "somebody switched the user " + User + " off in PVE", Hint: "pveum user modify " + User + " --enable 1"}
	}
	return nil
}

func notes(f *Facts, p *plan.Plan, g guards) []string {
	var out []string
	if len(p.Steps) == 0 {
		return []string{fmt.Sprintf("the token in %s works and has all rights that labd needs; labctl setup pve --rotate gives it a new secret", f.TokenFile)}
	}
	if f.Token != "" && !f.isOurs() {
		out = append(out, fmt.Sprintf("%s holds another token now (%s); it stays in PVE", f.TokenFile, strings.SplitN(f.Token, "=", 2)[0]))
	}
	if f.Token != "" && f.isOurs() && f.TryErr != nil && g.Token {
		out = append(out, "the token in the file does not do: "+f.TryErr.Error())
	}
	return append(out, "the user has no password and cannot log in; labd's token can do what stands above and nothing else")
}

// builder adds steps and keeps the first error.
type builder struct {
	plan *plan.Plan
	err  error
}

func (b *builder) add(op string, params any, words plan.Step) {
	words.Risk = finding.RiskLow
	step, err := plan.NewStep(op, params, words)
	if b.err == nil {
		b.err = err
	}
	b.plan.Steps = append(b.plan.Steps, step)
}

func (b *builder) role(r Right, exists bool) {
	words := plan.Step{
		Title: fmt.Sprintf("Make the role %s with %s", r.Role, strings.Join(r.Privileges, ", ")), How: commandLine(roleArgs(r, exists)),
		Verified: "user.cfg has the role with these privileges", Undone: "the role is deleted", Undoable: true,
	}
	if exists {
		words.Title = fmt.Sprintf("Add what is missing to the role %s: %s", r.Role, strings.Join(r.Privileges, ", "))
		words.Undone = "the role gets its former privileges"
	}
	b.add(opRole, r, words)
}

func (b *builder) user() {
	b.add(opUser, struct{}{}, plan.Step{
		Title: "Make the user " + User, How: commandLine(userArgs()),
		Verified: "user.cfg has the user", Undone: "the user is deleted, with its tokens and permissions", Undoable: true,
	})
}

func (b *builder) grant(r Right) {
	b.add(opGrant, r, plan.Step{
		Title: fmt.Sprintf("Grant %s the role %s on %s", User, r.Role, r.Path), How: commandLine(grantArgs("modify", r)),
		Verified: "user.cfg has the permission", Undone: "the permission is taken away", Undoable: true,
	})
}

func (b *builder) token(params tokenParams) {
	how := commandLine(addTokenArgs())
	words := plan.Step{
		Title: fmt.Sprintf("Make the API token %s and write it to %s, for root alone", TokenID, params.File), How: how,
		Verified: "PVE's API takes the token, and it has the rights above",
		Undone:   "the token is deleted and the file is as before", Undoable: true,
	}
	if params.Replace {
		words.Title = fmt.Sprintf("Replace the API token %s and write the new one to %s, for root alone", TokenID, params.File)
		words.How = commandLine(removeTokenArgs()) + "; " + how
		words.Undone, words.Undoable = "", false // the old secret is nowhere any more
	}
	b.add(opToken, params, words)
}

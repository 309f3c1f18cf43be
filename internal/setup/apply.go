package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"labd/internal/host"
	"labd/internal/plan"
	"labd/internal/pve"
)

// The words of pveum. What the plan shows is what is run.

func roleArgs(r Right, exists bool) []string {
	if exists {
		return []string{"role", "modify", r.Role, "--privs", strings.Join(r.Privileges, ","), "--append", "1"}
	}
	return []string{"role", "add", r.Role, "--privs", strings.Join(r.Privileges, ",")}
}

func userArgs() []string { return []string{"user", "add", User, "--comment", "labd"} }

func grantArgs(verb string, r Right) []string {
	return []string{"acl", verb, r.Path, "--users", User, "--roles", r.Role}
}

// addTokenArgs gives the token the rights of its user, which has no others.
func addTokenArgs() []string {
	return []string{"user", "token", "add", User, TokenName, "--privsep", "0", "--output-format", "json"}
}

func removeTokenArgs() []string { return []string{"user", "token", "remove", User, TokenName} }

func commandLine(args []string) string { return "pveum " + strings.Join(args, " ") }

// savedToken is what undo of a new token needs.
type savedToken struct {
	// Existed says that a token of that name was there.
	Existed bool `json:"existed"`
	// File is what the token file held; HadFile says that there was one.
	File    string `json:"file"`
	HadFile bool   `json:"hadFile"`
}

// Ops are the operations of the plan.
func (a *Access) Ops() plan.Ops {
	return plan.Ops{
		opRole:  plan.Typed[Right, []string]{CaptureFunc: a.captureRole, DoFunc: a.makeRole, VerifyFunc: a.verifyRole, UndoFunc: a.undoRole},
		opUser:  plan.Typed[struct{}, bool]{CaptureFunc: a.captureUser, DoFunc: a.makeUser, VerifyFunc: a.verifyUser, UndoFunc: a.undoUser},
		opGrant: plan.Typed[Right, bool]{CaptureFunc: a.captureGrant, DoFunc: a.grant, VerifyFunc: a.verifyGrant, UndoFunc: a.undoGrant},
		opToken: plan.Typed[tokenParams, savedToken]{CheckFunc: a.checkToken, CaptureFunc: a.captureToken, DoFunc: a.makeToken, VerifyFunc: a.verifyToken, UndoFunc: a.undoToken},
	}
}

// run runs pveum. Its exit status says nothing beyond failure; its text does.
func (a *Access) run(ctx context.Context, args []string) ([]byte, error) {
	out, err := a.Host.Run(ctx, host.Cmd{Name: "pveum", Args: args, Env: []string{"LC_ALL=C.UTF-8"}})
	if err != nil {
		return out, fmt.Errorf("ask PVE: %w", err)
	}
	return out, nil
}

func (a *Access) users(ctx context.Context) (pve.UserConfig, error) {
	data, err := a.Host.ReadFile(ctx, filepath.Join(a.Host.PVE, "user.cfg"))
	if err != nil {
		return pve.UserConfig{}, fmt.Errorf("read PVE's users: %w", err)
	}
	return pve.ParseUserConfig(data), nil
}

// captureRole returns the role's privileges; nil when there is no such role.
func (a *Access) captureRole(ctx context.Context, r Right) ([]string, error) {
	users, err := a.users(ctx)
	list, ok := privileges(users, r.Role)
	if ok && list == nil {
		list = []string{}
	}
	return list, err
}

func (a *Access) makeRole(ctx context.Context, r Right) error {
	had, err := a.captureRole(ctx, r)
	if err != nil {
		return err
	}
	_, err = a.run(ctx, roleArgs(r, had != nil))
	return err
}

func (a *Access) verifyRole(ctx context.Context, r Right) error {
	have, err := a.captureRole(ctx, r)
	if err != nil {
		return err
	}
	if missing := lacks(have, r.Privileges); len(missing) > 0 {
		return fmt.Errorf("the role %s lacks %s", r.Role, strings.Join(missing, ", "))
	}
	return nil
}

func (a *Access) undoRole(ctx context.Context, r Right, had []string) error {
	have, err := a.captureRole(ctx, r)
	switch {
	case err != nil:
		return err
	case have == nil && had == nil, have != nil && had != nil && len(lacks(have, had)) == 0 && len(lacks(had, have)) == 0:
		return nil
	case had == nil:
		_, err = a.run(ctx, []string{"role", "delete", r.Role})
	case have == nil:
		_, err = a.run(ctx, []string{"role", "add", r.Role, "--privs", strings.Join(had, ",")})
	default:
		_, err = a.run(ctx, []string{"role", "modify", r.Role, "--privs", strings.Join(had, ",")})
	}
	return err
}

// captureUser tells whether the user is there.
func (a *Access) captureUser(ctx context.Context, _ struct{}) (bool, error) {
	users, err := a.users(ctx)
	return slices.ContainsFunc(users.Users, func(u pve.User) bool { return u.ID == User }), err
}

func (a *Access) makeUser(ctx context.Context, _ struct{}) error {
	_, err := a.run(ctx, userArgs())
	return err
}

func (a *Access) verifyUser(ctx context.Context, none struct{}) error {
	is, err := a.captureUser(ctx, none)
	if err == nil && !is {
		err = fmt.Errorf("PVE has no user %s", User)
	}
	return err
}

func (a *Access) undoUser(ctx context.Context, none struct{}, was bool) error {
	is, err := a.captureUser(ctx, none)
	if err != nil || was || !is {
		return err
	}
	_, err = a.run(ctx, []string{"user", "delete", User})
	return err
}

func (a *Access) captureGrant(ctx context.Context, r Right) (bool, error) {
	users, err := a.users(ctx)
	return users.Grants(r.Path, User, r.Role), err
}

func (a *Access) grant(ctx context.Context, r Right) error {
	_, err := a.run(ctx, grantArgs("modify", r))
	return err
}

func (a *Access) verifyGrant(ctx context.Context, r Right) error {
	is, err := a.captureGrant(ctx, r)
	if err == nil && !is {
		err = fmt.Errorf("%s has no role %s on %s", User, r.Role, r.Path)
	}
	return err
}

func (a *Access) undoGrant(ctx context.Context, r Right, was bool) error {
	is, err := a.captureGrant(ctx, r)
	if err != nil || was || !is {
		return err
	}
	_, err = a.run(ctx, grantArgs("delete", r))
	return err
}

func (a *Access) hasToken(ctx context.Context) (bool, error) {
	users, err := a.users(ctx)
	return slices.ContainsFunc(users.Tokens, func(t pve.Token) bool { return t.ID == TokenID }), err
}

// checkToken refuses to replace a token of which the plan knew nothing: others may use it.
func (a *Access) checkToken(ctx context.Context, p tokenParams) error {
	is, err := a.hasToken(ctx)
	if err == nil && is != p.Replace {
		err = &plan.ChangedError{What: "the API token " + TokenID}
	}
	return err
}

func (a *Access) captureToken(ctx context.Context, p tokenParams) (s savedToken, err error) {
	if s.Existed, err = a.hasToken(ctx); err != nil {
		return s, err
	}
	data, err := os.ReadFile(p.File)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	s.File, s.HadFile = string(data), err == nil
	return s, err
}

// makeToken asks PVE for a token, whose secret comes this once, and writes it down. Should that fail, the token is
// taken away again: nobody knows its secret.
func (a *Access) makeToken(ctx context.Context, p tokenParams) error {
	is, err := a.hasToken(ctx)
	if err != nil {
		return err
	}
	if is {
		if _, err := a.run(ctx, removeTokenArgs()); err != nil {
			return err
		}
	}
	out, err := a.run(ctx, addTokenArgs())
	if err != nil {
		return err
	}
	var answer struct {
		ID     string `json:"full-tokenid"`
		Secret string `json:"value"`
	}
	if err = json.Unmarshal(out, &answer); err == nil && (answer.ID != TokenID || answer.Secret == "") {
		err = errors.New("PVE names no secret")
	}
	if err == nil {
		err = writeSecret(p.File, answer.ID+"="+answer.Secret+"\n")
	}
	if err != nil {
		_, removeErr := a.run(ctx, removeTokenArgs())
		return errors.Join(fmt.Errorf("keep the new API token: %w", err), removeErr)
	}
	return nil
}

func (a *Access) verifyToken(ctx context.Context, p tokenParams) error {
	token, err := readToken(p.File)
	if err != nil {
		return err
	}
	if err := a.tryToken(ctx, token); err != nil {
		return fmt.Errorf("try the new API token: %w", err)
	}
	return nil
}

func (a *Access) undoToken(ctx context.Context, p tokenParams, s savedToken) error {
	is, err := a.hasToken(ctx)
	if err != nil {
		return err
	}
	if is && !s.Existed {
		if _, err := a.run(ctx, removeTokenArgs()); err != nil {
			return err
		}
	}
	// The secret of a token that was replaced is dead: to write it back would only lock labd out.
	if s.Existed && strings.HasPrefix(s.File, TokenID+"=") {
		return nil
	}
	if s.HadFile {
		return writeSecret(p.File, s.File)
	}
	if err := os.Remove(p.File); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("take the token file away: %w", err)
	}
	return nil
}

// writeSecret replaces a file by one that only root reads, whole or not at all.
func writeSecret(file, text string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

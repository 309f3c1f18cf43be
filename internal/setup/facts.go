// Package setup gives labd its own access to PVE: a user, the two roles with the
// few rights that labd needs, and an API token, whose secret goes into a file
// that only root reads. What is there already is left as it is.
package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"labd/internal/host"
	"labd/internal/pve"
)

// Names of what labd makes in PVE.
const (
	User      = "labd@pve"
	TokenName = "labd"
	// TokenID is the token's full name.
	TokenID = User + "!" + TokenName
)

// Right is a role of labd's with the path that it is granted on.
type Right struct {
	Path       string   `json:"path"`
	Role       string   `json:"role"`
	Privileges []string `json:"privileges"`
}

// Rights are all that labd's token may do. docs/security.md says which call needs which.
func Rights() []Right {
	return []Right{
		{"/storage", "LabdStorage", []string{"Datastore.Allocate", "Datastore.Audit"}},
		{"/nodes", "LabdTasks", []string{"Sys.Audit"}},
	}
}

// Access makes and checks labd's access to PVE.
type Access struct {
	Host *host.Host
	// TokenFile is where the token is kept.
	TokenFile string
	// Try asks PVE with a token what it may do.
	Try func(ctx context.Context, token string) (pve.Permissions, error)
}

// Facts are what there is of labd's access.
type Facts struct {
	Cluster pve.Cluster
	Users   pve.UserConfig
	// HasUserManager says that pveum can be run.
	HasUserManager bool
	TokenFile      string
	// Token is what the file holds, "" where there is none.
	Token string
	// TryErr is why the token in the file does not do; nil when it does. It is a *LacksError where PVE takes the token.
	TryErr error
	// At is when this was seen: users and tokens may expire.
	At time.Time
}

// LacksError says that PVE takes a token, and that it lacks rights.
type LacksError struct{ Missing []string }

func (e *LacksError) Error() string { return "the token lacks " + strings.Join(e.Missing, ", ") }

// Observe reads what there is. It changes nothing, and asks PVE only what the token in the file may do.
func (a *Access) Observe(ctx context.Context) (*Facts, error) {
	f := &Facts{HasUserManager: a.Host.HasProgram("pveum"), TokenFile: a.TokenFile, At: time.Now()}
	var err error
	if f.Cluster, err = pve.ReadCluster(pve.DirFS(a.Host.PVE)); err != nil {
		return nil, err
	}
	data, err := a.Host.ReadFile(ctx, filepath.Join(a.Host.PVE, "user.cfg"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read PVE's users: %w", err)
	}
	f.Users = pve.ParseUserConfig(data)
	if f.Token, err = readToken(a.TokenFile); err != nil {
		return nil, err
	}
	f.TryErr = a.tryToken(ctx, f.Token)
	return f, nil
}

func readToken(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the API token: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// tryToken is nil when the token has all of labd's rights.
func (a *Access) tryToken(ctx context.Context, token string) error {
	if token == "" {
		return errors.New("there is no token yet")
	}
	permissions, err := a.Try(ctx, token)
	if err != nil {
		return err
	}
	return Check(permissions)
}

// Check returns a *LacksError unless permissions are all that labd needs.
func Check(permissions pve.Permissions) error {
	var missing []string
	for _, r := range Rights() {
		for _, privilege := range r.Privileges {
			if !permissions.Allows(r.Path, privilege) {
				missing = append(missing, privilege+" on "+r.Path)
			}
		}
	}
	if missing != nil {
		return &LacksError{Missing: missing}
	}
	return nil
}

// isOurs tells whether the token in the file is the one that setup makes.
func (f *Facts) isOurs() bool { return strings.HasPrefix(f.Token, TokenID+"=") }

func (f *Facts) user() (pve.User, bool) {
	i := slices.IndexFunc(f.Users.Users, func(u pve.User) bool { return u.ID == User })
	if i < 0 {
		return pve.User{}, false
	}
	return f.Users.Users[i], true
}

func (f *Facts) token() (pve.Token, bool) {
	i := slices.IndexFunc(f.Users.Tokens, func(t pve.Token) bool { return t.ID == TokenID })
	if i < 0 {
		return pve.Token{}, false
	}
	return f.Users.Tokens[i], true
}

// privileges are those of a role in user.cfg; ok is false where there is none of that name.
func privileges(u pve.UserConfig, role string) (list []string, ok bool) {
	for _, r := range u.Roles {
		if r.ID == role {
			return r.Privileges, true
		}
	}
	return nil, false
}

// lacks are the wanted items that have does not hold.
func lacks(have, wanted []string) []string {
	return slices.DeleteFunc(slices.Clone(wanted), func(w string) bool { return slices.Contains(have, w) })
}

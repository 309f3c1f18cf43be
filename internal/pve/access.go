package pve

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// AccessError says that PVE surely does not let labd do what it is for. It matches ErrUnauthenticated or ErrNotPermitted.
type AccessError struct {
	// Why says what is missing, as the end of a sentence.
	Why  string
	kind error
}

func (e *AccessError) Error() string { return "PVE does not let labd change storages: " + e.Why }

// Is matches the sentinel that says what it means.
func (e *AccessError) Is(target error) bool { return target == e.kind }

// TokenRefused is the AccessError of a token that PVE does not take.
func TokenRefused(why string) error { return &AccessError{Why: why, kind: ErrUnauthenticated} }

// CheckRights returns an *AccessError unless permissions are what a change of storages on a node needs.
func CheckRights(p Permissions, node string) error {
	var missing []string
	for _, need := range [][2]string{{"Datastore.Allocate", "/storage"}, {"Sys.Audit", "/nodes/" + node}} {
		if !p.Allows(need[1], need[0]) {
			missing = append(missing, need[0]+" on "+need[1])
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &AccessError{Why: "its API token lacks " + strings.Join(missing, " and "), kind: ErrNotPermitted}
}

// WhyRefused says why PVE does not take an API token, as the end of a sentence; "" where nothing in user.cfg speaks against
// it. PVE's own answer is the same for all of these.
// Source: PVE::AccessControl, verify_token, check_user_enabled.
func (u UserConfig) WhyRefused(tokenID string, now time.Time) string {
	name, _, _ := strings.Cut(tokenID, "!")
	user := slices.IndexFunc(u.Users, func(u User) bool { return u.ID == name })
	token := slices.IndexFunc(u.Tokens, func(t Token) bool { return t.ID == tokenID })
	expired := func(at int64) bool { return at != 0 && at <= now.Unix() }
	day := func(at int64) string { return time.Unix(at, 0).UTC().Format(time.DateOnly) }
	switch {
	case user < 0:
		return fmt.Sprintf("there is no user %s", name)
	case !u.Users[user].Enabled:
		return fmt.Sprintf("the user %s is switched off", name)
	case expired(u.Users[user].Expire):
		return fmt.Sprintf("the user %s expired on %s", name, day(u.Users[user].Expire))
	case token < 0:
		return fmt.Sprintf("there is no API token %s", tokenID)
	case expired(u.Tokens[token].Expire):
		return fmt.Sprintf("the API token %s expired on %s", tokenID, day(u.Tokens[token].Expire))
	}
	return ""
}

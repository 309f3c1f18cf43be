package pve

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ACL is one "acl" line of user.cfg.
type ACL struct {
	Path      string
	Subjects  []string // "user@realm", "@group", "user@realm!token"
	Roles     []string
	Propagate bool
}

// Pool is one "pool" line of user.cfg.
type Pool struct {
	ID       string
	Comment  string
	Guests   []string // guest IDs
	Storages []string
}

// User is one "user" line of user.cfg.
type User struct {
	ID      string // "user@realm"
	Enabled bool
	Expire  int64 // seconds since 1970; 0: never
	Comment string
}

// Token is one "token" line of user.cfg; the secret is in priv/token.cfg.
type Token struct {
	ID      string // "user@realm!name"
	Expire  int64  // seconds since 1970; 0: never
	Privsep bool   // the token has rights of its own, at most those of its user
	Comment string
}

// Role is one "role" line of user.cfg. The roles that PVE has built in are not
// in the file.
type Role struct {
	ID         string
	Privileges []string
}

// Group is one "group" line of user.cfg.
type Group struct {
	ID      string
	Users   []string
	Comment string
}

// UserConfig is user.cfg: who there is and who may do what.
type UserConfig struct {
	Users  []User
	Tokens []Token
	Groups []Group
	Roles  []Role
	ACLs   []ACL
	Pools  []Pool
}

// ParseUserConfig reads user.cfg. Lines of other kinds, and lines of users,
// tokens, groups, roles and pools without a name are left out. Fields that hold
// free text are URL-encoded by PVE and come decoded.
// Source: PVE::AccessControl::parse_user_config.
func ParseUserConfig(data []byte) UserConfig {
	var u UserConfig
	for line := range strings.SplitSeq(string(data), "\n") {
		f := strings.Split(trimSpace(line), ":")
		get := func(i int) string {
			if i < len(f) {
				return trimSpace(f[i])
			}
			return ""
		}
		if get(1) == "" {
			continue
		}
		switch f[0] {
		case "user":
			expire, _ := strconv.ParseInt(get(3), 10, 64)
			u.Users = append(u.Users, User{ID: get(1), Enabled: get(2) == "1", Expire: expire, Comment: decodeText(get(7))})
		case "token":
			expire, _ := strconv.ParseInt(get(2), 10, 64)
			u.Tokens = append(u.Tokens, Token{
				ID: get(1), Expire: expire, Privsep: get(3) == "1", Comment: decodeText(get(4)),
			})
		case "group":
			u.Groups = append(u.Groups, Group{ID: get(1), Users: splitList(get(2)), Comment: decodeText(get(3))})
		case "role":
			u.Roles = append(u.Roles, Role{ID: get(1), Privileges: splitList(get(2))})
		case "pool":
			u.Pools = append(u.Pools, Pool{
				ID: get(1), Comment: decodeText(get(2)), Storages: splitList(get(4)),
				// What is no guest ID is dropped.
				Guests: slices.DeleteFunc(splitList(get(3)), func(v string) bool { return strings.Trim(v, "0123456789") != "" }),
			})
		case "acl":
			if len(f) < 5 {
				continue
			}
			u.ACLs = append(u.ACLs, ACL{
				Path: get(2), Subjects: splitList(get(3)), Roles: splitList(get(4)), Propagate: get(1) == "1",
			})
		}
	}
	return u
}

// decodeText undoes what PVE::Tools::encode_text does: control characters,
// colons and percent signs in free text are written as %XX.
func decodeText(s string) string {
	text, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return text
}

// Grants reports whether the file gives a subject a role on exactly that path,
// reaching deeper paths.
func (u UserConfig) Grants(path, subject, role string) bool {
	return slices.ContainsFunc(u.ACLs, func(a ACL) bool {
		return a.Path == path && a.Propagate && slices.Contains(a.Subjects, subject) && slices.Contains(a.Roles, role)
	})
}

// OfStorage returns what DELETE /storage/ID takes away beside the entry: the
// ACLs on exactly its path, and the IDs of the pools that it is in.
func (u UserConfig) OfStorage(id string) (acls []ACL, pools []string) {
	for _, a := range u.ACLs {
		if a.Path == "/storage/"+id {
			acls = append(acls, a)
		}
	}
	for _, p := range u.Pools {
		if slices.Contains(p.Storages, id) {
			pools = append(pools, p.ID)
		}
	}
	return acls, pools
}

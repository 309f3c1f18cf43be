package pve

import (
	"slices"
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

// UserConfig is the part of user.cfg that speaks of storages.
type UserConfig struct {
	ACLs  []ACL
	Pools []Pool
}

// ParseUserConfig reads user.cfg. Lines of other kinds are left out.
// Source: PVE::AccessControl::parse_user_config.
func ParseUserConfig(data []byte) UserConfig {
	var u UserConfig
	for line := range strings.SplitSeq(string(data), "\n") {
		f := strings.Split(trimSpace(line), ":")
		if len(f) < 5 {
			continue
		}
		switch f[0] {
		case "pool":
			u.Pools = append(u.Pools, Pool{
				ID: f[1], Comment: f[2], Storages: splitList(f[4]),
				// What is no guest ID is dropped.
				Guests: slices.DeleteFunc(splitList(f[3]), func(v string) bool { return strings.Trim(v, "0123456789") != "" }),
			})
		case "acl":
			u.ACLs = append(u.ACLs, ACL{
				Path: f[2], Subjects: splitList(f[3]), Roles: splitList(f[4]), Propagate: f[1] == "1",
			})
		}
	}
	return u
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

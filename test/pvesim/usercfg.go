package pvesim

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"labd/internal/pve"
)

// userConfig is what user.cfg says. Source: PVE::AccessControl::parse_user_config.
type userConfig struct {
	users  []string // whole lines, tokens after their user
	groups map[string][]string
	roles  map[string][]string // privileges
	acl    []pve.ACL
	pools  []pve.Pool

	groupLines, roleLines []string
	enabled               map[string]bool  // by user
	expires               map[string]int64 // seconds since 1970, 0 never; by user and by token ID
	tokens                map[string]bool  // privilege separation, by token ID
}

func parseUserConfig(text string) *userConfig {
	storages := pve.ParseUserConfig([]byte(text))
	u := &userConfig{
		acl: storages.ACLs, pools: storages.Pools,
		groups: map[string][]string{}, roles: builtinRoles(), enabled: map[string]bool{}, expires: map[string]int64{}, tokens: map[string]bool{},
	}
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Split(strings.TrimSpace(line), ":")
		get := func(i int) string {
			if i < len(f) {
				return f[i]
			}
			return ""
		}
		switch f[0] {
		case "user":
			u.users = append(u.users, line)
			u.enabled[get(1)] = get(2) == "1"
			u.expires[get(1)], _ = strconv.ParseInt(get(3), 10, 64)
		case "token":
			u.users = append(u.users, line)
			u.tokens[get(1)] = get(3) != "0"
			u.expires[get(1)], _ = strconv.ParseInt(get(2), 10, 64)
		case "group":
			u.groupLines = append(u.groupLines, line)
			u.groups[get(1)] = items(get(2))
		case "role":
			u.roleLines = append(u.roleLines, line)
			u.roles[get(1)] = items(get(2))
		}
	}
	return u
}

func items(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ';' || r == ' ' })
}

// text is the file as PVE writes it: users with their tokens, groups, pools,
// roles and ACLs, an empty line between them.
func (u *userConfig) text() string {
	var pools, acl []string
	for _, p := range u.pools {
		pools = append(pools, strings.Join([]string{
			"pool", p.ID, encodeText(p.Comment), strings.Join(p.Guests, ","), strings.Join(p.Storages, ","), "",
		}, ":"))
	}
	for _, a := range u.acl {
		propagate := "0"
		if a.Propagate {
			propagate = "1"
		}
		acl = append(acl, strings.Join([]string{
			"acl", propagate, a.Path, strings.Join(a.Subjects, ","), strings.Join(a.Roles, ","), "",
		}, ":"))
	}
	var b strings.Builder
	for i, lines := range [][]string{u.users, u.groupLines, pools, u.roleLines, acl} {
		if i > 0 {
			b.WriteByte('\n')
		}
		for _, l := range lines {
			b.WriteString(l + "\n")
		}
	}
	return b.String()
}

// encodeText writes free text as PVE::Tools::encode_text does.
func encodeText(s string) string {
	return strings.NewReplacer("%", "%25", ":", "%3A", "\n", "%0A").Replace(s)
}

// removeStorage drops the ACLs and pool places of a storage and reports whether
// there were any. Source: PVE::AccessControl::remove_storage_access.
func (u *userConfig) removeStorage(id string) bool {
	before := len(u.acl)
	u.acl = slices.DeleteFunc(u.acl, func(a pve.ACL) bool { return a.Path == "/storage/"+id })
	changed := len(u.acl) != before
	for i := range u.pools {
		p := &u.pools[i]
		before := len(p.Storages)
		p.Storages = slices.DeleteFunc(p.Storages, func(s string) bool { return s == id })
		changed = changed || len(p.Storages) != before
	}
	return changed
}

// privileges returns what a user or token may do on a path: by privilege,
// whether it reaches deeper paths. The deepest path with a matching ACL decides;
// entries of the user itself beat those of its groups on the same path.
// Source: PVE::AccessControl::roles, PVE::RPCEnvironment::compute_api_permission.
func (u *userConfig) privileges(who, path string) map[string]bool {
	user, _, isToken := strings.Cut(who, "!")
	if isToken {
		own := u.privileges(user, path)
		if !u.tokens[who] {
			return own
		}
		both := map[string]bool{}
		for privilege, propagates := range u.granted(who, path) {
			if p, ok := own[privilege]; ok {
				both[privilege] = propagates && p
			}
		}
		return both
	}
	if user == "root@pam" {
		all := map[string]bool{}
		for _, p := range u.roles["Administrator"] {
			all[p] = true
		}
		return all
	}
	return u.granted(user, path)
}

func (u *userConfig) granted(who, path string) map[string]bool {
	paths := map[string]bool{}
	for _, a := range u.acl {
		if a.Path == "/" || a.Path == path || strings.HasPrefix(path, a.Path+"/") {
			paths[a.Path] = true
		}
	}
	roles := map[string]bool{}
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		for _, match := range []func(string) bool{
			func(subject string) bool { return subject == who },
			func(subject string) bool {
				group, ok := strings.CutPrefix(subject, "@")
				return ok && slices.Contains(u.groups[group], who)
			},
		} {
			found := map[string]bool{}
			for _, a := range u.acl {
				if a.Path == p && (a.Propagate || p == path) && slices.ContainsFunc(a.Subjects, match) {
					for _, r := range a.Roles {
						found[r] = found[r] || a.Propagate
					}
				}
			}
			if len(found) > 0 {
				roles = found
				break
			}
		}
	}
	out := map[string]bool{}
	if _, none := roles["NoAccess"]; none {
		return out
	}
	for role, propagates := range roles {
		for _, privilege := range u.roles[role] {
			out[privilege] = out[privilege] || propagates
		}
	}
	return out
}

// builtinRoles are the roles of PVE 9 that matter here.
// Source: PVE::AccessControl, create_roles.
func builtinRoles() map[string][]string {
	return map[string][]string{
		"Administrator": strings.Fields(`Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate
			Datastore.Audit Group.Allocate Mapping.Audit Mapping.Modify Mapping.Use Permissions.Modify Pool.Allocate
			Pool.Audit Realm.Allocate Realm.AllocateUser SDN.Allocate SDN.Audit SDN.Use Sys.AccessNetwork Sys.Audit
			Sys.Console Sys.Incoming Sys.Modify Sys.PowerMgmt Sys.Syslog User.Modify VM.Allocate VM.Audit VM.Backup
			VM.Clone VM.Config.CDROM VM.Config.CPU VM.Config.Cloudinit VM.Config.Disk VM.Config.HWType VM.Config.Memory
			VM.Config.Network VM.Config.Options VM.Console VM.GuestAgent.Audit VM.GuestAgent.FileRead
			VM.GuestAgent.FileSystemMgmt VM.GuestAgent.FileWrite VM.GuestAgent.Unrestricted VM.Migrate VM.PowerMgmt
			VM.Replicate VM.Snapshot VM.Snapshot.Rollback`),
		"NoAccess": nil,
		"PVEAuditor": strings.Fields(
			"Datastore.Audit Mapping.Audit Pool.Audit SDN.Audit Sys.Audit VM.Audit VM.GuestAgent.Audit"),
		"PVEDatastoreAdmin": strings.Fields(
			"Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit"),
		"PVEDatastoreUser": strings.Fields("Datastore.AllocateSpace Datastore.Audit"),
	}
}

// readPVE reads a file of /etc/pve; an absent one is empty.
func (s *Server) readPVE(name string) (string, error) {
	data, err := os.ReadFile(s.path("etc/pve", name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(data), err
}

// writePVE replaces a file of /etc/pve as PVE does: a new file, then a rename.
func (s *Server) writePVE(name, text string) error {
	target := s.path("etc/pve", name)
	temp := target + ".tmp.pvesim"
	if err := os.WriteFile(temp, []byte(text), 0o640); err != nil {
		return err
	}
	return os.Rename(temp, target)
}

func (s *Server) userConfig() (*userConfig, error) {
	text, err := s.readPVE("user.cfg")
	return parseUserConfig(text), err
}

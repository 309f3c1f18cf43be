package pvesim

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"labd/internal/pve"
)

const userLock = "file-user_cfg"

// changeUsers runs change on user.cfg under its lock and writes the result.
func (s *Server) changeUsers(prefix string, change func(*userConfig) error) error {
	err := s.locked(userLock, nil, func() error {
		users, err := s.userConfig()
		if err != nil {
			return err
		}
		if err := change(users); err != nil {
			return err
		}
		return s.writePVE("user.cfg", users.text())
	})
	if err != nil {
		return fmt.Errorf("%s failed: %w", prefix, err)
	}
	return nil
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (s *Server) getUsers(c *call) (any, error) {
	rows := []map[string]any{}
	for _, id := range sortedNames(c.who.users.enabled) {
		if id == c.who.user() || c.who.may("/access", "User.Modify", "Sys.Audit") {
			rows = append(rows, map[string]any{
				"userid": id, "enable": number(c.who.users.enabled[id]), "expire": 0,
				"realm-type": id[strings.LastIndexByte(id, '@')+1:],
			})
		}
	}
	return rows, nil
}

func (s *Server) createUser(c *call) (any, error) {
	id := c.params["userid"]
	if !userPattern.MatchString(id) || strings.Contains(id, "!") {
		return nil, badParam("userid", "invalid format - value '"+id+"' does not look like a valid user name\n")
	}
	if err := c.check("/access/realm/"+id[strings.LastIndexByte(id, '@')+1:], "Realm.AllocateUser"); err != nil {
		return nil, err
	}
	return nil, s.changeUsers("create user", func(u *userConfig) error {
		if _, ok := u.enabled[id]; ok {
			return fmt.Errorf("user '%s' already exists", id)
		}
		u.users = append(u.users, "user:"+id+":1:0:::"+":"+encodeText(c.params["comment"])+"::")
		return nil
	})
}

// userOf checks that the user in the path exists.
func userOf(c *call, u *userConfig) (string, error) {
	id := c.args["userid"]
	if _, ok := u.enabled[id]; !ok {
		return "", fmt.Errorf("no such user ('%s')", id)
	}
	return id, nil
}

func (s *Server) deleteUser(c *call) (any, error) {
	if err := c.check("/access/groups", "User.Modify"); err != nil {
		return nil, err
	}
	return nil, s.changeUsers("delete user", func(u *userConfig) error {
		id, err := userOf(c, u)
		if err != nil {
			return err
		}
		u.users = slices.DeleteFunc(u.users, func(l string) bool {
			return strings.HasPrefix(l, "user:"+id+":") || strings.HasPrefix(l, "token:"+id+"!")
		})
		u.dropSubjects(func(s string) bool { return s == id || strings.HasPrefix(s, id+"!") })
		return nil
	})
}

// dropSubjects takes subjects out of all ACLs.
func (u *userConfig) dropSubjects(gone func(string) bool) {
	for i := range u.acl {
		u.acl[i].Subjects = slices.DeleteFunc(u.acl[i].Subjects, gone)
	}
	u.acl = slices.DeleteFunc(u.acl, func(a pve.ACL) bool { return len(a.Subjects) == 0 })
}

func (s *Server) getTokens(c *call) (any, error) {
	if err := c.checkUserModify(); err != nil {
		return nil, err
	}
	id, err := userOf(c, c.who.users)
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	for _, name := range sortedNames(c.who.users.tokens) {
		if user, token, _ := strings.Cut(name, "!"); user == id {
			rows = append(rows, map[string]any{"tokenid": token, "privsep": number(c.who.users.tokens[name]), "expire": 0})
		}
	}
	return rows, nil
}

// createToken answers with the secret, this once. Source: PVE::API2::User,
// generate_token.
func (s *Server) createToken(c *call) (any, error) {
	if err := c.checkUserModify(); err != nil {
		return nil, err
	}
	name := c.args["tokenid"]
	if !tokenNamePattern.MatchString(name) {
		return nil, badParam("tokenid", "value does not match the regex pattern")
	}
	full := c.args["userid"] + "!" + name
	secret := newUUID()
	privsep := "1"
	if c.params["privsep"] == "0" {
		privsep = "0"
	}
	err := s.changeUsers("generating token", func(u *userConfig) error {
		id, err := userOf(c, u)
		if err != nil {
			return err
		}
		if _, ok := u.tokens[full]; ok {
			return &failure{status: 400, message: "Parameter verification failed.", params: map[string]string{"tokenid": "Token already exists."}}
		}
		at := slices.IndexFunc(u.users, func(l string) bool { return strings.HasPrefix(l, "user:"+id+":") })
		line := strings.Join([]string{"token", full, "0", privsep, encodeText(c.params["comment"]), ""}, ":")
		u.users = slices.Insert(u.users, at+1, line)
		return s.setSecret(full, secret)
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"full-tokenid": full, "value": secret, "info": map[string]any{"privsep": privsep}}, nil
}

func (s *Server) deleteToken(c *call) (any, error) {
	if err := c.checkUserModify(); err != nil {
		return nil, err
	}
	full := c.args["userid"] + "!" + c.args["tokenid"]
	return nil, s.changeUsers("deleting token", func(u *userConfig) error {
		if _, ok := u.tokens[full]; !ok {
			return fmt.Errorf("no such token '%s' for user '%s'", c.args["tokenid"], c.args["userid"])
		}
		u.users = slices.DeleteFunc(u.users, func(l string) bool { return strings.HasPrefix(l, "token:"+full+":") })
		u.dropSubjects(func(s string) bool { return s == full })
		return s.setSecret(full, "")
	})
}

var tokenNamePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.\-_]+$`)

func (c *call) checkUserModify() error {
	// A token is not its user.
	if c.who.id == c.args["userid"] || c.who.may("/access/groups", "User.Modify") {
		return nil
	}
	return forbidden("")
}

// setSecret writes a token's secret into token.cfg; "" takes it out.
func (s *Server) setSecret(id, secret string) error {
	text, err := s.readPVE("priv/token.cfg")
	if err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.SplitSeq(text, "\n") {
		if name, _, _ := strings.Cut(line, " "); line != "" && name != id {
			b.WriteString(line + "\n")
		}
	}
	if secret != "" {
		b.WriteString(id + " " + secret + "\n")
	}
	return s.writePVE("priv/token.cfg", b.String())
}

func (s *Server) getRoles(c *call) (any, error) {
	rows := []map[string]any{}
	for _, name := range sortedNames(c.who.users.roles) {
		_, special := builtinRoles()[name]
		rows = append(rows, map[string]any{"roleid": name, "privs": strings.Join(c.who.users.roles[name], ","), "special": number(special)})
	}
	return rows, nil
}

func (s *Server) createRole(c *call) (any, error) {
	if err := c.check("/access", "Sys.Modify"); err != nil {
		return nil, err
	}
	id := c.params["roleid"]
	return nil, s.changeUsers("create role", func(u *userConfig) error {
		if _, ok := u.roles[id]; ok {
			return fmt.Errorf("role '%s' already exists", id)
		}
		return u.setRole(id, items(c.params["privs"]))
	})
}

func (s *Server) updateRole(c *call) (any, error) {
	if err := c.check("/access", "Sys.Modify"); err != nil {
		return nil, err
	}
	id := c.args["roleid"]
	return nil, s.changeUsers("update role", func(u *userConfig) error {
		if _, ok := u.roles[id]; !ok {
			return fmt.Errorf("role '%s' does not exist", id)
		}
		privileges := items(c.params["privs"])
		if c.bool("append") {
			privileges = slices.Concat(u.roles[id], privileges)
		}
		return u.setRole(id, privileges)
	})
}

func (u *userConfig) setRole(id string, privileges []string) error {
	for _, p := range privileges {
		if !slices.Contains(builtinRoles()["Administrator"], p) {
			return fmt.Errorf("invalid privilege '%s'", p)
		}
	}
	u.roleLines = slices.DeleteFunc(u.roleLines, func(l string) bool { return strings.HasPrefix(l, "role:"+id+":") })
	privileges = slices.Compact(slices.Sorted(slices.Values(privileges)))
	u.roleLines = append(u.roleLines, "role:"+id+":"+strings.Join(privileges, ",")+":")
	return nil
}

func (s *Server) deleteRole(c *call) (any, error) {
	if err := c.check("/access", "Sys.Modify"); err != nil {
		return nil, err
	}
	id := c.args["roleid"]
	return nil, s.changeUsers("delete role", func(u *userConfig) error {
		if !slices.ContainsFunc(u.roleLines, func(l string) bool { return strings.HasPrefix(l, "role:"+id+":") }) {
			return fmt.Errorf("role '%s' does not exist", id)
		}
		u.roleLines = slices.DeleteFunc(u.roleLines, func(l string) bool { return strings.HasPrefix(l, "role:"+id+":") })
		return nil
	})
}

// updateACL is PUT /access/acl. Source: PVE::API2::ACL, update_acl.
func (s *Server) updateACL(c *call) (any, error) {
	path := c.params["path"]
	if !strings.HasPrefix(path, "/") {
		return nil, badParam("path", "invalid ACL path '"+path+"'")
	}
	if err := c.check(path, "Permissions.Modify"); err != nil {
		return nil, err
	}
	var subjects []string
	for _, g := range items(c.params["groups"]) {
		subjects = append(subjects, "@"+g)
	}
	subjects = slices.Concat(subjects, items(c.params["users"]), items(c.params["tokens"]))
	if len(subjects) == 0 {
		text := "either 'users', 'groups' or 'tokens' is required."
		return nil, badParams(map[string]string{"users": text, "groups": text, "tokens": text})
	}
	return nil, s.changeUsers("ACL update", func(u *userConfig) error {
		for _, role := range items(c.params["roles"]) {
			if _, ok := u.roles[role]; !ok {
				return fmt.Errorf("role '%s' does not exist", role)
			}
			for _, subject := range subjects {
				if err := u.knows(subject); err != nil {
					return err
				}
				u.grant(path, subject, role, c.params["propagate"] != "0", !c.bool("delete"))
			}
		}
		return nil
	})
}

// knows fails for a subject that does not exist.
func (u *userConfig) knows(subject string) error {
	if group, ok := strings.CutPrefix(subject, "@"); ok {
		if _, ok := u.groups[group]; !ok {
			return fmt.Errorf("group '%s' does not exist", group)
		}
		return nil
	}
	if user, token, ok := strings.Cut(subject, "!"); ok {
		if _, ok := u.tokens[subject]; !ok {
			return fmt.Errorf("no such token '%s' for user '%s'", token, user)
		}
		return nil
	}
	if _, ok := u.enabled[subject]; !ok {
		return fmt.Errorf("user '%s' does not exist", subject)
	}
	return nil
}

// grant puts one entry in or takes it out. PVE writes a line per path, flag and
// set of roles.
func (u *userConfig) grant(path, subject, role string, propagate, add bool) {
	for i := range u.acl {
		a := &u.acl[i]
		if a.Path == path && slices.Contains(a.Subjects, subject) && slices.Contains(a.Roles, role) {
			rest := slices.DeleteFunc(slices.Clone(a.Subjects), func(s string) bool { return s == subject })
			others := slices.DeleteFunc(slices.Clone(a.Roles), func(r string) bool { return r == role })
			a.Subjects = []string{subject}
			kept := *a
			a.Roles = others
			if len(rest) > 0 {
				kept.Subjects, kept.Roles = rest, slices.Concat(others, []string{role})
				u.acl = append(u.acl, kept)
			}
			break
		}
	}
	u.acl = slices.DeleteFunc(u.acl, func(a pve.ACL) bool { return len(a.Roles) == 0 || len(a.Subjects) == 0 })
	if add {
		u.acl = append(u.acl, pve.ACL{Path: path, Subjects: []string{subject}, Roles: []string{role}, Propagate: propagate})
	}
	slices.SortStableFunc(u.acl, func(a, b pve.ACL) int { return strings.Compare(a.Path, b.Path) })
}

func (s *Server) getPools(c *call) (any, error) {
	rows := []map[string]any{}
	for _, p := range c.who.users.pools {
		if c.who.may("/pool/"+p.ID, "Pool.Audit") {
			row := map[string]any{"poolid": p.ID}
			if p.Comment != "" {
				row["comment"] = p.Comment
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// updatePool is PUT /pools. Source: PVE::API2::Pool, update_pool.
func (s *Server) updatePool(c *call) (any, error) {
	id := c.params["poolid"]
	if err := c.check("/pool/"+id, "Pool.Allocate"); err != nil {
		return nil, err
	}
	return nil, s.changeUsers("update pools", func(u *userConfig) error {
		i := slices.IndexFunc(u.pools, func(p pve.Pool) bool { return p.ID == id })
		if i < 0 {
			return errors.New("pool '" + id + "' does not exist")
		}
		p := &u.pools[i]
		for _, storage := range items(c.params["storage"]) {
			if err := c.check("/storage/"+storage, "Permissions.Modify", "Datastore.Allocate"); err != nil {
				return err
			}
			at := slices.Index(p.Storages, storage)
			switch remove := c.bool("delete"); {
			case remove && at < 0:
				//lint:ignore ST1005 PVE's text
				return fmt.Errorf("Storage '%s' is not a pool member", storage)
			case !remove && at >= 0:
				//lint:ignore ST1005 PVE's text
				return fmt.Errorf("Storage '%s' is already a pool member", storage)
			case remove:
				p.Storages = slices.Delete(p.Storages, at, at+1)
			default:
				p.Storages = append(p.Storages, storage)
			}
		}
		return nil
	})
}

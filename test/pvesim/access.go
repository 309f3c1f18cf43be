package pvesim

import (
	"crypto/subtle"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// caller is who made a request.
type caller struct {
	id    string // user@realm!token
	users *userConfig
}

func (w *caller) user() string {
	user, _, _ := strings.Cut(w.id, "!")
	return user
}

// authenticate accepts API tokens only.
func (s *Server) authenticate(header string) (*caller, error) {
	unauthorized := func(text string) error { return &failure{status: http.StatusUnauthorized, message: text} }
	token, ok := strings.CutPrefix(header, "PVEAPIToken=")
	if !ok {
		return nil, unauthorized("No ticket")
	}
	id, secret, _ := strings.Cut(token, "=")
	users, err := s.userConfig()
	if err != nil {
		return nil, err
	}
	want, err := s.secret(id)
	if err != nil {
		return nil, err
	}
	_, known := users.tokens[id]
	w := &caller{id: id, users: users}
	// A user that is off or expired and a token that is expired get the same words as a wrong secret.
	if !known || want == "" || !users.enabled[w.user()] || users.expired(w.user()) || users.expired(id) ||
		subtle.ConstantTimeCompare([]byte(want), []byte(secret)) != 1 {
		return nil, unauthorized("Authentication failed!")
	}
	return w, nil
}

// expired reports whether a user or token had its time. Source: PVE::AccessControl, check_user_enabled, verify_token.
func (u *userConfig) expired(id string) bool {
	at := u.expires[id]
	return at != 0 && at <= time.Now().Unix()
}

// secret returns a token's secret, "" when there is none.
func (s *Server) secret(id string) (string, error) {
	if secret, ok := s.cfg.Tokens[id]; ok {
		return secret, nil
	}
	text, err := s.readPVE("priv/token.cfg")
	for line := range strings.SplitSeq(text, "\n") {
		if name, secret, ok := strings.Cut(line, " "); ok && name == id {
			return strings.TrimSpace(secret), err
		}
	}
	return "", err
}

// may reports whether the caller has any of the privileges on the path.
func (w *caller) may(path string, privileges ...string) bool {
	got := w.users.privileges(w.id, path)
	return slices.ContainsFunc(privileges, func(p string) bool { _, ok := got[p]; return ok })
}

// check fails with PVE's text unless the caller has any of the privileges.
func (c *call) check(path string, privileges ...string) error {
	if c.who.may(path, privileges...) {
		return nil
	}
	return forbidden(path + ", " + strings.Join(privileges, "|"))
}

var userPattern = regexp.MustCompile(`^[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+(![A-Za-z][A-Za-z0-9.\-_]+)?$`)

func (s *Server) getPermissions(c *call) (any, error) {
	who := c.who.id
	if id, ok := c.params["userid"]; ok {
		if !userPattern.MatchString(id) {
			return nil, badParam("userid", "value does not match the regex pattern")
		}
		if id != c.who.id {
			if err := c.check("/access", "Sys.Audit"); err != nil {
				return nil, err
			}
		}
		who = id
	}
	out := map[string]map[string]int{}
	add := func(path string) {
		out[path] = map[string]int{}
		for privilege, propagates := range c.who.users.privileges(who, path) {
			out[path][privilege] = 0
			if propagates {
				out[path][privilege] = 1
			}
		}
	}
	if path, ok := c.params["path"]; ok {
		add(path)
		return out, nil
	}
	paths := []string{"/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"}
	for _, a := range c.who.users.acl {
		paths = append(paths, a.Path)
	}
	for _, path := range paths {
		add(path)
	}
	maps.DeleteFunc(out, func(_ string, p map[string]int) bool { return len(p) == 0 })
	return out, nil
}

func (s *Server) getACL(c *call) (any, error) {
	rows := []map[string]any{}
	for _, a := range c.who.users.acl {
		// Who may hand out a permission sees the entry: on a storage that is
		// Datastore.Allocate.
		visible := c.who.may("/access", "Sys.Audit") || c.who.may(a.Path, "Permissions.Modify")
		if strings.HasPrefix(a.Path, "/storage/") {
			visible = visible || c.who.may(a.Path, "Datastore.Allocate")
		}
		if !visible {
			continue
		}
		for _, subject := range a.Subjects {
			for _, role := range a.Roles {
				row := map[string]any{"path": a.Path, "roleid": role, "ugid": subject, "type": "user", "propagate": 0}
				if a.Propagate {
					row["propagate"] = 1
				}
				if group, ok := strings.CutPrefix(subject, "@"); ok {
					row["type"], row["ugid"] = "group", group
				} else if strings.Contains(subject, "!") {
					row["type"] = "token"
				}
				rows = append(rows, row)
			}
		}
	}
	return rows, nil
}

func (s *Server) getRole(c *call) (any, error) {
	privileges, ok := c.who.users.roles[c.args["role"]]
	if !ok {
		return nil, errors.New("role '" + c.args["role"] + "' does not exist")
	}
	out := map[string]int{}
	for _, p := range privileges {
		out[p] = 1
	}
	return out, nil
}

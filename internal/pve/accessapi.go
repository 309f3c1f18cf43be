package pve

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The calls of this file need the right to modify permissions: on a storage's
// path Datastore.Allocate with Permissions.Modify, on a pool Pool.Allocate. They
// go through pvesh as root where it can be run.

// ChangeACL grants the roles of an ACL to its subjects on its path, or with
// revoke takes them away. Groups are written "@group", tokens
// "user@realm!token". Granting what is granted already changes nothing.
func (c *Client) ChangeACL(ctx context.Context, acl ACL, revoke bool) error {
	if !strings.HasPrefix(acl.Path, "/") || len(acl.Subjects) == 0 || len(acl.Roles) == 0 {
		return errors.New("change permissions: a path, a subject and a role are needed")
	}
	body := map[string]string{
		"path": acl.Path, "roles": strings.Join(acl.Roles, ","), "propagate": flag(acl.Propagate),
	}
	if revoke {
		body["delete"] = "1"
	}
	lists := map[string][]string{}
	for _, s := range acl.Subjects {
		switch group, isGroup := strings.CutPrefix(s, "@"); {
		case isGroup:
			lists["groups"] = append(lists["groups"], group)
		case strings.Contains(s, "!"):
			lists["tokens"] = append(lists["tokens"], s)
		default:
			lists["users"] = append(lists["users"], s)
		}
	}
	for kind, items := range lists {
		body[kind] = strings.Join(items, ",")
	}
	return unwrap(c.root.Put(ctx, "/access/acl", body, nil))
}

var poolIDPattern = regexp.MustCompile(`^[A-Za-z0-9._\-]+(/[A-Za-z0-9._\-]+){0,2}$`)

// ChangePool puts storages into a pool, or with remove takes them out. PVE
// fails when a storage is in the pool already, or is not.
// Source: PVE::API2::Pool; the same call with the ID in the path has no nested
// pools.
func (c *Client) ChangePool(ctx context.Context, pool string, storages []string, remove bool) error {
	if !poolIDPattern.MatchString(pool) {
		return fmt.Errorf("pool %q: PVE has no pool of such an ID", pool)
	}
	for _, id := range storages {
		if err := CheckStorageID(id); err != nil {
			return err
		}
	}
	body := map[string]string{"poolid": pool, "storage": strings.Join(storages, ",")}
	if remove {
		body["delete"] = "1"
	}
	return unwrap(c.root.Put(ctx, "/pools", body, nil))
}

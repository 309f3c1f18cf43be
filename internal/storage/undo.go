package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"labd/internal/pve"
)

// restoreSwitch switches the entry on again if it was on.
func (a *Applier) restoreSwitch(ctx context.Context, id string, s saved) error {
	_, section, err := a.readEntry(ctx, id)
	if err != nil {
		return err
	}
	if section == nil {
		return fmt.Errorf("storage %s is not in storage.cfg", id)
	}
	if !sameBut(identity(section), s.Properties, marks) {
		return fmt.Errorf("another storage is called %s by now", id)
	}
	if section.Disabled() == s.Disabled {
		return nil
	}
	props := map[string]string{"delete": "disable"}
	if s.Disabled {
		props = map[string]string{"disable": "1"}
	}
	if err := a.change(ctx, "set the switch of storage "+id+" back", func(c PVE) error { return c.UpdateStorage(ctx, id, props, "") }); err != nil {
		return err
	}
	if _, section, err = a.readEntry(ctx, id); err != nil {
		return err
	}
	if section == nil || section.Disabled() != s.Disabled {
		return fmt.Errorf("the switch of storage %s is not as before", id)
	}
	return nil
}

// restoreEntry adds the entry again, switched off: PVE activates a new entry that is on, and refuses it while its disk
// is away (PVE::API2::Storage::Config, create). Then come what PVE took away with it: secrets, permissions, pools. An
// entry of that name that is another one by now is left alone.
func (a *Applier) restoreEntry(ctx context.Context, id string, s saved) error {
	_, section, err := a.readEntry(ctx, id)
	if err != nil {
		return err
	}
	if section != nil && !sameBut(identity(section), s.Properties, marks) {
		return fmt.Errorf("another storage is called %s by now", id)
	}
	if section == nil {
		create := maps.Clone(s.Create)
		create["disable"] = "1"
		add := func() error {
			return a.change(ctx, "add storage "+id+" again", func(c PVE) error { return c.CreateStorage(ctx, id, create) })
		}
		if create["type"] == "esxi" && a.edit != nil {
			// PVE takes no entry of this type without its password (PVE::Storage::ESXiPlugin, on_add_hook), which must not
			// stand on a command line. The section is put into the file, and the password into its own below.
			add = func() error { return a.addSection(ctx, id, create) }
		}
		if err := add(); err != nil {
			return err
		}
		if _, section, err = a.readEntry(ctx, id); err != nil {
			return err
		}
		if section == nil || !sameBut(identity(section), s.Properties, marks) {
			return fmt.Errorf("storage %s is not in storage.cfg as before", id)
		}
	}
	return errors.Join(a.restoreSecrets(ctx, id, s), a.restoreMarks(ctx, id, s), a.restoreRights(ctx, id, s))
}

// addSection puts the section of an entry into storage.cfg itself.
func (a *Applier) addSection(ctx context.Context, id string, create map[string]string) error {
	config, err := a.readConfig(ctx)
	if err != nil {
		return err
	}
	section, err := config.NewSection(id, create["type"], create)
	if err != nil {
		return fmt.Errorf("add storage %s again: %w", id, err)
	}
	one := *config
	one.Sections = []*pve.StorageSection{section}
	text, err := one.Text()
	if err != nil {
		return fmt.Errorf("add storage %s again: %w", id, err)
	}
	return a.edit(ctx, func(old []byte) ([]byte, error) { return pasteSection(old, sectionParams{ID: id, Text: text}), nil })
}

// checkRestoreEntry says why the entry cannot be added again now.
func (a *Applier) checkRestoreEntry(ctx context.Context, id string, s saved) error {
	config, section, err := a.readEntry(ctx, id)
	if err != nil {
		return err
	}
	if section != nil && !sameBut(identity(section), s.Properties, marks) {
		return fmt.Errorf("another storage is called %s by now", id)
	}
	for _, other := range config.Sections {
		if other.Malformed != "" && section == nil {
			return fmt.Errorf("the section of %s in storage.cfg is malformed, and PVE refuses every change while it is", other.ID)
		}
	}
	return nil
}

// marks are the properties by which an entry says that a key lies in a file of its own. PVE sets them when it is given
// the key.
var marks = []string{"encryption-key", "master-pubkey"}

// sameBut compares properties without those named.
func sameBut(a, b map[string]string, without []string) bool {
	drop := func(m map[string]string) map[string]string {
		m = maps.Clone(m)
		maps.DeleteFunc(m, func(k, _ string) bool { return slices.Contains(without, k) })
		return m
	}
	return maps.Equal(drop(a), drop(b))
}

// restoreSecrets writes the files of keys and passwords again, where they are not as before.
func (a *Applier) restoreSecrets(ctx context.Context, id string, s saved) error {
	have, err := a.readSecrets(ctx, id)
	if err != nil {
		return err
	}
	for _, name := range sortedNames(s.Secrets) {
		if bytes.Equal(have[name], s.Secrets[name]) {
			continue
		}
		if err := pve.WriteClusterFile(ctx, a.host.PVE, filepath.Join("priv", name), s.Secrets[name]); err != nil {
			return fmt.Errorf("put %s back: %w", name, err)
		}
	}
	return nil
}

// restoreMarks has the entry say again that its keys are in files: by the file itself, since PVE takes the key only, which
// must not be shown to other programs of the host.
func (a *Applier) restoreMarks(ctx context.Context, id string, s saved) error {
	_, section, err := a.readEntry(ctx, id)
	if err != nil {
		return err
	}
	set := map[string]string{}
	for _, key := range marks {
		if v := s.Properties[key]; v != "" && section.Get(key) != v {
			set[key] = v
		}
	}
	if len(set) == 0 {
		return nil
	}
	if a.edit == nil {
		return fmt.Errorf("the keys of storage %s are back, and its entry does not say so: pvesm set %s --encryption-key /etc/pve/priv/storage/%s.enc", id, id, id)
	}
	return a.edit(ctx, func(text []byte) ([]byte, error) { return addProperties(text, id, set) })
}

// restoreRights gives back the permissions on the storage and its place in pools, where they are not there.
func (a *Applier) restoreRights(ctx context.Context, id string, s saved) error {
	if len(s.ACLs)+len(s.Pools) == 0 {
		return nil
	}
	missing := func() (acls []pve.ACL, pools []string, err error) {
		data, err := a.host.ReadFile(ctx, filepath.Join(a.host.PVE, "user.cfg"))
		if err != nil {
			return nil, nil, fmt.Errorf("read user.cfg: %w", err)
		}
		haveACLs, havePools := pve.ParseUserConfig(data).OfStorage(id)
		for _, acl := range s.ACLs {
			if !grants(haveACLs, acl) {
				acls = append(acls, acl)
			}
		}
		for _, pool := range s.Pools {
			if !slices.Contains(havePools, pool) {
				pools = append(pools, pool)
			}
		}
		return acls, pools, nil
	}
	acls, pools, err := missing()
	if err != nil {
		return err
	}
	var problems []error
	for _, acl := range acls {
		problems = append(problems, a.change(ctx, "give the permissions on "+acl.Path+" back", func(c PVE) error { return c.ChangeACL(ctx, acl, false) }))
	}
	for _, pool := range pools {
		problems = append(problems, a.change(ctx, "put storage "+id+" back into pool "+pool, func(c PVE) error { return c.ChangePool(ctx, pool, []string{id}, false) }))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if acls, pools, err = missing(); err == nil && len(acls)+len(pools) > 0 {
		err = fmt.Errorf("the permissions on storage %s, or its place in pools, are not as before", id)
	}
	return err
}

// grants tells whether ACLs together give all subjects of one all its roles. PVE may write one line as several, or
// several as one.
func grants(have []pve.ACL, want pve.ACL) bool {
	for _, subject := range want.Subjects {
		for _, role := range want.Roles {
			if !slices.ContainsFunc(have, func(a pve.ACL) bool {
				return a.Path == want.Path && a.Propagate == want.Propagate && slices.Contains(a.Subjects, subject) && slices.Contains(a.Roles, role)
			}) {
				return false
			}
		}
	}
	return true
}

// restoreNodes sets the former list of nodes. A list that was empty is written as all nodes are meant: with PVE's
// empty value, never by deleting the property.
func (a *Applier) restoreNodes(ctx context.Context, id string, s saved) error {
	_, section, err := a.readEntry(ctx, id)
	if err != nil {
		return err
	}
	if section == nil {
		return fmt.Errorf("storage %s is not in storage.cfg", id)
	}
	if !sameBut(identity(section), s.Properties, append([]string{"nodes"}, marks...)) {
		return fmt.Errorf("another storage is called %s by now", id)
	}
	if joinNodes(section.Nodes()) == s.Nodes {
		return nil
	}
	if err := a.change(ctx, "set the nodes of storage "+id+" back", func(c PVE) error {
		return c.UpdateStorage(ctx, id, map[string]string{"nodes": s.Nodes}, "")
	}); err != nil {
		return err
	}
	if _, section, err = a.readEntry(ctx, id); err != nil {
		return err
	}
	if section == nil || joinNodes(section.Nodes()) != s.Nodes {
		return fmt.Errorf("the nodes of storage %s are not as before", id)
	}
	return nil
}

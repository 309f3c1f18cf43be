package pvesim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"labd/internal/pve"
)

const storageLock = "file-storage_cfg"

func (s *Server) storageConfig() (*pve.StorageConfig, error) {
	text, err := s.readPVE("storage.cfg")
	if err != nil {
		return nil, err
	}
	return pve.ParseStorageConfig([]byte(text), pve.StorageConfigOptions{Major: s.cfg.Major}), nil
}

// writeStorages writes storage.cfg. The "local" that PVE made up is written only
// beside others.
func (s *Server) writeStorages(c *pve.StorageConfig) error {
	text, err := c.Text()
	if err != nil {
		return err
	}
	return s.writePVE("storage.cfg", text)
}

// storageParam checks the ID in the path.
func storageParam(c *call) (string, error) {
	id := c.args["storage"]
	if err := pve.CheckStorageID(id); err != nil {
		return "", badParam("storage", "invalid format - "+err.Error()+"\n")
	}
	return id, nil
}

// onlyParams rejects parameters that an endpoint does not have.
func (c *call) onlyParams(names ...string) error {
	bad := map[string]string{}
	for name := range c.params {
		if !slices.Contains(names, name) {
			bad[name] = "property is not defined in schema and the schema does not allow additional properties"
		}
	}
	if len(bad) > 0 {
		return badParams(bad)
	}
	return nil
}

// storageRow is an entry as the API sends it.
func storageRow(c *pve.StorageConfig, st *pve.StorageSection) map[string]any {
	row := map[string]any{"storage": st.ID, "type": st.Type, "digest": c.Digest}
	for key, value := range st.Properties {
		row[key] = value
		if n, err := strconv.Atoi(value); err == nil && c.Numeric(key) {
			row[key] = n
		}
		if value == "" {
			delete(row, key)
		}
	}
	if st.Injected {
		row["priority"] = 0
	}
	return row
}

func (s *Server) getStorages(c *call) (any, error) {
	cfg, err := s.storageConfig()
	if err != nil {
		return nil, err
	}
	if err := c.onlyParams("type"); err != nil {
		return nil, err
	}
	typ, filter := c.params["type"]
	if filter && !slices.Contains(cfg.Types(), typ) {
		return nil, badParam("type", fmt.Sprintf("value '%s' does not have a value in the enumeration '%s'",
			typ, strings.Join(cfg.Types(), ", ")))
	}
	rows := []map[string]any{}
	for _, st := range cfg.Sections {
		if _, err := cfg.Lookup(st.ID); err != nil {
			return nil, err
		}
		if c.who.may("/storage/"+st.ID, "Datastore.Audit", "Datastore.AllocateSpace") && (!filter || st.Type == typ) {
			rows = append(rows, storageRow(cfg, st))
		}
	}
	return rows, nil
}

func (s *Server) getStorage(c *call) (any, error) {
	if err := c.check("/storage/"+c.args["storage"], "Datastore.Allocate"); err != nil {
		return nil, err
	}
	id, err := storageParam(c)
	if err != nil {
		return nil, err
	}
	cfg, err := s.storageConfig()
	if err != nil {
		return nil, err
	}
	st, err := cfg.Lookup(id)
	if err != nil {
		return nil, err
	}
	return storageRow(cfg, st), nil
}

func (s *Server) createStorage(c *call) (any, error) {
	if err := c.check("/storage", "Datastore.Allocate"); err != nil {
		return nil, err
	}
	cfg, err := s.storageConfig()
	if err != nil {
		return nil, err
	}
	if bad := cfg.CheckCreate(c.params); len(bad) > 0 {
		return nil, badParams(bad)
	}
	id, typ := c.params["storage"], c.params["type"]
	st, err := cfg.NewSection(id, typ, c.params)
	if err != nil {
		return nil, err
	}
	err = s.locked(storageLock, nil, func() error {
		cfg, err := s.storageConfig()
		if err != nil {
			return err
		}
		if err := cfg.Add(st); err != nil {
			return err
		}
		if _, err := cfg.Text(); err != nil {
			return err
		}
		secrets := takeSecrets(st, c.params)
		// Source: PVE::Storage::ESXiPlugin, on_add_hook. Those of other types do without.
		if st.Type == "esxi" && secrets["password"] == "" {
			return errors.New("missing password")
		}
		if !st.Disabled() && st.OnNode(s.cfg.Node) {
			if err := s.activate(st); err != nil {
				return err
			}
		}
		if err := s.writeSecrets(st, secrets); err != nil {
			return err
		}
		return s.writeStorages(cfg)
	})
	if err != nil {
		return nil, fmt.Errorf("create storage failed: %w", err)
	}
	answer := map[string]any{"storage": id, "type": typ}
	if typ == "pbs" {
		answer["config"] = map[string]any{}
	}
	return answer, nil
}

func (s *Server) updateStorage(c *call) (any, error) {
	if err := c.check("/storage", "Datastore.Allocate"); err != nil {
		return nil, err
	}
	id, err := storageParam(c)
	if err != nil {
		return nil, err
	}
	cfg, err := s.storageConfig()
	if err != nil {
		return nil, err
	}
	if bad := cfg.CheckUpdate(c.params); len(bad) > 0 {
		return nil, badParams(bad)
	}
	digest, unset := c.params["digest"], items(c.params["delete"])
	delete(c.params, "digest")
	delete(c.params, "delete")
	var typ string
	err = s.locked(storageLock, nil, func() error {
		cfg, err := s.storageConfig()
		if err != nil {
			return err
		}
		if digest != "" && digest != cfg.Digest {
			//lint:ignore ST1005 PVE's text
			return errors.New("detected modified configuration - file changed by other user? Try again.")
		}
		if err := cfg.Update(id, c.params, unset); err != nil {
			return err
		}
		st := cfg.Section(id)
		typ = st.Type
		if _, err := cfg.Text(); err != nil {
			return err
		}
		if err := s.writeSecrets(st, takeSecrets(st, c.params)); err != nil {
			return err
		}
		return s.writeStorages(cfg)
	})
	if err != nil {
		return nil, fmt.Errorf("update storage failed: %w", err)
	}
	return map[string]any{"storage": id, "type": typ}, nil
}

func (s *Server) deleteStorage(c *call) (any, error) {
	if err := c.check("/storage", "Datastore.Allocate"); err != nil {
		return nil, err
	}
	id, err := storageParam(c)
	if err != nil {
		return nil, err
	}
	if err := c.onlyParams(); err != nil {
		return nil, err
	}
	return nil, s.removeStorage(id, nil)
}

// removeStorage is DELETE /storage/ID without the permission check.
func (s *Server) removeStorage(id string, waiting func(string)) error {
	err := s.locked(storageLock, waiting, func() error {
		cfg, err := s.storageConfig()
		if err != nil {
			return err
		}
		st := cfg.Section(id)
		if err := cfg.Remove(id); err != nil {
			return err
		}
		// A "local" that was only made up is not written beside nothing.
		if len(cfg.Sections) == 1 && cfg.Sections[0].Injected {
			cfg.Sections = nil
		}
		if _, err := cfg.Text(); err != nil {
			return err
		}
		if err := s.dropSecrets(st); err != nil {
			return err
		}
		return s.writeStorages(cfg)
	})
	if err != nil {
		return fmt.Errorf("delete storage failed: %w", err)
	}
	users, err := s.userConfig()
	if err != nil || !users.removeStorage(id) {
		return err
	}
	return s.locked("file-user_cfg", waiting, func() error {
		users, err := s.userConfig()
		if err != nil {
			return err
		}
		users.removeStorage(id)
		return s.writePVE("user.cfg", users.text())
	})
}

// secretFiles names the files below /etc/pve/priv that hold a storage's secrets,
// by the property that fills them. Source: the on_add_hook and on_delete_hook of
// PVE's storage plugins.
func secretFiles(st *pve.StorageSection) map[string]string {
	switch st.Type {
	case "cifs", "esxi":
		return map[string]string{"password": "storage/" + st.ID + ".pw"}
	case "pbs":
		return map[string]string{
			"password":       "storage/" + st.ID + ".pw",
			"encryption-key": "storage/" + st.ID + ".enc",
			"master-pubkey":  "storage/" + st.ID + ".master.pem",
		}
	case "rbd":
		return map[string]string{"keyring": "ceph/" + st.ID + ".keyring"}
	case "cephfs":
		return map[string]string{"keyring": "ceph/" + st.ID + ".secret"}
	}
	return nil
}

// takeSecrets moves the secrets that a request gives out of the properties; of keys, a mark stays. What the entry has
// already is such a mark.
func takeSecrets(st *pve.StorageSection, given map[string]string) map[string]string {
	secrets := map[string]string{}
	for key := range secretFiles(st) {
		value, ok := given[key]
		if !ok || value == "1" {
			continue
		}
		secrets[key] = value
		delete(st.Properties, key)
		if key == "encryption-key" || key == "master-pubkey" {
			st.Properties[key] = "1"
		}
	}
	return secrets
}

func (s *Server) writeSecrets(st *pve.StorageSection, secrets map[string]string) error {
	files := secretFiles(st)
	for key, value := range secrets {
		path := s.path("etc/pve/priv", files[key])
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) dropSecrets(st *pve.StorageSection) error {
	for _, name := range secretFiles(st) {
		if err := os.Remove(s.path("etc/pve/priv", name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

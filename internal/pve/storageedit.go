package pve

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The methods of this file change a configuration in memory under the rules
// that PVE applies to POST, PUT and DELETE of /storage, with PVE's texts.
// Source: PVE::API2::Storage::Config.

const (
	errNotInSchema = "property is not defined in schema and the schema does not allow additional properties"
	errMissing     = "property is missing and it is not optional"
)

// Types returns the sorted storage types that this PVE knows.
func (c *StorageConfig) Types() []string {
	return slices.Sorted(maps.Keys(c.schema.types))
}

// Numeric reports whether PVE's API sends the property as a number.
func (c *StorageConfig) Numeric(key string) bool {
	return c.schema.properties[key].kind != kindString
}

// CheckCreate returns PVE's objections to the parameters of POST /storage, by
// parameter; none means that the parameters pass the schema.
func (c *StorageConfig) CheckCreate(params map[string]string) map[string]string {
	objections := map[string]string{}
	for _, key := range []string{"storage", "type"} {
		if _, ok := params[key]; !ok {
			objections[key] = errMissing
		}
	}
	for key, value := range params {
		schema, ok := c.schema.properties[key]
		if key == "type" {
			schema.enum = c.Types()
		}
		c.checkParam(objections, key, value, schema, ok)
	}
	return objections
}

// CheckUpdate is CheckCreate for PUT /storage/ID. Properties that no type can
// change later are not even part of the schema.
func (c *StorageConfig) CheckUpdate(params map[string]string) map[string]string {
	objections := map[string]string{}
	for key, value := range params {
		schema, ok := c.schema.properties[key]
		switch key {
		case "storage":
		case "digest", "delete":
			ok = true
		default:
			ok = ok && c.changeable(key)
		}
		c.checkParam(objections, key, value, schema, ok)
	}
	return objections
}

func (c *StorageConfig) checkParam(objections map[string]string, key, value string, schema property, known bool) {
	if !known {
		objections[key] = errNotInSchema
		return
	}
	if err := schema.check(value); err != nil {
		objections[key] = err.Error()
		// What a format check says ends in a newline in PVE.
		if strings.HasPrefix(objections[key], "invalid format") {
			objections[key] += "\n"
		}
	}
}

// changeable reports whether any type lets the property be changed.
func (c *StorageConfig) changeable(key string) bool {
	for _, t := range c.schema.types {
		if o, ok := t.options[key]; ok && o&fixed == 0 {
			return true
		}
	}
	return false
}

// NewSection builds the section that POST /storage would add. The configuration
// stays as it is; see Add.
func (c *StorageConfig) NewSection(id, typ string, params map[string]string) (*StorageSection, error) {
	t, ok := c.schema.types[typ]
	if !ok {
		return nil, fmt.Errorf("unknown section type '%s'", typ)
	}
	s := &StorageSection{ID: id, Type: typ, Properties: map[string]string{}}
	for _, key := range slices.Sorted(maps.Keys(params)) {
		if key == "storage" || key == "type" {
			continue
		}
		if _, ok := t.options[key]; !ok {
			return nil, fmt.Errorf("unexpected property '%s'", key)
		}
		s.Properties[key] = c.schema.properties[key].normal(params[key])
	}
	_, err := c.schema.checkSection(s)
	return s, err
}

// Add puts a section at the end, or in the place of a malformed one with the
// same ID: the one way in which PVE itself can repair a malformed section.
func (c *StorageConfig) Add(s *StorageSection) error {
	if old := c.Section(s.ID); old != nil {
		if old.Malformed == "" {
			return fmt.Errorf("storage ID '%s' already defined", s.ID)
		}
		s.Order = old.Order
		c.Sections[slices.Index(c.Sections, old)] = s
		return nil
	}
	for _, o := range c.Sections {
		s.Order = max(s.Order, o.Order+1)
	}
	c.Sections = append(c.Sections, s)
	return nil
}

// CreateParams returns what CreateStorage needs to make an entry like this one
// again: the type and the properties that the file can hold. Secrets are not
// among them: a password lies in a file of its own, and of keys the file has a
// mark only, which PVE does not accept as a value.
func (c *StorageConfig) CreateParams(id string) (map[string]string, error) {
	s, err := c.Lookup(id)
	if err != nil {
		return nil, err
	}
	params := map[string]string{"type": s.Type}
	for key, value := range s.Properties {
		// An implicit "shared" is no option of its type.
		if _, ok := c.schema.types[s.Type].options[key]; ok && value != "" && key != "encryption-key" && key != "master-pubkey" {
			params[key] = value
		}
	}
	return params, nil
}

// Lookup returns a section as PVE's code asks for one: a malformed section does
// not exist.
func (c *StorageConfig) Lookup(id string) (*StorageSection, error) {
	s := c.Section(id)
	if s == nil || s.Malformed != "" {
		return nil, fmt.Errorf("storage '%s' does not exist", id)
	}
	return s, nil
}

// Update sets and unsets properties of a section.
func (c *StorageConfig) Update(id string, set map[string]string, unset []string) error {
	s, err := c.Lookup(id)
	if err != nil {
		return err
	}
	t := c.schema.types[s.Type]
	changed := maps.Clone(s.Properties)
	for _, key := range slices.Sorted(maps.Keys(set)) {
		o, ok := t.options[key]
		if !ok {
			return fmt.Errorf("unexpected property '%s'", key)
		}
		if o&fixed != 0 {
			return fmt.Errorf("can't change value of fixed parameter '%s'", key)
		}
		value, _, err := decodeStorageValue(t, key, c.schema.properties[key].normal(set[key]))
		if err != nil {
			return err
		}
		changed[key] = value
	}
	for _, key := range unset {
		o, ok := t.options[key]
		switch _, isSet := set[key]; {
		case !ok:
			return fmt.Errorf("no such option '%s'", key)
		case o&required != 0:
			return fmt.Errorf("unable to delete required option '%s'", key)
		case o&fixed != 0:
			return fmt.Errorf("unable to delete fixed option '%s'", key)
		case isSet:
			//lint:ignore ST1005 PVE's text
			return fmt.Errorf("cannot set and delete property '%s' at the same time!", key)
		}
		delete(changed, key)
	}
	s.Properties = changed
	return nil
}

// Remove takes a section away. It fails as PVE does when another entry is based
// on it, and when any section is malformed.
func (c *StorageConfig) Remove(id string) error {
	s, err := c.Lookup(id)
	if err != nil {
		return err
	}
	for _, o := range c.Sections {
		if _, err := c.Lookup(o.ID); err != nil {
			return err
		}
		if base, ok := VolumeStorage(o.Get("base")); ok && base == id {
			return errors.New("can't remove storage - storage is used as base of another storage")
		}
	}
	c.Sections = slices.DeleteFunc(c.Sections, func(o *StorageSection) bool { return o == s })
	return nil
}

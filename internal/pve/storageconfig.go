package pve

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LocalStorage is the ID of the storage that PVE makes up when storage.cfg
// lacks it. It can never be removed for good.
const LocalStorage = "local"

const localPath = "/var/lib/vz"

// StorageConfigOptions tells ParseStorageConfig whose reading is wanted.
type StorageConfigOptions struct {
	File  string // name in warnings; default "storage.cfg", as PVE logs it
	Major int    // of the running PVE, which decides the known types; default 9
}

// StorageConfig is a storage.cfg as PVE has it in memory after reading it.
type StorageConfig struct {
	Sections []*StorageSection // in the order in which PVE writes them
	Skipped  []SkippedSection  // sections that PVE drops; its next write deletes them
	Warnings []ConfigWarning   // in the order in which PVE logs them
	Digest   string            // SHA-1 of the raw bytes, hex; what PVE compares

	schema storageSchema
	// sawLocal says that the file has a section local, be it replaced.
	sawLocal bool
}

// StorageSection is one storage.
type StorageSection struct {
	ID    string
	Type  string // lower case
	Line  int    // of the header, counted from 1; 0 when made up by PVE
	Order int    // PVE's position of the section, counted from 1

	// Properties are the values PVE uses, defaults included. The sets content
	// and nodes are sorted and joined with commas, content-dirs likewise.
	// Booleans are "0" or "1".
	Properties map[string]string

	// Malformed is empty, or PVE's reason for rejecting the section. PVE then
	// keeps the ID without any data, which makes most calls and every write
	// fail. Properties are what the file held, as far as it could be read.
	Malformed string

	// Injected is true for the "local" that PVE made up.
	Injected bool
}

// SkippedSection is a section that PVE ignores as a whole.
type SkippedSection struct {
	ID     string
	Type   string // lower case
	Line   int    // of the header
	Reason string // PVE's text
	// UnknownType is true when the only objection is that this PVE has no
	// plugin for the type.
	UnknownType bool
	Properties  []RawProperty
}

// ConfigWarning is one message that PVE logs while it reads a file.
type ConfigWarning struct {
	Line    int    // counted from 1; 0 when PVE names none
	Section string // empty outside a section
	Key     string // the rejected property, if it is about one
	Err     string // why it was rejected, if it is about a property
	Text    string // the whole message
}

// storageSchema is the type table of one PVE major.
type storageSchema struct {
	types      map[string]storageType
	properties map[string]property
}

func newStorageSchema(major int) storageSchema {
	if major == 0 {
		major = 9
	}
	return storageSchema{types: storageTypes(major), properties: storageProperties(major)}
}

// ParseStorageConfig reads data exactly as PVE does and never fails. An absent
// file reads as an empty one in PVE; callers must tell the two apart, since an
// empty /etc/pve means that the cluster file system is down.
// Source: PVE::SectionConfig::parse_config, PVE::Storage::Plugin::parse_config.
func ParseStorageConfig(data []byte, o StorageConfigOptions) *StorageConfig {
	if o.File == "" {
		o.File = "storage.cfg"
	}
	sum := sha1.Sum(data)
	c := &StorageConfig{Digest: hex.EncodeToString(sum[:]), schema: newStorageSchema(o.Major)}
	r := &storageReader{config: c, file: o.File, byID: map[string]*StorageSection{}}
	for _, b := range scanSections(data) {
		r.block(b)
	}
	r.finish()
	return c
}

// Section returns the section with that ID (case counts), or nil.
func (c *StorageConfig) Section(id string) *StorageSection {
	for _, s := range c.Sections {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// storageReader carries the state of one parse.
type storageReader struct {
	config *StorageConfig
	file   string
	byID   map[string]*StorageSection
	order  int
}

func (r *storageReader) warn(w ConfigWarning) {
	w.Text = strings.TrimRight(w.Text, "\n")
	w.Err = strings.TrimRight(w.Err, "\n")
	r.config.Warnings = append(r.config.Warnings, w)
}

func (r *storageReader) block(b sectionBlock) {
	at := b.header.number
	if !b.isSection {
		r.warn(ConfigWarning{Line: at, Text: fmt.Sprintf("file %s line %d - ignore config line: %s", r.file, at, b.header.text)})
		return
	}
	typ := asciiLower(b.typ)
	t, known := r.config.schema.types[typ]
	idErr := CheckStorageID(b.id)
	if idErr != nil || !known {
		reason := fmt.Sprintf("unsupported type '%s'", typ)
		if idErr != nil {
			reason = idErr.Error()
		}
		s := SkippedSection{ID: b.id, Type: typ, Line: at, Reason: reason, UnknownType: idErr == nil}
		for _, l := range b.body {
			if p, ok := parseProperty(l); ok {
				s.Properties = append(s.Properties, p)
			}
		}
		r.config.Skipped = append(r.config.Skipped, s)
		r.skip(at, b.id, reason)
		return
	}
	s := &StorageSection{ID: b.id, Type: typ, Line: at, Properties: map[string]string{}}
	last := at
	for _, l := range b.body {
		last = l.number
		r.property(s, t, l)
	}
	warnings, err := r.config.schema.checkSection(s)
	for _, text := range warnings {
		r.warn(ConfigWarning{Section: s.ID, Text: text})
	}
	if err != nil {
		s.Malformed = err.Error()
		r.skip(last, s.ID, s.Malformed)
	}
	r.order++
	s.Order = r.order
	r.byID[s.ID] = s
}

func (r *storageReader) skip(line int, id, reason string) {
	r.warn(ConfigWarning{
		Line: line, Section: id,
		Text: fmt.Sprintf("file %s line %d (skip section '%s'): %s", r.file, line, id, reason),
	})
}

func (r *storageReader) property(s *StorageSection, t storageType, l textLine) {
	prefix := fmt.Sprintf("file %s line %d (section '%s') - ", r.file, l.number, s.ID)
	p, ok := parseProperty(l)
	if !ok {
		r.warn(ConfigWarning{Line: l.number, Section: s.ID, Text: prefix + "ignore config line: " + l.text})
		return
	}
	value, err := r.config.schema.read(s, t, p)
	if err != nil {
		r.warn(ConfigWarning{
			Line: l.number, Section: s.ID, Key: p.Key, Err: err.Error(),
			Text: fmt.Sprintf("%sunable to parse value of '%s': %v", prefix, p.Key, err),
		})
		return
	}
	s.Properties[p.Key] = value
}

// read checks one property line against the schema.
func (m storageSchema) read(s *StorageSection, t storageType, p RawProperty) (string, error) {
	schema, ok := m.properties[p.Key]
	if !ok {
		return "", errors.New("unknown property type")
	}
	if _, dup := s.Properties[p.Key]; dup {
		return "", errors.New("duplicate attribute")
	}
	if p.Key == "type" && p.HasValue && p.Value == s.Type {
		return p.Value, nil
	}
	if _, ok := t.options[p.Key]; !ok {
		return "", fmt.Errorf("unexpected property '%s'", p.Key)
	}
	value := p.Value
	if !p.HasValue {
		if schema.kind != kindBool {
			return "", errors.New("got undefined value")
		}
		value = "1"
	}
	if strings.ContainsAny(value, "\r\n") {
		return "", errors.New("property contains a line feed")
	}
	if err := schema.check(value); err != nil {
		return "", err
	}
	return schema.normal(value), nil
}

// checkSection does what the plugin's check_config does with a whole section:
// it decodes sets, fills in a default path, normalises the path of a directory
// and insists on the required properties.
func (m storageSchema) checkSection(s *StorageSection) (warnings []string, err error) {
	t := m.types[s.Type]
	delete(s.Properties, "type")
	if t.defaultPath && s.Properties["path"] == "" {
		s.Properties["path"] = "/mnt/pve/" + s.ID
	}
	for _, key := range slices.Sorted(maps.Keys(s.Properties)) {
		value, w, err := decodeStorageValue(t, key, s.Properties[key])
		warnings = append(warnings, w...)
		if err != nil {
			return warnings, err
		}
		s.Properties[key] = value
		// An image format that the type does not have is dropped.
		if key == "format" && value == "" {
			delete(s.Properties, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(t.options)) {
		if _, ok := s.Properties[key]; !ok && t.options[key]&required != 0 {
			return warnings, fmt.Errorf("missing value for required option '%s'", key)
		}
	}
	if t.checkedPath {
		path := s.Properties["path"]
		if !dirPathPattern.MatchString(path) {
			return warnings, fmt.Errorf("illegal path for directory storage: %s", path)
		}
		s.Properties["path"] = canonicalPath(path)
	}
	return warnings, nil
}

// decodeStorageValue turns the sets into their canonical text.
// Source: PVE::Storage::Plugin::decode_value.
func decodeStorageValue(t storageType, key, value string) (decoded string, warnings []string, err error) {
	switch key {
	case "content":
		set := map[string]bool{}
		for _, c := range splitList(value) {
			if slices.Contains(t.content, c) {
				set[c] = true
			} else {
				warnings = append(warnings, fmt.Sprintf("storage does not support content type '%s'", c))
			}
		}
		if set["none"] && len(set) > 1 {
			return "", warnings, errors.New("unable to combine 'none' with other content types")
		}
		if len(set) == 0 && !slices.Contains(t.content, "none") {
			return "", warnings, errors.New("storage does not support content type 'none'")
		}
		return joinSet(set), warnings, nil
	case "format":
		if !slices.Contains(t.formats, value) {
			return "", []string{fmt.Sprintf("storage does not support format '%s'", value)}, nil
		}
	case "nodes":
		set := map[string]bool{}
		for _, n := range splitList(value) {
			set[n] = true
		}
		return joinSet(set), nil, nil
	case "content-dirs":
		dirs := map[string]string{}
		for _, d := range splitList(value) {
			content, dir, _ := strings.Cut(d, "=")
			if !slices.Contains(t.content, content) {
				warnings = append(warnings, fmt.Sprintf("storage does not support content type '%s'", content))
				continue
			}
			dirs[content] = dir
		}
		items := make([]string, 0, len(dirs))
		for _, k := range slices.Sorted(maps.Keys(dirs)) {
			items = append(items, k+"="+dirs[k])
		}
		return strings.Join(items, ","), warnings, nil
	}
	return value, nil, nil
}

// finish does what PVE does after the last section: the last of several
// sections with one ID wins, local is made sure of, and defaults are filled in.
func (r *storageReader) finish() {
	r.ensureLocal()
	c := r.config
	for _, s := range r.byID {
		c.Sections = append(c.Sections, s)
		if s.Malformed != "" {
			continue
		}
		t := c.schema.types[s.Type]
		if _, ok := s.Properties["content"]; !ok {
			s.Properties["content"] = joinList(t.defaultContent)
		}
		if t.implicitShared {
			s.Properties["shared"] = "1"
		}
	}
	slices.SortFunc(c.Sections, func(a, b *StorageSection) int { return a.Order - b.Order })
}

func (r *storageReader) ensureLocal() {
	s := r.byID[LocalStorage]
	r.config.sawLocal = s != nil
	if s == nil || s.Malformed != "" || s.Type != "dir" || s.Properties["path"] != localPath {
		order := 0
		if s != nil {
			order = s.Order
		} else {
			r.order++
			order = r.order
		}
		s = &StorageSection{
			ID: LocalStorage, Type: "dir", Order: order, Injected: true,
			Properties: map[string]string{
				"path":          localPath,
				"prune-backups": "keep-all=1",
				"content":       "backup,images,iso,rootdir,snippets,vztmpl",
			},
		}
		r.byID[LocalStorage] = s
	}
	delete(s.Properties, "nodes")
}

// canonicalPath is File::Spec->canonpath on Unix: it works on the text only.
func canonicalPath(p string) string {
	parts := strings.Split(p, "/")
	out := parts[:0]
	for _, part := range parts {
		if part != "" && part != "." {
			out = append(out, part)
		}
	}
	for len(out) > 0 && out[0] == ".." {
		out = out[1:]
	}
	return "/" + strings.Join(out, "/")
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func joinSet(set map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(set)), ",")
}

func joinList(items []string) string {
	return strings.Join(slices.Sorted(slices.Values(items)), ",")
}

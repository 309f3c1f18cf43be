package v1

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// KindStorageConfig is the kind of the envelope with PVE's reading of a storage.cfg.
const KindStorageConfig = "StorageConfig"

// MaxStorageConfig is how long a storage.cfg may be, in bytes; PVE's cluster file system takes no longer file.
const MaxStorageConfig = 1 << 20

// StorageConfigRequest is the body of POST /v1/storage-config. Nothing of the host is read or changed for it.
type StorageConfigRequest struct {
	// File is the name of the file in the warnings.
	File string `json:"file"`
	// Data are the bytes of the file, 1 MiB at the most.
	Data []byte `json:"data"`
	// Major is the PVE whose reading is wanted: 8 or 9. Without it, it is that of the host.
	Major int `json:"major,omitempty"`
}

// StorageConfig is a storage.cfg as PVE reads it.
type StorageConfig struct {
	// File is the file's name in the warnings.
	File string `json:"file"`
	// Major is the PVE whose reading it is: 8 or 9.
	Major int `json:"major"`
	// Digest is the SHA-1 of the file's bytes, by which PVE tells versions apart.
	Digest string `json:"digest"`
	// Sections are the storages by id, with PVE's defaults. One is null where PVE keeps the id and rejects the section.
	Sections map[string]StorageProperties `json:"sections"`
	// Order is the position in which PVE writes each section, counted from 1.
	Order SectionOrder `json:"order"`
	// Warnings are what PVE logs when it reads the file.
	Warnings []string `json:"warnings"`
	// Hazards are what PVE does not read as it is written, or will not keep.
	Hazards []StorageHazard `json:"hazards"`
	// Writable is false where every change of any storage fails.
	Writable bool `json:"writable"`
	// WriteError is what every change then fails with.
	WriteError string `json:"writeError,omitempty"`
	// Written is what PVE's next change would leave in the file, sets sorted; null where it fails.
	Written *string `json:"written"`
}

// StorageProperties are a section's type and properties: content and nodes are sorted lists, the others texts and numbers.
type StorageProperties map[string]any

// StorageHazard is one place in the file.
type StorageHazard struct {
	Code     string   `json:"code"`
	Effect   Effect   `json:"effect"`
	Severity Severity `json:"severity"`
	// Line is counted from 1; 0 where the hazard has none.
	Line    int    `json:"line"`
	Section string `json:"section,omitempty"`
	Text    string `json:"text"`
}

// SectionOrder holds positions by id.
type SectionOrder map[string]int

// IDs are the ids by position.
func (o SectionOrder) IDs() []string {
	return slices.SortedFunc(maps.Keys(o), func(a, b string) int { return o[a] - o[b] })
}

// MarshalJSON writes the ids in the order of their positions.
func (o SectionOrder) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, id := range o.IDs() {
		key, err := json.Marshal(id)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(o[id])
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

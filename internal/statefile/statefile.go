// Package statefile keeps small values on disk so that they survive a torn write, a full disk and an older or newer
// labd: each file carries its format's version and a checksum, and the copy before it is kept beside it.
package statefile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"
)

// OldSuffix names the copy before the present one.
const OldSuffix = ".old"

// ErrNewer says that the file was written by a newer labd. It is then neither used nor overwritten.
var ErrNewer = errors.New("written by a newer labd")

// File is one file of state. It is safe for concurrent use.
type File struct {
	path    string
	version int
	// Write puts data at path, whole or not at all; it is a field so that tests can make it fail.
	Write func(path string, data []byte) error
	max   int

	mu    sync.Mutex
	valid bool // what is at path can be kept as the old copy
	newer bool
}

// New returns the file at path, in the format of version.
func New(path string, version int) *File {
	return &File{path: path, version: version, Write: writeFile, max: MaxSize}
}

func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(path, data, 0o600)
}

// Name is the file's name without its directory.
func (f *File) Name() string { return filepath.Base(f.path) }

type outer struct {
	Version int             `json:"version"`
	SHA256  string          `json:"sha256"`
	Data    json.RawMessage `json:"data"`
}

// Load reads the value with decode, which is told the version that wrote it and upgrades older ones. Where the file is
// missing nothing is decoded and the error is nil. Where it is damaged the copy before it is decoded, and the error
// says so; where that is damaged too nothing is decoded.
func (f *File) Load(decode func(version int, data []byte) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.valid, f.newer = false, false
	err := f.load(f.path, decode)
	if err == nil {
		f.valid = true
		return nil
	}
	if errors.Is(err, ErrNewer) {
		f.newer = true
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	oldErr := f.load(f.path+OldSuffix, decode)
	switch {
	case errors.Is(err, fs.ErrNotExist) && errors.Is(oldErr, fs.ErrNotExist):
		return nil
	case oldErr == nil:
		return fmt.Errorf("read %s, so the copy before it is used: %w", f.path, err)
	default:
		return fmt.Errorf("read %s, and no usable copy before it: %w", f.path, errors.Join(err, oldErr))
	}
}

func (f *File) load(path string, decode func(int, []byte) error) error {
	raw, err := readFile(path, f.max)
	if err != nil {
		return err
	}
	value, err := open(raw, f.version)
	if err != nil {
		return err
	}
	return decode(value.Version, value.Data)
}

// MaxSize is the most that a file may be, in bytes.
const MaxSize = 64 << 20

// errTooLarge says that a file is, or would be, larger than MaxSize.
var errTooLarge = errors.New("larger than labd's files may be")

func readFile(path string, most int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(raw) > most {
		err = errTooLarge
	}
	return raw, err
}

// open checks the outer object of a file.
func open(raw []byte, known int) (outer, error) {
	var value outer
	if err := json.Unmarshal(raw, &value); err != nil {
		return outer{}, fmt.Errorf("damaged: %w", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value.Data); err != nil {
		return outer{}, fmt.Errorf("damaged: %w", err)
	}
	if sum(compact.Bytes()) != value.SHA256 {
		return outer{}, errors.New("damaged: its checksum does not fit")
	}
	if value.Version > known {
		return outer{}, fmt.Errorf("format %d, known up to %d: %w", value.Version, known, ErrNewer)
	}
	return value, nil
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// Save writes value and keeps what was there as the copy before. When it fails, what was there is still there.
func (f *File) Save(value any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.newer {
		return fmt.Errorf("write %s: %w", f.path, ErrNewer)
	}
	// Compact form without HTML escapes is what json.Compact of the stored text gives back.
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	raw := bytes.TrimSuffix(data.Bytes(), []byte("\n"))
	text := fmt.Appendf(nil, "{\"version\":%d,\"sha256\":%q,\"data\":%s}\n", f.version, sum(raw), raw)
	if len(text) > f.max {
		return fmt.Errorf("write %s: %w", f.path, errTooLarge)
	}
	if f.valid {
		if err := f.keepOld(); err != nil {
			return fmt.Errorf("keep the copy before %s: %w", f.path, err)
		}
	}
	if err := f.Write(f.path, text); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	f.valid = true
	return nil
}

// keepOld gives the present file a second name, so that there is always one of them.
func (f *File) keepOld() error {
	link := f.path + OldSuffix + ".new"
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(f.path, link); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return os.Rename(link, f.path+OldSuffix)
}

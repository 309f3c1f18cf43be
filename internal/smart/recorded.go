package smart

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// OpenRecorded opens a directory of recorded answers, for fixture trees: identify, log-01, log-02, log-03 and log-06, each
// in hexadecimal. Shorter ones are filled with zeros; a page without file is one that the drive does not know.
func OpenRecorded(path string) (Device, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s: no directory of recorded answers", path)
	}
	return recorded(path), nil
}

type recorded string

func (recorded) Close() error { return nil }

func (r recorded) Admin(c Command, data []byte) error {
	name := "identify"
	if c.Opcode == opGetLogPage {
		name = fmt.Sprintf("log-%02x", c.CDW10&0xff)
	}
	text, err := os.ReadFile(filepath.Join(string(r), name))
	if os.IsNotExist(err) {
		return StatusError(0x109) // invalid log page
	}
	if err != nil {
		return err
	}
	bytes, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	copy(data, bytes)
	return nil
}

package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/google/renameio/v2"
)

// fstabLine is one line of fstab(5): its fields with \040 and the like resolved, and its text as written.
type fstabLine struct{ what, point, fsType, options, text string }

var fstabEscapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// parseFstab reads the lines that name a device and a mount point.
func parseFstab(data []byte) []fstabLine {
	var lines []fstabLine
	for text := range strings.Lines(string(data)) {
		text = strings.TrimSuffix(text, "\n")
		fields := strings.Fields(text)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		for len(fields) < 4 {
			fields = append(fields, "")
		}
		lines = append(lines, fstabLine{
			what: fstabEscapes.Replace(fields[0]), point: fstabEscapes.Replace(fields[1]), fsType: fields[2], options: fields[3], text: text,
		})
	}
	return lines
}

// commentMark begins a line that labd has commented out, so that a person and undo know it again.
const commentMark = "# labd: storage gone: "

// commentOut returns a file's text with one line commented out; ok is false when the text does not have it.
func commentOut(data []byte, line string) (changed []byte, ok bool) {
	return replaceLine(data, line, commentMark+line)
}

// uncomment takes commentOut back.
func uncomment(data []byte, line string) (changed []byte, ok bool) {
	return replaceLine(data, commentMark+line, line)
}

// replaceLine exchanges each line that is exactly old; all other bytes stay.
func replaceLine(data []byte, old, text string) (changed []byte, ok bool) {
	var out bytes.Buffer
	for l := range bytes.Lines(data) {
		body, newline := bytes.CutSuffix(l, []byte("\n"))
		if string(body) != old {
			out.Write(l)
			continue
		}
		ok = true
		out.WriteString(text)
		if newline {
			out.WriteByte('\n')
		}
	}
	return out.Bytes(), ok
}

// rewrite exchanges a file's text as a whole or not at all; owner and mode stay.
func rewrite(file string, change func([]byte) ([]byte, bool)) error {
	info, err := os.Lstat(file)
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", file, err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("rewrite %s: it is a link, so another program manages it", file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", file, err)
	}
	changed, ok := change(data)
	if !ok {
		return fmt.Errorf("rewrite %s: %w", file, errNoLine)
	}
	if err := renameio.WriteFile(file, changed, info.Mode().Perm(), renameio.WithStaticPermissions(info.Mode().Perm())); err != nil {
		return fmt.Errorf("rewrite %s: %w", file, err)
	}
	return nil
}

var errNoLine = errors.New("the line is not in it any more")

package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"labd/internal/host"
)

// maxHangs is how many attributes of one drive may hang before the rest is left unread.
const maxHangs = 4

// errGivenUp says why an attribute was not tried.
var errGivenUp = errors.New("not read, since other attributes of the same drive hang")

// attributes reads the attributes of one drive and notes what cannot be read. Each attribute that hangs halves the
// time that the next one gets, so that a drive of which everything hangs takes less than the time given to all of it.
type attributes struct {
	host     *host.Host
	reader   *host.Reader
	timeout  time.Duration
	hangs    int
	gaveUp   bool
	hung     bool // some read hangs, now or since an earlier look
	problems []string
}

// newAttributes gives a drive budget for all its hanging attributes together. close must follow.
func newAttributes(h *host.Host, budget time.Duration) *attributes {
	return &attributes{host: h, reader: h.NewReader(budget / 2), timeout: budget / 2}
}

func (a *attributes) close() { a.reader.Close() }

// do runs one read, and keeps the books of what hangs. That the kernel does not have an attribute is no problem.
func (a *attributes) do(path string, read func(*host.Reader) error) {
	if a.hangs >= maxHangs {
		if !a.gaveUp {
			a.gaveUp = true // said once, not for each attribute
			a.problems = append(a.problems, fmt.Sprintf("read %s and what follows: %v", path, errGivenUp))
		}
		return
	}
	start := time.Now()
	err := read(a.reader)
	a.hung = a.hung || errors.Is(err, host.ErrHung)
	if errors.Is(err, host.ErrHung) && time.Since(start) >= a.timeout { // not one that is known to hang, which costs nothing
		a.hangs++
		a.timeout /= 2
		a.reader.Close()
		a.reader = a.host.NewReader(max(a.timeout, time.Millisecond))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.problems = append(a.problems, err.Error())
	}
}

// get returns an attribute, "" when the kernel does not have it or it cannot be read.
func (a *attributes) get(parts ...string) (value string) {
	path := filepath.Join(parts...)
	a.do(path, func(r *host.Reader) (err error) {
		value, err = r.Attr(path)
		return err
	})
	return value
}

// link returns the last element of where a symbolic link points, "" where there is none.
func (a *attributes) link(parts ...string) string {
	target := a.target(parts...)
	if target == "" {
		return ""
	}
	return filepath.Base(target)
}

// target returns where a symbolic link points, as written.
func (a *attributes) target(parts ...string) (target string) {
	path := filepath.Join(parts...)
	a.do(path, func(r *host.Reader) (err error) {
		target, err = r.Link(path)
		return err
	})
	return target
}

// names returns the names in a directory.
func (a *attributes) names(parts ...string) (names []string) {
	path := filepath.Join(parts...)
	a.do(path, func(r *host.Reader) (err error) {
		names, err = r.Names(path)
		return err
	})
	return names
}

func (a *attributes) number(parts ...string) int64 {
	n, err := strconv.ParseInt(a.get(parts...), 0, 64)
	if err != nil {
		return 0
	}
	return n
}

func (a *attributes) id(parts ...string) uint16 {
	n, err := strconv.ParseUint(a.get(parts...), 0, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultReadTimeout is how long one read of a file may take before it is given up.
const DefaultReadTimeout = time.Second

// MaxFile is the most that a Reader returns of one file, in bytes. pmxcfs limits its files to the same size
// (pve-cluster memdb.h).
const MaxFile = 1 << 20

// ErrHung says that a read did not return in time. The thread that it blocks stays lost until the kernel lets go, so
// the same path is not tried again before that.
var ErrHung = errors.New("read hangs")

// MaxTable is the most that ReadTable reads of one file, in bytes. A line of /proc/net/unix or mountinfo is some hundred
// of them, and both tables have as many lines as somebody on the host wants.
const MaxTable = 64 << 20

// MaxNames is the most that a Reader returns of one directory.
const MaxNames = 100_000

// ErrTooLarge says that a file is larger than its limit (MaxFile, MaxTable), or a directory than MaxNames.
var ErrTooLarge = errors.New("it is larger than labd reads")

// Reader reads files one after another, each with a deadline. A read that hangs costs one goroutine and spoils only
// its own result: the Reader goes on with a new goroutine. A Reader is not safe for concurrent use; Close ends it.
type Reader struct {
	host    *Host
	timeout time.Duration
	timer   *time.Timer
	work    chan readJob
}

type readJob struct {
	do    func() (any, error)
	reply chan readResult
}

type readResult struct {
	value any
	err   error
}

// NewReader returns a Reader whose every operation may take timeout; zero means DefaultReadTimeout.
func (h *Host) NewReader(timeout time.Duration) *Reader {
	if timeout <= 0 {
		timeout = DefaultReadTimeout
	}
	r := &Reader{host: h, timeout: timeout, timer: time.NewTimer(timeout)}
	r.start()
	return r
}

// Close ends the Reader's goroutine.
func (r *Reader) Close() {
	close(r.work)
	r.timer.Stop()
}

func (r *Reader) start() {
	work := make(chan readJob)
	r.work = work
	go func() {
		for job := range work {
			value, err := job.do()
			job.reply <- readResult{value, err}
		}
	}()
}

// run does one operation on path with the deadline, and never while an earlier one on the same path still hangs.
func (r *Reader) run(path string, do func() (any, error)) (any, error) {
	if r.host.isHung(path) {
		return nil, &fs.PathError{Op: "read", Path: path, Err: ErrHung}
	}
	reply := make(chan readResult, 1)
	r.work <- readJob{do, reply}
	r.timer.Reset(r.timeout)
	select {
	case res := <-reply:
		return res.value, res.err
	case <-r.timer.C:
	}
	r.host.markHung(path)
	abandoned := r.work
	go func() {
		<-reply
		r.host.clearHung(path)
		close(abandoned)
	}()
	r.start()
	return nil, &fs.PathError{Op: "read", Path: path, Err: ErrHung}
}

// File returns the content of a file of at most MaxFile bytes.
func (r *Reader) File(path string) ([]byte, error) {
	value, err := r.run(path, func() (any, error) { return readFile(path) })
	data, _ := value.([]byte)
	return data, err
}

// Head returns the first bytes of a file or block device: size of them, or all that there are.
func (r *Reader) Head(path string, size int) ([]byte, error) {
	value, err := r.run(path, func() (any, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, int64(size)))
	})
	data, _ := value.([]byte)
	return data, err
}

// Attr returns the content of a one-line file without surrounding white space, as sysfs attributes are read.
func (r *Reader) Attr(path string) (string, error) {
	data, err := r.File(path)
	return strings.TrimSpace(string(data)), err
}

// Link returns where a symbolic link points, as written.
func (r *Reader) Link(path string) (string, error) {
	value, err := r.run(path, func() (any, error) { return os.Readlink(path) })
	target, _ := value.(string)
	return target, err
}

// Names returns the names in a directory, sorted, of which there may be MaxNames.
func (r *Reader) Names(path string) ([]string, error) {
	value, err := r.run(path, func() (any, error) { return readNames(path) })
	names, _ := value.([]string)
	return names, err
}

func readNames(path string) ([]string, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(MaxNames + 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if len(names) > MaxNames {
		return nil, &fs.PathError{Op: "read", Path: path, Err: ErrTooLarge}
	}
	slices.Sort(names)
	return names, err
}

// Stat follows links and returns what is at path.
func (r *Reader) Stat(path string) (fs.FileInfo, error) {
	value, err := r.run(path, func() (any, error) { return os.Stat(path) })
	info, _ := value.(fs.FileInfo)
	return info, err
}

// Hung is how many reads block a thread right now.
func (h *Host) Hung() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.hung)
}

func (h *Host) isHung(path string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.hung[path]
	return ok
}

func (h *Host) markHung(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hung[path] = time.Now()
}

func (h *Host) clearHung(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.hung, path)
}

// readFile reads a file by plain system calls: with thousands of small attributes, what package os does besides (fstat, an
// attempt to have it polled) is half of the time.
func readFile(path string) ([]byte, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, 512)
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
		if err != nil {
			return buf, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
		if len(buf) > MaxFile {
			return nil, &fs.PathError{Op: "read", Path: path, Err: ErrTooLarge}
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

// retry does a system call again when a signal came in between.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// ReadFile reads one file with the default deadline, or less when ctx ends sooner.
func (h *Host) ReadFile(ctx context.Context, path string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	timeout := DefaultReadTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(deadline)), time.Millisecond)
	}
	r := h.NewReader(timeout)
	defer r.Close()
	return r.File(path)
}

// ReadTable has parse read a table of the kernel line by line, of MaxTable bytes at most, with the default deadline, or less
// when ctx ends sooner. A table that is larger is an error: a part of it would look like the whole. parse must keep to itself,
// since it is left alone with a file that hangs.
func ReadTable[T any](ctx context.Context, h *Host, path string, parse func(io.Reader) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultReadTimeout)
	defer cancel()
	return Bounded(ctx, h, path, func() (value T, err error) {
		f, err := os.Open(path)
		if err != nil {
			return value, err
		}
		defer f.Close()
		limit := &limitedReader{r: f, left: MaxTable}
		value, err = parse(limit)
		if limit.left < 0 {
			var none T
			return none, &fs.PathError{Op: "read", Path: path, Err: ErrTooLarge}
		}
		return value, err
	}, nil)
}

// limitedReader fails, instead of ending, where there is more than allowed.
type limitedReader struct {
	r    io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, ErrTooLarge
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}

// Part returns size bytes of a file or block device from an offset on, or fewer where it ends.
func (r *Reader) Part(path string, offset int64, size int) ([]byte, error) {
	value, err := r.run(path, func() (any, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		data, err := io.ReadAll(io.NewSectionReader(f, offset, int64(size)))
		return data, err
	})
	data, _ := value.([]byte)
	return data, err
}

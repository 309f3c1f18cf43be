package host

import (
	"context"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// WriteAttr writes text to a sysfs attribute in one write(2), as the kernel wants it; the attribute must exist. A write that
// does not return before ctx ends is left to go on, and fails with ErrHung: whether it took effect is then not known.
func (h *Host) WriteAttr(ctx context.Context, path, text string) error {
	if h.isHung(path) {
		return &fs.PathError{Op: "write", Path: path, Err: ErrHung}
	}
	done := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		_, err = f.WriteString(text)
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	h.markHung(path)
	go func() {
		<-done
		h.clearHung(path)
	}()
	return fmt.Errorf("%w: %w", &fs.PathError{Op: "write", Path: path, Err: ErrHung}, context.Cause(ctx))
}

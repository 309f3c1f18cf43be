package host

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// WriteAttr writes text to a sysfs attribute in one write(2), as the kernel wants it; the attribute must exist. A write that
// does not return before ctx ends is left to go on, and fails with ErrHung: whether it took effect is then not known.
func (h *Host) WriteAttr(ctx context.Context, path, text string) error {
	_, err := Bounded(ctx, h, path, func() (struct{}, error) { return struct{}{}, writeAttr(path, text) }, nil)
	return err
}

func writeAttr(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

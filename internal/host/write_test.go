package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWriteAttr(t *testing.T) {
	h := New(DefaultPaths(), "")
	file := filepath.Join(t.TempDir(), "attribute")
	if err := h.WriteAttr(t.Context(), file, "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such attribute: %v", err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteAttr(t.Context(), file, "1"); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "1" {
		t.Errorf("%q %v", data, err)
	}
}

// A write that the kernel does not return from is given up, and not tried again before it does.
func TestWriteAttrHangs(t *testing.T) {
	h := New(DefaultPaths(), "")
	pipe := filepath.Join(t.TempDir(), "attribute")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := h.WriteAttr(ctx, pipe, "1"); !errors.Is(err, ErrHung) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := h.WriteAttr(t.Context(), pipe, "1"); !errors.Is(err, ErrHung) || h.Hung() != 1 {
		t.Errorf("a second write: %v, %d hung", err, h.Hung())
	}
	r, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for deadline := time.Now().Add(5 * time.Second); h.Hung() != 0 && time.Now().Before(deadline); {
		<-time.After(time.Millisecond)
	}
	if h.Hung() != 0 {
		t.Error("the write still hangs")
	}
}

package pve

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A secret is written whole, with no copy beside it, and what a killed labd left goes.
func TestWriteClusterFile(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "priv/storage")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"vault.pw.tmp.labd-99": "half", "vault.pw.bak": "a person's"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteClusterFile(t.Context(), root, "priv/storage/vault.pw", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 2 {
		t.Errorf("there are %v (%v)", names, err)
	}
	info, err := os.Stat(filepath.Join(dir, "vault.pw"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	// A context that has ended leaves the file as it was, and nothing beside it.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := WriteClusterFile(ctx, root, "priv/storage/vault.pw", []byte("other")); !errors.Is(err, context.Canceled) {
		t.Errorf("without time: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "vault.pw")); err != nil || string(text) != "secret" {
		t.Errorf("it holds %q (%v)", text, err)
	}
}

// A cluster file system that hangs costs the deadline, and the outcome is not known.
func TestBounded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	release := make(chan struct{})
	defer close(release)
	if err := bounded(ctx, "write x", func() error { <-release; return nil }); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
}

package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What the tests of a small package notice and what not, mutant by mutant.
func TestSurvivors(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a test binary")
	}
	equivalent := filepath.Join(t.TempDir(), "equivalent.txt")
	const known = "labd/test/mutants/testdata/guards/guards.go Refuse: never: n == 8"
	if err := os.WriteFile(equivalent, []byte("# a note\n\n"+known+" ## eight is as good as seven\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-equivalent", equivalent, "-at-least", "50", "./testdata/guards"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	columns := regexp.MustCompile(` {2,}`)
	got := strings.Split(strings.TrimSpace(columns.ReplaceAllString(strings.ReplaceAll(out.String(), "labd/test/mutants/testdata/guards/guards.go ", ""), " ")), "\n")
	for i := range got {
		got[i] = strings.TrimSpace(got[i])
	}
	want := []string{
		`survives guards.go:9 Refuse: never: force`,
		`survives guards.go:12 Refuse: left side only: !Between(n) && n != 42`,
		`not reached guards.go:26 Idle: negated: n < 0`,
		`not reached guards.go:26 Idle: never: n < 0`,
		`not reached guards.go:26 Idle: <= for <: n < 0`,
	}
	last := got[len(got)-1]
	if diff := cmp.Diff(want, got[:len(got)-1]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !strings.HasSuffix(last, "1 equivalent") || !strings.Contains(last, "killed") {
		t.Errorf("last line %q", last)
	}
	// Too few, and a mutant that there is not.
	if err := os.WriteFile(equivalent, []byte("labd/test/mutants/testdata/guards/guards.go Refuse: never: n == 9 ## a reason\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), []string{"-equivalent", equivalent, "-at-least", "95", "./testdata/guards"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "less than 95 %") || !strings.Contains(err.Error(), "names a mutant that there is not") {
		t.Errorf("got %v", err)
	}
}

// A mutant that is said to be equivalent has a reason.
func TestEquivalentsHaveReasons(t *testing.T) {
	if _, err := readEquivalent("equivalent.txt"); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "equivalent.txt")
	for _, text := range []string{"some mutant\n", "some mutant ## \n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readEquivalent(file); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

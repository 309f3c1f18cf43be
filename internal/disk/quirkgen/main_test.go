package main

import (
	"bytes"
	"os"
	"testing"
)

// The checked-in table is what the generator makes of the checked-in source.
func TestTableIsCurrent(t *testing.T) {
	source, err := os.ReadFile("../quirks.tsv")
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate(string(source))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../quirks_table.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("quirks_table.go is not what quirks.tsv says: run go generate ./internal/disk")
	}
}

func TestBadTable(t *testing.T) {
	for _, table := range []string{"kind\n", "nonsense\tline\n", "\t\t\t\n"} {
		if out, err := generate(table); err == nil {
			t.Errorf("%q gives %q", table, out)
		}
	}
}

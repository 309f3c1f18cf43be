package pve

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An entry made again from its parameters is the entry.
func TestCreateParamsRoundTrip(t *testing.T) {
	const text = "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\n" +
		"nfs: nas\n\tdisable\n\texport /e\n\tpath /mnt/pve/nas\n\tserver 192.0.2.1\n\tcontent backup,iso\n\tnodes pve1,pve2\n\n" +
		"zfspool: tank\n\tpool tank/vm\n\tcontent images\n\tsparse 1\n\n"
	c := ParseStorageConfig([]byte(text), StorageConfigOptions{})
	for _, id := range []string{"nas", "tank"} {
		params, err := c.CreateParams(id)
		if err != nil {
			t.Fatal(err)
		}
		params["storage"] = id
		if bad := c.CheckCreate(params); len(bad) > 0 {
			t.Fatalf("%s: PVE would reject %v", id, bad)
		}
		s, err := c.NewSection(id, params["type"], params)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Remove(id); err != nil {
			t.Fatal(err)
		}
		if err := c.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Text()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, got); diff != "" {
		t.Error(diff)
	}
}

func TestMalformedSectionIsRepairedByAdding(t *testing.T) {
	c := ParseStorageConfig([]byte("dir: bad\n\ndir: local\n\tpath /var/lib/vz\n\tcontent iso\n\n"), StorageConfigOptions{})
	if err := c.Remove("local"); err == nil || err.Error() != "storage 'bad' does not exist" {
		t.Errorf("Remove() = %v", err)
	}
	s, err := c.NewSection("bad", "dir", map[string]string{"path": "/x", "content": "iso"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Add(s); err != nil {
		t.Fatal(err)
	}
	got, err := c.Text()
	if want := "dir: bad\n\tpath /x\n\tcontent iso\n\ndir: local\n\tpath /var/lib/vz\n\tcontent iso\n\n"; err != nil || got != want {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
}

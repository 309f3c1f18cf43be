package pve

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseJobs(t *testing.T) {
	jobs := ParseJobs([]byte("vzdump: backup-1\n\tschedule 02:00\n\tstorage usb1\n\tfleecing enabled=1,storage=fast\n\tstorage other\n\n" +
		"realm-sync: ldap\n\trealm x\n\nvzdump: backup-2\n\tenabled 0\n\nvzdump: backup-3\n\tdumpdir /mnt/x\n\nvzdump: backup-1\n\tstorage last\n\tenabled\n"))
	type short struct {
		Type, ID, Storage string
		Line              int
		Enabled           bool
	}
	var got []short
	for _, j := range jobs {
		id, _ := j.Section.Get("storage")
		got = append(got, short{j.Type, j.ID, id, j.Line, j.Enabled})
	}
	want := []short{
		{"vzdump", "backup-1", "last", 16, true}, // the second section of that name takes the place of the first
		{"realm-sync", "ldap", "", 7, true},
		{"vzdump", "backup-2", "", 10, false},
		{"vzdump", "backup-3", "", 13, true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, value := range []string{"enabled=1,storage=fast", "1, storage=fast"} {
		if f := fleecingStorage(value); f != "fast" {
			t.Errorf("fleecing %s: on %q", value, f)
		}
	}
}

func TestParseReplicationConfig(t *testing.T) {
	got := ParseReplicationConfig([]byte("local: 100-0\n\ttarget pve2\n\tsource pve1\n\tschedule */15\n\n" +
		"local: 101-1\n\tdisable\n\tremove_job full\n\ttarget pve3\n\nlocal: 102\n\ttarget pve3\n\nother: 103-0\n\ttarget pve3\n"))
	want := []ReplicationJob{
		{ID: "100-0", Guest: 100, Line: 1, Target: "pve2", Source: "pve1"},
		{ID: "101-1", Guest: 101, Line: 6, Target: "pve3", Disabled: true, Removing: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseDirectoryMappings(t *testing.T) {
	got := ParseDirectoryMappings([]byte("share\n\tdescription a b\n\tmap node=pve1,path=/mnt/pve/usb1\n#map node=x\n\tmap path=/srv, node=pve2\n\n\tmap node=pve3,path=/lost\nno header\n\nlast\n"))
	want := []DirectoryMapping{
		{ID: "share", Line: 1, Maps: []DirectoryMap{
			{Node: "pve1", Path: "/mnt/pve/usb1", Value: "node=pve1,path=/mnt/pve/usb1", Line: 3},
			{Node: "pve2", Path: "/srv", Value: "path=/srv, node=pve2", Line: 5},
		}},
		{ID: "last", Line: 10},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestParseVzdumpConfig(t *testing.T) {
	c := ParseVzdumpConfig([]byte("# vzdump default settings\n\n#storage: old\nstorage: usb1\n  tmpdir:/mnt/pve/usb1/tmp \r\nno colon\nbad key: x\nfleecing: enabled=1,storage=fast\nstorage: usb2\n: x\n"))
	last := map[string]string{}
	for _, property := range c.Properties {
		last[property.Key] = property.Value
	}
	want := map[string]string{"storage": "usb2", "tmpdir": "/mnt/pve/usb1/tmp", "fleecing": "enabled=1,storage=fast"}
	if diff := cmp.Diff(want, last); diff != "" {
		t.Error(diff)
	}
	if len(c.Properties) != 4 || c.Properties[0].Line != 4 {
		t.Errorf("%+v", c.Properties)
	}
}

// The grammars of all other files: none panics, and every line that is reported is in the file.
func FuzzParseOtherFiles(f *testing.F) {
	for _, seed := range []string{
		"vzdump: backup-1\n\tstorage usb1\n\tfleecing 1,storage=x\n", "local: 100-0\n\ttarget pve2\n", "share\n\tmap node=a,path=/x\n",
		"storage: usb1\n", "[snap]\nide2: usb1:iso/x.iso\n", "0 2 * * 6 root vzdump --storage usb1\n", "\ufeff", "a:b:c\n0\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := 1
		for _, c := range data {
			if c == '\n' {
				lines++
			}
		}
		check := func(line int) {
			if line < 1 || line > lines {
				t.Fatalf("line %d of %d", line, lines)
			}
		}
		for _, j := range ParseJobs(data) {
			check(j.Line)
		}
		for _, j := range ParseReplicationConfig(data) {
			check(j.Line)
		}
		for _, m := range ParseDirectoryMappings(data) {
			check(m.Line)
			for _, d := range m.Maps {
				check(d.Line)
			}
		}
		for _, p := range ParseVzdumpConfig(data).Properties {
			check(p.Line)
		}
		for _, kind := range []GuestKind{QEMU, LXC} {
			c := ParseGuestConfig(kind, data)
			for _, s := range c.Sections {
				for _, p := range s.Properties {
					check(p.Line)
				}
			}
		}
		x := &ReferenceIndex{byID: map[string][]Reference{}}
		x.addCron("vzdump.cron", data)
		x.addStorages("storage.cfg", data)
		_ = x.Of("usb1", "/mnt")
		_, _ = ParseMembers(data)
		_ = ParseCorosyncNodes(data)
		_, _ = ParseVersionModule(data)
	})
}

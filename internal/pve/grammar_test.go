package pve

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func warningTexts(c *StorageConfig) string {
	var b strings.Builder
	for _, w := range c.Warnings {
		b.WriteString(w.Text + "\n")
	}
	return b.String()
}

func TestStorageConfigCorners(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		major    int
		warnings string
		written  string // without the injected local
	}{
		{
			name:     "a line that is exactly 0 ends a section",
			in:       "dir: usb1\n\tpath /mnt/usb1\n0\n\tnodes pve1\n",
			warnings: "file storage.cfg line 4 - ignore config line: \tnodes pve1\n",
			written:  "dir: usb1\n\tpath /mnt/usb1\n\tcontent images,rootdir\n\n",
		},
		{
			name:     "comments vanish inside a section, 00 does not end it",
			in:       "dir: usb1\n  # why\n\tpath /mnt/usb1\n00\n\tnodes pve1\n",
			warnings: "file storage.cfg line 4 (section 'usb1') - ignore config line: 00\n",
			written:  "dir: usb1\n\tpath /mnt/usb1\n\tcontent images,rootdir\n\tnodes pve1\n\n",
		},
		{
			name:    "glusterfs is valid on 8",
			in:      "glusterfs: gl\n\tserver 192.0.2.1\n\tvolume v\n\tmaxfiles 03\n",
			major:   8,
			written: "glusterfs: gl\n\tpath /mnt/pve/gl\n\tvolume v\n\tcontent images\n\tmaxfiles 3\n\tserver 192.0.2.1\n\n",
		},
		{
			name: "btrfs has neither bandwidth limits nor content directories; names of Ceph file systems are checked",
			in:   "btrfs: b1\n\tpath /b\n\tbwlimit default=1\n\tcontent-dirs iso=x\n\tnocow 1\n\ncephfs: c1\n\tfs-name 9\n\tcontent backup\n",
			warnings: "file storage.cfg line 3 (section 'b1') - unable to parse value of 'bwlimit': unexpected property 'bwlimit'\n" +
				"file storage.cfg line 4 (section 'b1') - unable to parse value of 'content-dirs': unexpected property 'content-dirs'\n" +
				"file storage.cfg line 8 (section 'c1') - unable to parse value of 'fs-name': invalid format - invalid configuration ID '9'\n",
			written: "btrfs: b1\n\tpath /b\n\tcontent images,rootdir\n\tnocow 1\n\ncephfs: c1\n\tpath /mnt/pve/c1\n\tcontent backup\n\n",
		},
		{
			name: "image formats, overrides and retention are checked as PVE does",
			in: "btrfs: b1\n\tpath /b\n\tformat qcow2\n\nnfs: n1\n\tserver a\n\texport /e\n\tformat raw\n\tcontent-dirs iso=a.\n" +
				"\tprune-backups keep-all=1,keep-last=2\n\ndir: d1\n\tpath /d\n\tprune-backups keep-all=1,keep-last=0\n\tcontent-dirs iso=.a/b\n",
			warnings: "storage does not support format 'qcow2'\n" +
				"file storage.cfg line 9 (section 'n1') - unable to parse value of 'content-dirs': invalid format - invalid override 'iso=a.'\n" +
				"file storage.cfg line 10 (section 'n1') - unable to parse value of 'prune-backups': invalid format - keep-all cannot be set together with other options.\n",
			written: "btrfs: b1\n\tpath /b\n\tcontent images,rootdir\n\n" +
				"nfs: n1\n\texport /e\n\tpath /mnt/pve/n1\n\tserver a\n\tcontent images\n\tformat raw\n\n" +
				"dir: d1\n\tpath /d\n\tcontent images,rootdir\n\tcontent-dirs iso=.a/b\n\tprune-backups keep-all=1,keep-last=0\n\n",
		},
		{
			name:     "greedy type",
			in:       "dir:a:bb\n\tpath /x\n",
			warnings: "file storage.cfg line 1 (skip section 'bb'): unsupported type 'dir:a'\n",
		},
		{
			name:     "byte order mark",
			in:       "\ufeffdir: usb1\n\tpath /x\n",
			warnings: "file storage.cfg line 1 (skip section 'usb1'): unsupported type '\ufeffdir'\n",
		},
		{
			name: "a property of another type, a key without value, bad number and enumeration",
			in:   "dir: usb1\n\tpath /x\n\tvgname vg\n\tbwlimit\n\tmax-protected-backups -2\n\tpreallocation some\n\tmkdir\n",
			warnings: "file storage.cfg line 3 (section 'usb1') - unable to parse value of 'vgname': unexpected property 'vgname'\n" +
				"file storage.cfg line 4 (section 'usb1') - unable to parse value of 'bwlimit': got undefined value\n" +
				"file storage.cfg line 5 (section 'usb1') - unable to parse value of 'max-protected-backups': value must have a minimum value of -1\n" +
				"file storage.cfg line 6 (section 'usb1') - unable to parse value of 'preallocation': value 'some' does not have a value in the enumeration 'off, metadata, falloc, full'\n",
			written: "dir: usb1\n\tpath /x\n\tcontent images,rootdir\n\tmkdir 1\n\n",
		},
		{
			name:    "rbd hyper-converged; esxi is not shared by nature",
			in:      "rbd: ceph\n\tpool rbd\n\nesxi: vmw\n\tserver 192.0.2.5\n\tusername root\n",
			written: "rbd: ceph\n\tcontent images\n\tpool rbd\n\nesxi: vmw\n\tserver 192.0.2.5\n\tusername root\n\tcontent import\n\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := ParseStorageConfig([]byte(tc.in), StorageConfigOptions{Major: tc.major})
			if diff := cmp.Diff(tc.warnings, warningTexts(c)); diff != "" {
				t.Errorf("warnings:\n%s", diff)
			}
			text, err := c.Text()
			if err != nil {
				t.Fatal(err)
			}
			text, _, _ = strings.Cut(text, "dir: local\n")
			if diff := cmp.Diff(tc.written, text); diff != "" {
				t.Errorf("written:\n%s", diff)
			}
		})
	}
}

func TestMalformedSectionBlocksWriting(t *testing.T) {
	for in, want := range map[string]string{
		"dir: usb1\n\tpath /mnt/with blank\n":        "illegal path for directory storage: /mnt/with blank",
		"dir: usb1\n\tpath /mnt/x # the disk\n":      "illegal path for directory storage: /mnt/x # the disk",
		"lvm: usb1\n\tvgname vg\n\tcontent none\n":   "storage does not support content type 'none'",
		"dir: usb1\n\tpath /x\n\tcontent none,iso\n": "unable to combine 'none' with other content types",
		"nfs: usb1\n\texport /e\n":                   "missing value for required option 'server'",
	} {
		c := ParseStorageConfig([]byte(in), StorageConfigOptions{})
		if s := c.Section("usb1"); s == nil || s.Malformed != want {
			t.Errorf("%q: got %+v, want malformed %q", in, s, want)
		}
		if _, err := c.Text(); err == nil {
			t.Errorf("%q: can be written", in)
		}
	}
}

func TestMalformedLocalHealsItself(t *testing.T) {
	c := ParseStorageConfig([]byte("dir: local\n\nnfs: n\n\tserver a\n\texport /e\n"), StorageConfigOptions{})
	if s := c.Section("local"); s.Malformed != "" || !s.Injected || s.Order != 1 {
		t.Errorf("local = %+v", s)
	}
}

func TestSectionMountPoint(t *testing.T) {
	for value, want := range map[string]string{"": "", "no": "", "0": "", "yes": "/p", "1": "/p", "on": "/p", "/mnt/x": "/mnt/x"} {
		s := &StorageSection{Properties: map[string]string{"path": "/p", "is_mountpoint": value}}
		if got := s.MountPoint(); got != want {
			t.Errorf("is_mountpoint %q: %q, want %q", value, got, want)
		}
	}
}

func FuzzParseStorageConfig(f *testing.F) {
	files, _ := filepath.Glob("testdata/storage_cfg/*.cfg")
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("dir:a:b\n0\n \n\tx\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, major := range []int{8, 9} {
			c := ParseStorageConfig(data, StorageConfigOptions{Major: major})
			text, err := c.Text()
			blocked := slices.ContainsFunc(c.Hazards(data), func(h Hazard) bool { return h.Effect == Blocks })
			if blocked != (err != nil) {
				t.Fatalf("writing fails with %v, hazards %+v", err, c.Hazards(data))
			}
			if err != nil {
				continue
			}
			// What PVE writes, it reads back without a word and writes again. The
			// exception is PVE's own: "//" passes the check, is normalised to
			// "/", and that does not pass.
			if strings.Contains(text, "\tpath /\n") {
				continue
			}
			again := ParseStorageConfig([]byte(text), StorageConfigOptions{Major: major})
			if len(again.Warnings) > 0 {
				t.Fatalf("warnings about PVE's own text: %v\n%q", again.Warnings, text)
			}
			second, err := again.Text()
			if err != nil || second != text {
				t.Fatalf("second writing differs (%v):\n%q\n%q", err, text, second)
			}
		}
	})
}

package pve

import "slices"

// property is the schema of one property of storage.cfg. All properties share
// one name space: the same name means the same thing in every storage type.
// Source: the properties() of PVE::Storage::Plugin and its subclasses.
type property struct {
	kind   kind
	format func(string) error // nil: any text
	list   bool               // format holds for each item of a list
	enum   []string
	min    int
	max    int // 0: none
}

type kind int

const (
	kindString kind = iota
	kindBool
	kindInt
)

// option says how a storage type uses a property.
type option uint8

const (
	required option = 1 << iota // the section is rejected without it
	fixed                       // cannot be changed after creation
)

// storageType is what PVE's plugin of that type declares.
type storageType struct {
	options        map[string]option
	content        []string // allowed content types
	defaultContent []string
	formats        []string // image formats, for the property "format"
	implicitShared bool
	defaultPath    bool // path defaults to /mnt/pve/ID
	checkedPath    bool // path is held to a plain directory name
}

// storageProperties returns the schema of every property that PVE of that
// major knows.
func storageProperties(major int) map[string]property {
	boolean := property{kind: kindBool}
	text := property{}
	path := property{format: checkPath}
	vgname := property{format: checkVGName}
	server := property{format: checkServer}
	p := map[string]property{
		"type":    text,
		"storage": {format: CheckStorageID},
		"nodes":   {format: checkNodeName, list: true},
		"content": {format: checkContentType, list: true},
		"disable": boolean, "shared": boolean,
		"prune-backups":         {format: checkPruneBackups},
		"max-protected-backups": {kind: kindInt, min: -1},
		"subdir":                path,
		"format":                {enum: []string{"raw", "qcow2", "subvol", "vmdk"}},
		"preallocation":         {enum: []string{"off", "metadata", "falloc", "full"}},
		"content-dirs":          {format: checkContentDir, list: true},
		"options":               {format: checkMountOptions},
		"port":                  {kind: kindInt, min: 1, max: 65535},
		"path":                  path, "mkdir": boolean, "create-base-path": boolean, "create-subdirs": boolean,
		"is_mountpoint": text, "bwlimit": {format: checkBandwidth}, "nocow": boolean,
		"server": server, "export": path,
		"share": text, "username": text, "password": text, "domain": text,
		"smbversion": {enum: []string{"default", "2.0", "2.1", "3", "3.0", "3.11"}},
		"monhost":    {format: checkPortal, list: true}, "keyring": text, "fuse": boolean, "fs-name": {format: checkConfigID},
		"pool": text, "data-pool": text, "namespace": text, "krbd": boolean, "authsupported": text,
		"vgname": vgname, "base": {format: checkVolumeID}, "saferemove": boolean, "saferemove_throughput": text,
		"tagged_only": boolean, "thinpool": vgname,
		"blocksize": text, "sparse": boolean, "mountpoint": path,
		"portal": {format: checkPortal}, "target": text, "iscsiprovider": text, "nowritecache": boolean,
		"comstar_hg": text, "comstar_tg": text, "lio_tpg": text,
		"datastore": text, "encryption-key": text, "master-pubkey": text, "fingerprint": {format: checkFingerprint},
		"skip-cert-verification": boolean,
	}
	if major >= 9 {
		p["snapshot-as-volume-chain"] = boolean
		p["saferemove-stepsize"] = property{enum: []string{"1", "2", "4", "8", "16", "32"}}
		p["zfs-base-path"] = path
	} else {
		p["maxfiles"] = property{kind: kindInt}
		p["server2"] = server
		p["volume"] = text
		p["transport"] = property{enum: []string{"tcp", "rdma", "unix"}}
	}
	return p
}

// storageTypes returns the storage types built into PVE of that major, with
// their options. Properties without a value in opts are optional.
// Source: options() and plugindata() of the plugins of libpve-storage-perl;
// glusterfs left with 9.0.
func storageTypes(major int) map[string]storageType {
	all := []string{"images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import"}
	withNone := append(slices.Clone(all), "none")
	disks := []string{"images", "rootdir"}
	images := []string{"images"}
	files := []string{"raw", "qcow2", "vmdk"}

	dirSet := []string{
		"prune-backups", "max-protected-backups", "format", "mkdir", "create-base-path", "create-subdirs",
	}
	mountSet := append(slices.Clone(dirSet), "content-dirs", "bwlimit", "preallocation", "options")

	t := map[string]storageType{
		"dir": {
			options: options([]string{"path"}, nil, dirSet,
				[]string{"content-dirs", "shared", "is_mountpoint", "bwlimit", "preallocation"}),
			content: withNone, defaultContent: disks, formats: append(slices.Clone(files), "subvol"), checkedPath: true,
		},
		"btrfs": {
			options: options([]string{"path"}, nil, dirSet,
				[]string{"shared", "is_mountpoint", "nocow", "preallocation"}),
			content: withNone, defaultContent: disks, formats: []string{"raw", "subvol"}, checkedPath: true,
		},
		"nfs": {
			options: options([]string{"path", "server", "export"}, nil, mountSet),
			content: all, defaultContent: images, formats: files, implicitShared: true, defaultPath: true,
		},
		"cifs": {
			options: options([]string{"path", "server", "share"}, nil, mountSet,
				[]string{"subdir", "username", "password", "domain", "smbversion"}),
			content: all, defaultContent: images, formats: files, implicitShared: true, defaultPath: true,
		},
		"cephfs": {
			options: options([]string{"path"}, nil, dirSet, []string{
				"monhost", "subdir", "options", "username", "keyring", "fuse", "fs-name", "content-dirs", "bwlimit",
			}),
			content:        []string{"vztmpl", "iso", "backup", "snippets", "import"},
			defaultContent: []string{"backup"}, implicitShared: true, defaultPath: true,
		},
		"rbd": {
			options: options(nil, nil,
				[]string{"pool", "data-pool", "namespace", "monhost", "username", "krbd", "keyring", "bwlimit"}),
			content: disks, defaultContent: images, implicitShared: true,
		},
		"lvm": {
			options: options([]string{"vgname"}, []string{"base"},
				[]string{"shared", "saferemove", "saferemove_throughput", "tagged_only", "bwlimit"}),
			content: disks, defaultContent: images,
		},
		"lvmthin": {
			options: options([]string{"thinpool", "vgname"}, nil, []string{"bwlimit"}),
			content: disks, defaultContent: disks,
		},
		"zfspool": {
			options: options([]string{"pool"}, nil, []string{"blocksize", "sparse", "bwlimit", "mountpoint"}),
			content: disks, defaultContent: disks,
		},
		"zfs": {
			options: options([]string{"portal", "target", "pool", "blocksize", "iscsiprovider"}, nil,
				[]string{"nowritecache", "sparse", "comstar_hg", "comstar_tg", "lio_tpg", "bwlimit"}),
			content: images, defaultContent: images, implicitShared: true,
		},
		"iscsi": {
			options: options([]string{"portal", "target"}, nil, []string{"bwlimit"}),
			content: []string{"images", "none"}, defaultContent: images, implicitShared: true,
		},
		"iscsidirect": {
			options: options([]string{"portal", "target"}, nil, []string{"bwlimit"}),
			content: []string{"images", "none"}, defaultContent: images, implicitShared: true,
		},
		"pbs": {
			options: options([]string{"server", "datastore"}, nil, []string{
				"namespace", "port", "username", "password", "encryption-key", "master-pubkey", "prune-backups",
				"max-protected-backups", "fingerprint",
			}),
			content: []string{"backup", "none"}, defaultContent: []string{"backup"}, implicitShared: true,
		},
		"esxi": {
			options: options(nil, nil, []string{"password", "skip-cert-verification", "port", "shared"}),
			content: []string{"import"}, defaultContent: []string{"import"}, formats: files,
		},
	}
	t["esxi"].options["server"] = required
	t["esxi"].options["username"] = required
	if major >= 9 {
		t["zfs"].options["zfs-base-path"] = 0
		t["lvm"].options["saferemove-stepsize"] = 0
		t["lvm"].options["snapshot-as-volume-chain"] = 0
		for _, name := range []string{"dir", "nfs", "cifs"} {
			t[name].options["snapshot-as-volume-chain"] = fixed
		}
		return t
	}
	t["glusterfs"] = storageType{
		options: options([]string{"path", "volume"}, nil, dirSet,
			[]string{"server", "server2", "transport", "bwlimit", "preallocation"}),
		content:        []string{"images", "vztmpl", "iso", "backup", "snippets", "import"},
		defaultContent: images, formats: files, implicitShared: true, defaultPath: true,
	}
	for _, name := range []string{"dir", "btrfs", "nfs", "cifs", "cephfs", "glusterfs", "pbs"} {
		t[name].options["maxfiles"] = 0
	}
	return t
}

// options joins lists of property names: those that are required and fixed,
// those that are only fixed, and the optional ones. Every type has nodes,
// disable and content.
func options(requiredFixed, onlyFixed []string, optional ...[]string) map[string]option {
	m := map[string]option{"nodes": 0, "disable": 0, "content": 0}
	for _, names := range optional {
		for _, n := range names {
			m[n] = 0
		}
	}
	for _, n := range onlyFixed {
		m[n] = fixed
	}
	for _, n := range requiredFixed {
		m[n] = required | fixed
	}
	return m
}

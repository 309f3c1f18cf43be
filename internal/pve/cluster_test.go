package pve

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), Mode: 0o640} }

func link(target string, mode fs.FileMode) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | mode}
}

const corosyncConf = `logging {
  debug: off
}
nodelist {
  node {
    name: pve2
    nodeid: 2
    ring0_addr: 192.0.2.2
  }
  # a node without a name goes by its address
  node {
    nodeid: 3
    ring0_addr: pve3
  }
}
totem {
  cluster_name: lab
  interface {
    linknumber: 0
  }
}
`

func TestReadCluster(t *testing.T) {
	members := `{"nodename":"pve1","version":4,"cluster":{"name":"lab","version":3,"nodes":2,"quorate":1},` +
		`"nodelist":{"pve2":{"id":2,"online":0},"pve1":{"id":1,"online":1,"ip":"192.0.2.1"}}}`
	for _, tc := range []struct {
		name string
		fs   fstest.MapFS
		want Cluster
	}{
		{"pmxcfs down", fstest.MapFS{}, Cluster{}},
		{"local is no link", fstest.MapFS{"local": file("")}, Cluster{}},
		{
			"single node",
			fstest.MapFS{"local": link("nodes/pve1", 0o777), ".members": file(`{"nodename":"pve1","version":0}`)},
			Cluster{Mounted: true, Quorate: true, Node: "pve1", Members: []Member{{Name: "pve1", Online: true}}},
		},
		{
			"offline and never seen members count",
			fstest.MapFS{
				"local": link("nodes/pve1", 0o777), ".members": file(members), "corosync.conf": file(corosyncConf),
				"nodes/old/qemu-server": {Mode: fs.ModeDir},
			},
			Cluster{Mounted: true, Quorate: true, Node: "pve1", Name: "lab", Members: []Member{
				{Name: "pve1", ID: 1, IP: "192.0.2.1", Online: true}, {Name: "pve2", ID: 2}, {Name: "pve3"},
			}},
		},
		{
			"write bit gone",
			fstest.MapFS{"local": link("nodes/pve1", 0o555)},
			Cluster{Mounted: true, Node: "pve1", Members: []Member{{Name: "pve1", Online: true}}},
		},
		{
			"not quorate by .members",
			fstest.MapFS{
				"local":    link("nodes/pve1", 0o777),
				".members": file(`{"nodename":"pve1","cluster":{"name":"lab","quorate":0},"nodelist":{"pve1":{"id":1,"online":1}}}`),
			},
			Cluster{Mounted: true, Node: "pve1", Name: "lab", Members: []Member{{Name: "pve1", ID: 1, Online: true}}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ReadCluster(tc.fs)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := ReadCluster(fstest.MapFS{"local": link("nodes/pve1", 0o777), ".members": file("{")}); err == nil {
		t.Error("a broken .members is no error")
	}
}

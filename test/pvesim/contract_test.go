package pvesim

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"labd/test/pvesim/mountns"
	"labd/test/pvesim/pmxcfs"
)

// A scenario is a series of exchanges recorded from PVE 9.2 with the state of
// its files around them. Volatile values are placeholders such as <int> or
// <digest:1>; equal numbers stand for equal values within a scenario.
type scenario struct {
	Name      string `json:"scenario"`
	Before    snapshot
	Exchanges []exchange
}

type exchange struct {
	Event   string
	Request struct {
		Method, Path, Auth string
		Form               map[string]any
	}
	Response struct {
		Status  int
		Reason  string
		Headers map[string]string
		Body    any
	}
	Changed snapshot
}

// snapshot holds the values of "storage.cfg", "mount_units" and so on.
type snapshot map[string]any

// notSimulated lists what is not replayed, and why. A pattern is matched against
// "scenario METHOD path".
var notSimulated = []struct {
	pattern, reason string
}{
	{` GET /pools[/?]`, "labd reads the members of pools from user.cfg"},
	{` GET /nodes/pve1/(lxc|qemu)(/101/(status|pending).*)?$`, "labd reads guests from /etc/pve"},
	{` GET /nodes/pve1(/status)?$`, "labd does not ask for the node's load"},
	{` GET /nodes/pve1/disks/(list|smart|lvm|lvmthin|zfs)`, "labd reads devices from sysfs"},
	{` PUT /nodes/pve1/disks/wipedisk`, "labd never wipes"},
	{` POST /nodes/pve1/disks/directory`, "needs a disk to format; the lab makes the mount unit itself"},
	{` GET /nodes/pve1/tasks/UPID:[^/]*:dircreate:`, "follows the creation that is not replayed"},
	{` DELETE /nodes/pve1/disks/lvm(thin)?/`, "labd never calls it"},
	{` GET /nodes/pve1/tasks/UPID:[^/]*:lvm(thin)?remove:`, "follows a call that is not replayed"},
	{` GET /cluster/tasks`, "labd asks each node"},
	{` GET /cluster/backup-info`, "labd does not ask for it"},
	{` GET /nodes/pve1/storage\?format=1`, "labd does not ask for image formats"},
	{
		`^cluster_resources GET /cluster/resources(\?type=storage)?$`,
		"shows a sample up to 300 s old; the simulator has no memory",
	},
	{`^no_quorum GET /cluster/status`, "recorded where corosync had never run, unlike a cluster that lost its quorum"},
	{`^disks_delete_present_11 GET /nodes/pve1/tasks/.*/log`, "output of wiping the device, which is left alone"},
}

func skipReason(s string) string {
	for _, n := range notSimulated {
		if regexp.MustCompile(n.pattern).MatchString(s) {
			return n.reason
		}
	}
	return ""
}

func TestMain(m *testing.M) { os.Exit(mountns.Main(m)) }

// The simulator answers as recorded, on a plain directory and on a cluster file
// system with pmxcfs's rules.
func TestContract(t *testing.T) {
	t.Run("directory", func(t *testing.T) { replayAll(t, false) })
	t.Run("fuse", func(t *testing.T) {
		mountns.Need(t)
		replayAll(t, true)
	})
}

func replayAll(t *testing.T, fuse bool) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	replayed, total := 0, 0
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var sc scenario
		if err := json.Unmarshal(data, &sc); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		sc.Name = strings.TrimSuffix(filepath.Base(f), ".json")
		t.Run(sc.Name, func(t *testing.T) {
			r := newReplay(t, &sc, fuse)
			for i := range sc.Exchanges {
				r.step(&sc.Exchanges[i])
			}
			replayed += r.replayed
			total += r.total
		})
	}
	t.Logf("replayed %d of %d exchanges", replayed, total)
}

// replay is one scenario played against a simulator of its own.
type replay struct {
	t        *testing.T
	name     string
	root     string
	server   *Server
	bound    map[string]string
	want     snapshot
	replayed int
	total    int

	mu      sync.Mutex
	mounted []string
}

const testNode = "pve1"

// secrets are by the recordings' names of the tokens.
var testTokens = map[string]string{
	"root token": "root@pam!dev=s1", "audit-only token": "aud@pve!tok=s2", "storage-admin token": "stor@pve!tok=s3",
	"one-storage token": "one@pve!tok=s4", "no-rights token": "none@pve!tok=s5", "bad token": "root@pam!dev=wrong",
}

func newReplay(t *testing.T, sc *scenario, fuse bool) *replay {
	t.Helper()
	r := &replay{t: t, name: sc.Name, root: t.TempDir(), bound: map[string]string{}, want: snapshot{}}
	var clusterFS ClusterFS
	if fuse {
		clusterFS = mountClusterFS(t, r.root)
	}
	if _, err := Prepare(r.root, testNode); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"dev/disk/by-uuid", "mnt/pve", "var/lib/vz"} {
		if err := os.MkdirAll(filepath.Join(r.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tokens := map[string]string{}
	for name, token := range testTokens {
		if id, secret, _ := strings.Cut(token, "="); name != "bad token" {
			tokens[id] = secret
		}
	}
	s, err := Start(t.Context(), Config{
		Root: r.root, Node: testNode, Address: "192.0.2.10", Tokens: tokens, ClusterFS: clusterFS, LockTimeout: 50 * time.Millisecond,
		Mounted: func(path string) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return slices.Contains(r.mounted, path)
		},
		IsBlockDevice: func(path string) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			// The device is there as long as its file system is mounted.
			if len(r.mounted) > 0 {
				return nil
			}
			return errors.New("not a valid block device")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	r.server = s
	r.apply(sc.Before)
	switch r.name {
	case "no_quorum":
		r.seedTasks(sc)
		r.must(s.SetQuorum(false))
	case "storage_delete_references":
		r.must(os.WriteFile(filepath.Join(r.root, "etc/pve/nodes/pve1/lxc/101.conf"),
			[]byte("arch: amd64\ncores: 1\nhostname: ct101\nmemory: 512\nmp0: usb1:101/vm-101-disk-1.raw,mp=/data,size=1G\n"+
				"net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth\nostype: debian\n"+
				"rootfs: usb1:101/vm-101-disk-0.raw,size=4G\nswap: 512\nunused0: usb1:101/vm-101-disk-2.raw\n"), 0o640))
	case "tasks":
		r.seedTasks(sc)
	}
	return r
}

// mountClusterFS mounts /etc/pve of a host below root.
func mountClusterFS(t *testing.T, root string) *pmxcfs.FS {
	t.Helper()
	dir := filepath.Join(root, "etc/pve")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := pmxcfs.Mount(dir, pmxcfs.Options{Node: testNode})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (r *replay) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// step plays one exchange or event and compares.
func (r *replay) step(x *exchange) {
	r.t.Helper()
	if x.Event != "" {
		r.event(x)
		return
	}
	r.total++
	title := r.name + " " + x.Request.Method + " " + x.Request.Path
	if reason := skipReason(title); reason != "" {
		r.apply(x.Changed)
		return
	}
	r.replayed++
	title += fmt.Sprintf(" (%s) %v", x.Request.Auth, x.Request.Form)
	if r.name == "storage_lock_held" && x.Request.Method == "DELETE" && x.Response.Status == http.StatusOK {
		// The other writer lets go while this request waits.
		r.must(os.Remove(filepath.Join(r.root, "etc/pve/priv/lock/file-storage_cfg")))
	}
	status, reason, body := r.send(x)
	if status != x.Response.Status || r.match(x.Response.Reason, reason) != nil {
		r.t.Errorf("%s: %d %q, want %d %q", title, status, reason, x.Response.Status, x.Response.Reason)
		return
	}
	if err := r.match(x.Response.Body, body); err != nil {
		r.t.Errorf("%s: %v", title, err)
	}
	for key, value := range x.Changed {
		r.want[key] = value
	}
	if data, ok := x.Response.Body.(map[string]any); ok {
		if s, ok := data["data"].(string); ok && strings.HasPrefix(s, "UPID:") {
			return // the task's changes show with its end
		}
	}
	r.compareState(title)
}

func (r *replay) event(x *exchange) {
	r.t.Helper()
	switch {
	case strings.HasPrefix(x.Event, "lock taken"):
		r.must(os.MkdirAll(filepath.Join(r.root, "etc/pve/priv/lock/file-storage_cfg"), 0o755))
	case strings.HasPrefix(x.Event, "pmxcfs stopped"):
		r.must(r.server.SetClusterFS(false))
		for _, name := range []string{"storage.cfg", "user.cfg", "jobs.cfg"} {
			r.want[name] = nil
		}
		return
	}
	r.apply(x.Changed)
}

// apply brings the tree into the recorded state.
func (r *replay) apply(s snapshot) {
	r.t.Helper()
	for key, value := range s {
		r.want[key] = value
		switch key {
		case "storage.cfg", "user.cfg", "jobs.cfg":
			path := filepath.Join(r.root, "etc/pve", key)
			if value == nil {
				if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
					r.t.Fatal(err)
				}
				continue
			}
			r.must(os.WriteFile(path, []byte(r.fill(value.(string))), 0o640))
		case "mount_units":
			dir := filepath.Join(r.root, unitDir)
			old, _ := filepath.Glob(filepath.Join(dir, "*.mount"))
			for _, f := range old {
				r.must(os.Remove(f))
			}
			for name, text := range value.(map[string]any) {
				r.must(os.WriteFile(filepath.Join(dir, name), []byte(r.fill(text.(string))), 0o644))
			}
		case "enabled_links":
			dir := filepath.Join(r.root, unitDir, "multi-user.target.wants")
			r.must(os.RemoveAll(dir))
			r.must(os.MkdirAll(dir, 0o755))
			for _, name := range value.([]any) {
				r.must(os.Symlink(unitDir+"/"+name.(string), filepath.Join(dir, name.(string))))
			}
		case "mounted":
			r.mu.Lock()
			r.mounted = nil
			for _, p := range value.([]any) {
				r.mounted = append(r.mounted, p.(string))
				_ = os.MkdirAll(filepath.Join(r.root, p.(string)), 0o755)
			}
			r.mu.Unlock()
		}
	}
}

// compareState compares the tree with what the recording had by now.
func (r *replay) compareState(title string) {
	r.t.Helper()
	for _, name := range []string{"storage.cfg", "user.cfg", "jobs.cfg"} {
		want, recorded := r.want[name]
		if !recorded {
			continue
		}
		data, err := os.ReadFile(filepath.Join(r.root, "etc/pve", name))
		if want == nil {
			if err == nil {
				r.t.Errorf("%s: %s exists:\n%s", title, name, data)
			}
			continue
		}
		if err != nil {
			r.t.Errorf("%s: %v", title, err)
		} else if err := r.match(want, string(data)); err != nil {
			r.t.Errorf("%s: %s: %v", title, name, err)
		}
	}
	for key, pattern := range map[string]string{
		"mount_units": unitDir + "/*.mount", "enabled_links": unitDir + "/multi-user.target.wants/*",
	} {
		var want []string
		switch v := r.want[key].(type) {
		case map[string]any:
			for name := range v {
				want = append(want, name)
			}
		case []any:
			for _, name := range v {
				want = append(want, name.(string))
			}
		default:
			continue
		}
		files, _ := filepath.Glob(filepath.Join(r.root, pattern))
		var got []string
		for _, f := range files {
			got = append(got, filepath.Base(f))
		}
		if slices.Sort(want); !slices.Equal(want, got) {
			r.t.Errorf("%s: %s: %v, want %v", title, key, got, want)
		}
	}
}

// send makes the request and, where a finished task is expected, repeats it
// until the task has ended.
func (r *replay) send(x *exchange) (status int, reason string, body any) {
	r.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		status, reason, body = r.sendOnce(x)
		want, _ := x.Response.Body.(map[string]any)
		wantData, _ := want["data"].(map[string]any)
		got, _ := body.(map[string]any)
		gotData, _ := got["data"].(map[string]any)
		if wantData["status"] != "stopped" || gotData["status"] != "running" || time.Now().After(deadline) {
			return status, reason, body
		}
		<-tick.C
	}
}

func (r *replay) sendOnce(x *exchange) (status int, reason string, body any) {
	r.t.Helper()
	form := url.Values{}
	for key, value := range x.Request.Form {
		form.Set(key, r.fill(fmt.Sprint(value)))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s /api2/json%s HTTP/1.1\r\nHost: localhost\r\n", x.Request.Method, r.fill(x.Request.Path))
	if token, ok := testTokens[x.Request.Auth]; ok {
		fmt.Fprintf(&b, "Authorization: PVEAPIToken=%s\r\n", token)
	} else if token, ok := strings.CutPrefix(x.Request.Auth, "token: "); ok {
		fmt.Fprintf(&b, "Authorization: PVEAPIToken=%s\r\n", token)
	} else if text, ok := strings.CutPrefix(x.Request.Auth, "malformed: "); ok {
		text, _, without := strings.Cut(text, " without")
		if !without {
			text += "=s1"
		}
		fmt.Fprintf(&b, "Authorization: PVEAPIToken=%s\r\n", text)
	}
	if x.Request.Form != nil {
		fmt.Fprintf(&b, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", len(form.Encode()))
	}
	b.WriteString("\r\n")
	if x.Request.Form != nil {
		b.WriteString(form.Encode())
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.server.CA())
	c, err := tls.Dial("tcp", r.server.listener.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "localhost"})
	r.must(err)
	defer c.Close()
	_, err = c.Write(b.Bytes())
	r.must(err)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	r.must(err)
	for _, name := range []string{"connection", "content-type", "cache-control", "pragma", "server"} {
		want, recorded := x.Response.Headers[name]
		if !recorded && x.Response.Headers == nil {
			continue
		}
		got := res.Header.Get(name)
		if name == "connection" && res.Close {
			got = "close" // net/http takes the header out
		}
		if got != want {
			r.t.Errorf("%s %s: header %s: %q, want %q", x.Request.Method, x.Request.Path, name, got, want)
		}
	}
	if res.ContentLength < 0 && res.Header.Get("Content-Type") == "" {
		return res.StatusCode, strings.TrimPrefix(res.Status, fmt.Sprint(res.StatusCode, " ")), ""
	}
	data, err := io.ReadAll(res.Body)
	r.must(err)
	if err := json.Unmarshal(data, &body); err != nil {
		body = string(data)
	}
	return res.StatusCode, strings.TrimPrefix(res.Status, fmt.Sprint(res.StatusCode, " ")), body
}

var placeholder = regexp.MustCompile(`<(digest|pid|pstart|start|uuid|fingerprint)(:\d+)?>`)

// fill replaces placeholders by what they stand for, or by something of the
// right form.
func (r *replay) fill(s string) string {
	return placeholder.ReplaceAllStringFunc(s, func(p string) string {
		if v, ok := r.bound[p]; ok {
			return v
		}
		switch {
		case p == "<fingerprint>":
			return strings.Repeat("AB:", 31) + "AB"
		case strings.HasPrefix(p, "<uuid"):
			v := fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", len(r.bound))
			r.bound[p] = v
			return v
		}
		return "0000ABCD"
	})
}

// match compares a recorded value with an actual one and binds placeholders.
// Lists of objects are sets, except those with an order of their own.
func (r *replay) match(want, got any) error {
	switch w := want.(type) {
	case string:
		return r.matchString(w, got)
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("got %v, want an object", got)
		}
		for key := range g {
			if _, ok := w[key]; !ok {
				return fmt.Errorf("%s = %v is too much", key, g[key])
			}
		}
		for _, key := range sortedKeys(w) {
			value, ok := g[key]
			if !ok {
				return fmt.Errorf("%s is missing", key)
			}
			if err := r.match(w[key], value); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		return nil
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Errorf("got %v, want %d rows: %v", got, len(w), w)
		}
		g = slices.Clone(g)
		for _, row := range w {
			i, err := r.matchRow(row, g)
			if err != nil {
				return err
			}
			g = slices.Delete(g, i, i+1)
		}
		return nil
	}
	if fmt.Sprintf("%T %v", want, want) != fmt.Sprintf("%T %v", got, got) {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}

// matchRow finds the row among the candidates; an ordered one must come first.
func (r *replay) matchRow(row any, candidates []any) (int, error) {
	ordered := false
	if m, ok := row.(map[string]any); ok {
		_, task := m["upid"]
		_, line := m["n"]
		ordered = task || line
	}
	var first error
	for i, c := range candidates {
		saved := map[string]string{}
		for k, v := range r.bound {
			saved[k] = v
		}
		err := r.match(row, c)
		if err == nil {
			return i, nil
		}
		r.bound = saved
		if first == nil {
			first = err
		}
		if ordered {
			break
		}
	}
	return 0, fmt.Errorf("no row like %v (first: %w)", row, first)
}

func (r *replay) matchString(want string, got any) error {
	switch want {
	case "<int>", "<float>":
		if n, ok := got.(float64); !ok || n == 0 {
			return fmt.Errorf("got %v, want a number other than 0", got)
		}
		return nil
	}
	g, ok := got.(string)
	if !ok {
		return fmt.Errorf("got %v, want %q", got, want)
	}
	if want == "<str>" {
		return nil
	}
	var names []string
	pattern := "(?s)^"
	for rest := want; ; {
		at := placeholder.FindStringIndex(rest)
		if at == nil {
			pattern += regexp.QuoteMeta(rest) + "$"
			break
		}
		name := rest[at[0]:at[1]]
		pattern += regexp.QuoteMeta(rest[:at[0]])
		if value, ok := r.bound[name]; ok {
			pattern += regexp.QuoteMeta(value)
		} else {
			pattern += `([0-9A-Fa-f:\-]+?)`
			names = append(names, name)
		}
		rest = rest[at[1]:]
	}
	m := regexp.MustCompile(pattern).FindStringSubmatch(g)
	if m == nil {
		return fmt.Errorf("got %q, want %q", g, want)
	}
	for i, name := range names {
		if name != "<fingerprint>" {
			r.bound[name] = m[i+1]
		}
	}
	return nil
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// seedTasks makes the finished tasks that the recording's lists show, the newest
// last.
func (r *replay) seedTasks(sc *scenario) {
	type seed struct{ status, typ, id string }
	var seeds []seed
	seen := map[string]bool{}
	for _, x := range sc.Exchanges {
		body, _ := x.Response.Body.(map[string]any)
		rows, _ := body["data"].([]any)
		for _, row := range rows {
			m, _ := row.(map[string]any)
			upid, _ := m["upid"].(string)
			if upid == "" || seen[upid] {
				continue
			}
			seen[upid] = true
			seeds = append(seeds, seed{m["status"].(string), m["type"].(string), m["id"].(string)})
		}
	}
	for _, sd := range slices.Backward(seeds) {
		t := r.server.newTask("root@pam!dev", sd.typ, sd.id)
		t.log = append(t.log, `Removed "/etc/systemd/system/multi-user.target.wants/mnt-pve-usb1.mount".`)
		var err error
		if sd.status != "OK" {
			err = errors.New(sd.status)
		}
		r.server.endTask(t, err)
	}
}

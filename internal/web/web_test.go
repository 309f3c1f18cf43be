package web

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	apiv1 "labd/api/v1"
)

var update = flag.Bool("update", false, "write the golden files")

var at = time.Date(2026, 11, 28, 14, 0, 0, 0, time.UTC)

// answers is an API that answers each path with a value.
type answers map[string]any

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	value, ok := a[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"error":{"code":"internal","message":"no report yet"}}`))
		return
	}
	_ = json.NewEncoder(w).Encode(value)
}

func envelope[T any](items []T, findings ...apiv1.Finding) apiv1.Envelope[T] {
	return apiv1.Envelope[T]{APIVersion: apiv1.APIVersion, Node: "pve1", ObservedAt: at, Items: items, Findings: findings}
}

// lab is a host with one of everything: a drive that is broken, one that is well, a dead storage, a tree. name goes into
// every field that comes from outside.
func lab(name string) answers {
	since, cleared := at.Add(-time.Hour), at.Add(-2*time.Hour)
	days := 1200.0
	finding := func(subject string) apiv1.Finding {
		return apiv1.Finding{
			Code: "net.no-route", Severity: apiv1.SeverityWarn, Subject: subject, Title: name + " no route", Cause: "the host has no route " + name, Confidence: apiv1.ConfidenceCertain,
			Since: &since, Evidence: []apiv1.Evidence{{Source: name, Text: name}}, Remedies: []apiv1.Remedy{{Title: name, Risk: apiv1.RiskLow, Commands: []string{"labctl net apply # " + name}}},
		}
	}
	dead := apiv1.Finding{Code: "nvme.not-ready", Severity: apiv1.SeverityFail, Subject: "nvme/0000:02:00.0", Title: "never ready", Cause: "CRTO", Confidence: apiv1.ConfidenceLikely}
	silent := dead
	silent.State = apiv1.StateSilenced
	return answers{
		"/v1/status": envelope([]apiv1.StatusItem{{ID: "nvme", Verdict: apiv1.HealthFail, Summary: name, ObservedAt: at.Add(-12 * time.Second)}},
			finding("network/101/a"+name), finding("network/101/b"), dead, silent),
		"/v1/nvme": envelope([]apiv1.NVMeItem{
			{
				ID: "nvme/0000:01:00.0", Rung: apiv1.RungOK, Verdict: apiv1.HealthOK, Driver: "nvme", Controller: "nvme0", State: "live", Model: name, Serial: name, Storages: []string{"storage/pve1/fast"},
				Namespaces: []apiv1.NVMeNamespace{{Device: "nvme0n1", NSID: 1, Users: []string{"mount " + name}}}, Health: &apiv1.NVMeHealth{TemperatureCelsius: new(41), UsedPercent: 7, DaysLeft: &days},
			},
			{ID: "nvme/0000:02:00.0", Rung: apiv1.RungController, Verdict: apiv1.HealthFail, Driver: "nvme"},
		}),
		"/v1/storage": envelope([]apiv1.StorageItem{
			{ID: "storage/pve1/fast", Storage: "fast", Type: "dir", Path: "/mnt/" + name, Verdict: apiv1.StorageOK, Reason: name},
			{ID: "storage/pve1/usb1", Storage: "usb1" + name, Type: "dir", Verdict: apiv1.StorageGone, Reason: name, References: []apiv1.Reference{{File: name, Section: name, Key: name, Grade: apiv1.GradeBlock}}},
		}),
		"/v1/tree": envelope([]apiv1.TreeItem{
			{ID: "node/pve1", Kind: apiv1.TreeNode, Name: "pve1", Health: apiv1.HealthWarn},
			{ID: "lxc/101", Kind: apiv1.TreeLXC, Name: name, Parent: "node/pve1", Depth: 1, Health: apiv1.HealthWarn},
			{ID: "container/101/web", Kind: apiv1.TreeContainer, Name: "web" + name, Parent: "lxc/101", Depth: 2, Health: apiv1.HealthOK, State: name},
			{ID: "network/101/bridge", Kind: apiv1.TreeNetwork, Name: "bridge", Parent: "lxc/101", Depth: 2, Health: apiv1.HealthWarn},
			{ID: "route/172.17.0.0/16", Kind: apiv1.TreeRoute, Name: "172.17.0.0/16", Parent: "network/101/bridge", Depth: 3, Health: apiv1.HealthFail},
		}),
		"/v1/history": envelope([]apiv1.HistoryItem{{Code: "storage.down", Subject: "storage/pve1/" + name, Title: name, Cleared: &cleared, Episodes: 3}}),
	}
}

func handler(t testing.TB, api http.Handler) http.Handler {
	t.Helper()
	h, err := New(Config{API: api, Version: "1.0", Now: func() time.Time { return at }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(t testing.TB, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w
}

func TestPageGolden(t *testing.T) {
	got := get(t, handler(t, lab("plain")), "/").Body.String()
	got = regexp.MustCompile(`assets/[0-9a-f]{12}/`).ReplaceAllString(got, "assets/HASH/")
	const file = "testdata/page.golden.html"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the page is not as in %s; look at it, then go test ./internal/web -update", file)
	}
}

// What the page says, in the order in which a person reads it.
func TestPageSays(t *testing.T) {
	text := textOf(t, get(t, handler(t, lab("plain")), "/").Body.String())
	place := 0
	for _, want := range []string{
		"1 failure, 2 warnings", "seen 12 s ago", "never ready", "nvme/0000:02:00.0", "(likely)", "plain no route", "network/101/aplain", "network/101/b", "certain, since 60 min ago",
		"What to do:", "labctl net apply # plain", "labctl explain net.no-route", "Not shown: 1 silenced.", "unknown model", "controller broken", "41 °C", "7 %", "1200 days left",
		"usb1plain", "gone", "1 place, 1 must stay", "web plain", "2 h ago", "(3 times)",
	} {
		i := strings.Index(text[place:], want)
		if want == "web plain" {
			i = strings.Index(text[place:], "webplain")
		}
		if i < 0 {
			t.Errorf("%q is not on the page, or not in its place", want)
			continue
		}
		place += i
	}
}

func textOf(t *testing.T, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// shape is the elements of a page with their attributes' names: what a hostile text must not be able to change.
func shape(t *testing.T, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		b.WriteString("<" + n.Data)
		for _, a := range n.Attr {
			b.WriteString(" " + a.Key)
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
			if (a.Key == "href" || a.Key == "src" || a.Key == "action") && strings.Contains(a.Val, ":") && !strings.HasPrefix(a.Val, "#") {
				t.Errorf("<%s %s=%q> leads elsewhere", n.Data, a.Key, a.Val)
			}
		}
		b.WriteString(">")
	}
	return b.String()
}

func TestHostileNames(t *testing.T) {
	plain := shape(t, get(t, handler(t, lab("plain")), "/").Body.String())
	for _, name := range []string{
		`"><script>alert(1)</script>`, `' onmouseover='alert(1)`, "</title></script><img src=x onerror=alert(1)>", "javascript:alert(1)", "\u202egnp.exe", "\x1b[31mred\x00", "{{.}}", "<!--", "\xff\xfe",
		strings.Repeat("A", 10_000), "`${1}`",
	} {
		page := get(t, handler(t, lab(name)), "/").Body.String()
		if got := shape(t, page); got != plain {
			t.Errorf("%.40q changes the elements of the page", name)
		}
		if strings.ContainsAny(page, "\u202e\x1b\x00") {
			t.Errorf("%.40q: raw control characters on the page", name)
		}
		if len(page) > 200_000 {
			t.Errorf("%.40q: a page of %d bytes", name, len(page))
		}
	}
}

func TestTheFilterIsEscapedToo(t *testing.T) {
	page := get(t, handler(t, lab("plain")), "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").Body.String()
	if strings.Contains(page, "<script>alert") {
		t.Error("a script by the address")
	}
}

func TestFilter(t *testing.T) {
	text := textOf(t, get(t, handler(t, lab("plain")), "/?q=USB1").Body.String())
	for want, present := range map[string]bool{"usb1plain": true, "must stay": true, "unknown model": false, "no route": false, `None of the 2 drives holds "USB1".`: true, "1 failure, 2 warnings": true} {
		if strings.Contains(text, want) != present {
			t.Errorf("%q: %t", want, !present)
		}
	}
	tree := textOf(t, get(t, handler(t, lab("plain")), "/?q=bridge").Body.String())
	if !strings.Contains(tree, "172.17.0.0/16") || strings.Contains(tree, "webplain") {
		t.Errorf("the tree is not filtered: %s", tree)
	}
}

// What cannot be read is said, and never looks well.
func TestPartsThatCannotBeRead(t *testing.T) {
	api := lab("plain")
	api["/v1/status"] = envelope([]apiv1.StatusItem{{ID: "nvme", Verdict: apiv1.HealthOK}})
	delete(api, "/v1/storage")
	text := textOf(t, get(t, handler(t, api), "/").Body.String())
	for _, want := range []string{"not all is known", "No finding, but not all could be looked at.", "This part cannot be shown: no report yet"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said", want)
		}
	}
	if strings.Contains(text, "nothing is wrong") {
		t.Error("unknown is shown as well")
	}
}

func TestEmptyHostAndYoungFindings(t *testing.T) {
	api := answers{
		"/v1/status": envelope([]apiv1.StatusItem{{ID: "nvme", Verdict: apiv1.HealthOK}}), "/v1/nvme": envelope([]apiv1.NVMeItem{}), "/v1/storage": envelope([]apiv1.StorageItem{}),
		"/v1/tree": envelope([]apiv1.TreeItem{{ID: "node/pve1", Kind: apiv1.TreeNode, Name: "pve1", Health: apiv1.HealthOK}}), "/v1/history": envelope([]apiv1.HistoryItem{}),
	}
	text := textOf(t, get(t, handler(t, api), "/").Body.String())
	for _, want := range []string{"nothing is wrong", "No NVMe function is on the PCI bus", "No LXC container runs", "No finding went away yet"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said", want)
		}
	}
	api["/v1/status"] = envelope([]apiv1.StatusItem{{ID: "nvme", Verdict: apiv1.HealthOK}}, apiv1.Finding{Severity: apiv1.SeverityFail, State: apiv1.StatePending, Subject: "storage/pve1/usb1"})
	if text := textOf(t, get(t, handler(t, api), "/").Body.String()); !strings.Contains(text, "nothing certain yet") || !strings.Contains(text, "1 too young to be certain") {
		t.Errorf("a young finding is hidden: %s", text)
	}
}

func TestHeadersAndAssets(t *testing.T) {
	h := handler(t, lab("plain"))
	page := get(t, h, "/")
	policy := page.Header().Get("Content-Security-Policy")
	if strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("policy %q", policy)
	}
	if page.Header().Get("Cache-Control") != "no-store" {
		t.Error("the page may be kept")
	}
	found := regexp.MustCompile(`(?:href|src)="(assets/[^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1)
	if len(found) != 4 {
		t.Fatalf("%d assets", len(found))
	}
	for _, m := range append(found, []string{"", "favicon.ico"}) {
		w := get(t, h, "/"+m[1])
		if w.Code != http.StatusOK || w.Body.Len() == 0 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d %v", m[1], w.Code, w.Header())
		}
	}
	for _, path := range []string{"/assets/000000000000/page.css", "/assets/../web.go", "/nothing"} {
		if w := get(t, h, path); w.Code == http.StatusOK {
			t.Errorf("%s is served", path)
		}
	}
	post := httptest.NewRecorder()
	h.ServeHTTP(post, httptest.NewRequest(http.MethodPost, "/", http.NoBody))
	if post.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", post.Code)
	}
}

// The page's own weight: 60 kB of HTML, CSS and JavaScript.
func TestWeight(t *testing.T) {
	total := get(t, handler(t, lab("plain")), "/").Body.Len()
	err := fs.WalkDir(files, "static", func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		total += int(info.Size())
		return err
	})
	if err != nil || total > 60_000 {
		t.Errorf("%d bytes, %v", total, err)
	}
}

// contrast is WCAG's ratio of two colours written #rrggbb.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	light := func(c string) float64 {
		var sum float64
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			n, err := strconv.ParseUint(c[1+2*i:3+2*i], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			v := float64(n) / 255
			if v <= 0.04045 {
				v /= 12.92
			} else {
				v = math.Pow((v+0.055)/1.055, 2.4)
			}
			sum += weight * v
		}
		return sum
	}
	x, y := light(a), light(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func TestContrastInBothThemes(t *testing.T) {
	css, err := files.ReadFile("static/page.css")
	if err != nil {
		t.Fatal(err)
	}
	palette := map[string][2]string{}
	for _, m := range regexp.MustCompile(`--(\w+): light-dark\((#\w{6}), (#\w{6})\)`).FindAllStringSubmatch(string(css), -1) {
		palette[m[1]] = [2]string{m[2], m[3]}
	}
	for theme := range 2 {
		for _, back := range []string{"back", "card"} {
			for _, text := range []string{"text", "dim", "link", "ok", "info", "warn", "fail", "unknown"} {
				if c := contrast(t, palette[text][theme], palette[back][theme]); c < 4.5 {
					t.Errorf("theme %d: %s on %s is %.1f to 1, less than 4.5", theme, text, back, c)
				}
			}
			if c := contrast(t, palette["line"][theme], palette[back][theme]); c < 3 {
				t.Errorf("theme %d: lines on %s are %.1f to 1, less than 3", theme, back, c)
			}
		}
	}
}

// manyItems is the tree of a host with containers, each with Docker containers in a project of their own, a network and a route.
func manyItems(lxc, each int) []apiv1.TreeItem {
	items := []apiv1.TreeItem{{ID: "node/pve1", Kind: apiv1.TreeNode, Name: "pve1", Health: apiv1.HealthOK}}
	for ct := range lxc {
		id := fmt.Sprintf("lxc/%d", 100+ct)
		items = append(items, apiv1.TreeItem{ID: id, Kind: apiv1.TreeLXC, Name: id, Parent: "node/pve1", Health: apiv1.HealthOK})
		for c := range each {
			name := fmt.Sprintf("%d/c%d", 100+ct, c)
			items = append(items,
				apiv1.TreeItem{ID: "container/" + name, Kind: apiv1.TreeContainer, Name: name, Parent: id, Health: apiv1.HealthOK},
				apiv1.TreeItem{ID: "network/" + name, Kind: apiv1.TreeNetwork, Name: name, Parent: "container/" + name, Health: apiv1.HealthOK})
		}
	}
	return items
}

func TestLayout(t *testing.T) {
	items := manyItems(12, 40)
	tree := newTree(items)
	if len(tree.Boxes) != len(items) || len(tree.Edges) != len(items)-1 || tree.Height != 12*40*rowHeight {
		t.Fatalf("%d boxes, %d edges, height %d", len(tree.Boxes), len(tree.Edges), tree.Height)
	}
	used := map[[2]int]string{}
	for _, b := range tree.Boxes {
		if b.X < 0 || b.Y < 0 || b.X+b.W > tree.Width || b.Y+b.H > tree.Height {
			t.Errorf("%s lies outside", b.ID)
		}
		if other := used[[2]int{b.X, b.Y}]; other != "" {
			t.Errorf("%s lies on %s", b.ID, other)
		}
		used[[2]int{b.X, b.Y}] = b.ID
	}
	if newTree(items[:1]) != nil {
		t.Error("a tree of the node alone is drawn")
	}
}

func BenchmarkPage(b *testing.B) {
	api := lab("plain")
	api["/v1/tree"] = envelope(manyItems(12, 40))
	h := handler(b, api)
	for b.Loop() {
		if w := get(b, h, "/"); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}

// Package deb installs, upgrades, removes and purges labd's Debian package for real, on hosts of their own.
package deb

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"labd/test/lab"
)

// buildPackage builds a package of a version and returns its file.
func buildPackage(t *testing.T, version string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "packaging/build.sh", version)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build the package: %v: %s", err, stderr.String())
	}
	file := filepath.Join("../..", strings.TrimSpace(string(out)))
	moved := filepath.Join(t.TempDir(), filepath.Base(file))
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(moved, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return moved
}

func TestPackage(t *testing.T) {
	lab.Require(t, "debootstrap", "dpkg-deb", "lintian")
	older, newer := buildPackage(t, "0.0.1"), buildPackage(t, "0.0.2")
	t.Run("two builds are the same", func(t *testing.T) {
		first, err := os.ReadFile(newer)
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(buildPackage(t, "0.0.2"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Error("they differ")
		}
	})
	t.Run("lintian", func(t *testing.T) {
		// As root it says that this is not recommended, on standard error.
		out, err := exec.CommandContext(t.Context(), "lintian", "--fail-on=error,warning", newer).Output()
		if err != nil || len(out) > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("contents", func(t *testing.T) { checkContents(t, newer) })
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) { checkLife(t, suite, older, newer) })
	}
}

// checkContents looks for everything that a package of a service brings.
func checkContents(t *testing.T, file string) {
	out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--contents", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"usr/bin/labd", "usr/bin/labctl", "usr/lib/systemd/system/labd.service", "etc/labd/labd.toml", "etc/iproute2/rt_protos.d/labd.conf",
		"usr/share/bash-completion/completions/labctl", "usr/share/zsh/vendor-completions/_labctl", "usr/share/fish/vendor_completions.d/labctl.fish",
		"usr/share/man/man8/labd.8.gz", "usr/share/man/man5/labd.toml.5.gz", "usr/share/doc/labd/openapi.yaml", "usr/share/doc/labd/CONTRIBUTING.md", "usr/share/man/man1/labctl.1.gz", "usr/share/man/man1/labctl-notify-test.1.gz", "usr/share/man/man1/labctl-support.1.gz",
		"usr/share/doc/labd/copyright", "usr/share/doc/labd/third-party-licences.gz", "usr/share/doc/labd/sbom.spdx.json",
		"usr/share/doc/labd/upgrade.md", "usr/share/doc/labd/findings/labd.notify-failing.md", "usr/share/doc/labd/examples/labd.rules.yml", "usr/share/doc/labd/examples/labd.json",
	} {
		if !strings.Contains(string(out), "./"+want+"\n") {
			t.Errorf("no %s in the package", want)
		}
	}
	if strings.Contains(string(out), ".socket\n") {
		t.Error("there is a socket unit: a daemon that is stopped must stay so")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "-x", file, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	checkDocs(t, filepath.Join(dir, "usr/share/doc/labd"))
	checkManuals(t, filepath.Join(dir, "usr/share/man"))
	sbom, err := os.ReadFile(filepath.Join(dir, "usr/share/doc/labd/sbom.spdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"pkg:golang/github.com/nicholas-fedor/shoutrrr@", "pkg:golang/std@go", "SPDX-2.3"} {
		if !strings.Contains(string(sbom), module) {
			t.Errorf("the bill of materials lacks %s", module)
		}
	}
}

var pageLink = regexp.MustCompile(`\]\(([^)\s#]+)(?:#[^)]*)?\)`)

// checkDocs looks where each link between the packaged pages leads, and that no page is a project's page under its name.
func checkDocs(t *testing.T, dir string) {
	err := filepath.WalkDir(dir, func(page string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(page) != ".md" {
			return err
		}
		text, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		for _, m := range pageLink.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s leads to %s, which is not in the package", strings.TrimPrefix(page, dir), m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkManuals looks for what each page of a manual has.
func checkManuals(t *testing.T, dir string) {
	for page, wants := range map[string][]string{
		"man1/labctl.1.gz":             {"COMMANDS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"},
		"man1/labctl-fix-storage.1.gz": {"OPTIONS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "FILES", "labd.toml(5)"},
		"man5/labd.toml.5.gz":          {"SECTION [storage]", "grace", "EXAMPLES"},
	} {
		text, err := exec.CommandContext(t.Context(), "gzip", "-dc", filepath.Join(dir, page)).Output()
		if err != nil {
			t.Errorf("%s: %v", page, err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %s", page, want)
			}
		}
	}
}

// checkLife takes the package through everything that dpkg does with one.
func checkLife(t *testing.T, suite, older, newer string) {
	tree, err := lab.HostTree(t.Context(), suite)
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Start(t.Context(), lab.Config{Name: "deb-" + suite[:4], Root: tree, Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := l.Run(t.Context(), name, args...)
		if err != nil {
			log, _ := l.Run(t.Context(), "journalctl", "--no-pager", "-u", "labd")
			t.Fatalf("%v\n%s", err, log)
		}
		return out
	}
	for _, file := range []string{older, newer} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.WriteFile("/root/"+filepath.Base(file), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	install := func(file string) { t.Helper(); run("dpkg", "--install", "/root/"+filepath.Base(file)) }
	property := func(name string) string {
		return strings.TrimSpace(run("systemctl", "show", "labd", "--property="+name, "--value"))
	}
	marks := func() string { return run("ip", "route", "show", "table", "all", "proto", "176") }

	install(older)
	if property("ActiveState") != "active" || property("UnitFileState") != "enabled" {
		t.Fatalf("installed: %s, %s", property("ActiveState"), property("UnitFileState"))
	}
	if got := run("labctl", "version"); !strings.Contains(got, "0.0.1") {
		t.Errorf("version %q", got)
	}
	run("getent", "group", "labd")
	if routes := run("ip", "route", "show", "table", "all", "proto", "labd"); routes != "" {
		t.Errorf("routes of labd's own: %s", routes)
	}

	// An upgrade leaves what forwards packets as it is, and the operator's configuration.
	run("ip", "route", "add", "172.30.0.0/24", "via", "10.77.0.9", "proto", "176")
	if err := l.WriteFile("/etc/labd/labd.toml", []byte("[storage]\ngrace = \"48h\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pid := property("MainPID")
	run("labctl", "silence", "nvme.wear", "--for", "1h", "--reason", "kept over the upgrade")
	run("dpkg", "--force-confold", "--install", "/root/"+filepath.Base(newer))
	if got := run("labctl", "version"); !strings.Contains(got, "0.0.2") {
		t.Errorf("version %q after the upgrade", got)
	}
	if property("ActiveState") != "active" || property("MainPID") == pid {
		t.Errorf("the upgrade did not restart labd: %s, pid %s", property("ActiveState"), property("MainPID"))
	}
	if !strings.Contains(marks(), "172.30.0.0/24") {
		t.Error("the upgrade took a route away")
	}
	if got := run("labctl", "silence", "list"); !strings.Contains(got, "kept over the upgrade") {
		t.Errorf("the upgrade lost a silence: %s", got)
	}
	if data, err := os.ReadFile(l.Path("/etc/labd/labd.toml")); err != nil || !strings.Contains(string(data), "48h") {
		t.Errorf("the upgrade changed the configuration: %s, %v", data, err)
	}
	// One that a person stopped stays so.
	run("systemctl", "stop", "labd")
	install(older)
	if got := property("ActiveState"); got != "inactive" {
		t.Errorf("stopped before, %s after a downgrade", got)
	}

	// Removal takes every mark away, also while labd is stopped.
	start := time.Now()
	run("dpkg", "--remove", "labd")
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("the removal took %s", took)
	}
	if marks() != "" {
		t.Errorf("routes are left: %s", marks())
	}
	if _, err := l.Run(t.Context(), "test", "-e", "/usr/bin/labd"); err == nil {
		t.Error("the program is left")
	}
	run("test", "-e", "/etc/labd/labd.toml")
	run("test", "-d", "/var/lib/labd")

	// Installed again it runs again, and at the next boot; one that a person disabled stays disabled.
	install(newer)
	if property("ActiveState") != "active" || property("UnitFileState") != "enabled" {
		t.Errorf("installed after a removal: %s, %s", property("ActiveState"), property("UnitFileState"))
	}
	run("systemctl", "disable", "--now", "labd")
	install(newer)
	if property("ActiveState") != "inactive" || property("UnitFileState") != "disabled" {
		t.Errorf("disabled, then upgraded: %s, %s", property("ActiveState"), property("UnitFileState"))
	}
	run("dpkg", "--remove", "labd")
	install(newer)
	if property("UnitFileState") != "disabled" {
		t.Errorf("disabled, removed, installed: %s", property("UnitFileState"))
	}
	run("systemctl", "enable", "--now", "labd")
	run("dpkg", "--remove", "labd")

	// A purge takes the rest, but for what an undo needs.
	if err := l.WriteFile("/var/lib/labd/journal/1.jsonl", []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const owners = `{"aliases":"of networks"}`
	if err := l.WriteFile("/var/lib/labd/network-owners.json", []byte(owners), 0o600); err != nil {
		t.Fatal(err)
	}
	run("dpkg", "--purge", "labd")
	if kept := run("cat", "/var/backups/labd/network-owners.json"); kept != owners {
		t.Errorf("the aliases are not kept: %s", kept)
	}
	for _, path := range []string{"/var/lib/labd", "/etc/labd", "/etc/systemd/system/multi-user.target.wants/labd.service"} {
		if _, err := l.Run(t.Context(), "test", "-e", path); err == nil {
			t.Errorf("%s is left after the purge", path)
		}
	}
	if kept := run("sh", "-c", "ls /var/backups/labd/*/journal"); !strings.Contains(kept, "1.jsonl") {
		t.Errorf("the journal is not kept: %s", kept)
	}
	if _, err := l.Run(t.Context(), "getent", "group", "labd"); err == nil {
		t.Error("the group is left")
	}
}

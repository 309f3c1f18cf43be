package e2e

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labd/test/lab"
)

var update = flag.Bool("update", false, "write what the commands of the documentation print into it, and the rule sets in docs/rules")

// docsLabs are the labs that a page of the documentation may name with <!-- lab: NAME -->.
var docsLabs = map[string]func(t *testing.T, name string) *lab.Lab{
	// A host whose P7000Z is not there and whose storage usb1 lost its disk.
	"host": func(t *testing.T, name string) *lab.Lab {
		l, d, _ := storageHost(t, name)
		if err := d.PullAndReboot(t.Context()); err != nil {
			t.Fatal(err)
		}
		startLabd(t, l, fixtureConfig)
		return l
	},
	// A host with Docker 20.10 in container 101 and Docker 28 in container 102, with a compose project.
	"dockers": func(t *testing.T, name string) *lab.Lab {
		l, _, _ := dockerLab(t, name, lab.Container{ID: 101})
		newer, err := l.AddContainer(t.Context(), lab.Container{ID: 102, Root: tree(t, "forky"), Daemon: `{"bip": "172.28.0.1/24"}`})
		if err != nil {
			t.Fatal(err)
		}
		if err := newer.WaitDocker(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := newer.ImportImage(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := newer.RunContainer(t.Context(), "blog-web-1", "--label", "com.docker.compose.project=blog", "--label", "com.docker.compose.service=web"); err != nil {
			t.Fatal(err)
		}
		run(t, l, "ip", "route", "add", "default", "via", lab.LANAddress) // as a host has it whose router is in the LAN
		return l
	},
	// A host whose storage usb1 lost its disk, with a guest and a backup job that name it, and a NAS that is away.
	"storage": func(t *testing.T, name string) *lab.Lab {
		l := lab.New(t, name)
		d, err := l.AddDisk(t.Context(), "usb1")
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.StartPVE(t.Context(), d.StorageEntry()+"nfs: nas\n\tserver 127.0.0.1\n\texport /backup\n\tpath /mnt/pve/nas\n\tcontent backup\n\n")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		if err := l.InstallPVEPrograms(server, bin); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{
			"/etc/pve/nodes/pve1/qemu-server/100.conf": "ide2: usb1:iso/debian-13.iso,media=cdrom,size=700M\nname: web\nscsi0: local:100/vm-100-disk-0.qcow2,size=32G\n",
			"/etc/pve/jobs.cfg":                        "vzdump: backup-nightly\n\tschedule 02:00\n\tall 1\n\tenabled 1\n\tstorage usb1\n\n",
		} {
			if err := l.WriteFile(file, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.PullAndReboot(t.Context()); err != nil {
			t.Fatal(err)
		}
		startLabd(t, l, fixtureConfig)
		return l
	},
	// A fresh host without labd, with the package as /root/labd.deb, whose storage usb1 lost its disk.
	"package": func(t *testing.T, name string) *lab.Lab {
		l, d, server := storageHost(t, name)
		if err := l.InstallPVEPrograms(server, bin); err != nil {
			t.Fatal(err)
		}
		if err := d.PullAndReboot(t.Context()); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "packaging/build.sh", "v0.0.1")
		cmd.Dir = "../.."
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("build the package: %v", err)
		}
		file := filepath.Join("../..", strings.TrimSpace(string(out)))
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.WriteFile("/root/labd.deb", data, 0o644), os.Remove(file)); err != nil {
			t.Fatal(err)
		}
		return l
	},
	// A host with Docker 20.10 in container 101.
	"docker": func(t *testing.T, name string) *lab.Lab {
		l, _, _ := dockerLab(t, name, lab.Container{ID: 101})
		return l
	},
}

var (
	docsLab      = regexp.MustCompile(`(?m)^<!-- lab: ([a-z]+) -->$`)
	consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
)

// What a page shows of labctl and of other commands is what they print: every console block of a page is run, in the
// order of the page, on a lab of its own. A line that begins with "# " is a command, what follows its output; … stands
// for any text in a line, and on a line of its own for any lines.
func TestDocs(t *testing.T) {
	err := filepath.WalkDir("../../docs", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !consoleBlock.Match(data) {
			return nil
		}
		page := strings.TrimSuffix(filepath.Base(path), ".md")
		t.Run(page, func(t *testing.T) { checkPage(t, path, string(data)) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkPage(t *testing.T, path, text string) {
	named := docsLab.FindStringSubmatch(text)
	if named == nil || docsLabs[named[1]] == nil {
		t.Fatalf("%s has console blocks and names no lab", path)
	}
	l := docsLabs[named[1]](t, "docs-"+named[1])
	changed := consoleBlock.ReplaceAllStringFunc(text, func(block string) string {
		body := consoleBlock.FindStringSubmatch(block)[1]
		var out strings.Builder
		for _, c := range splitConsole(body) {
			got, _ := l.Command(t.Context(), "sh", "-c", c.command).CombinedOutput() // what it prints is compared, error or not
			printed := strings.TrimRight(string(got), "\n") + "\n"
			if matches(c.output, printed) {
				out.WriteString("# " + c.command + "\n" + c.output)
				continue
			}
			out.WriteString("# " + c.command + "\n" + volatile.Replace(printed))
			if !*update {
				t.Errorf("%s: # %s\n%s", path, c.command, cmp.Diff(c.output, printed))
			}
		}
		return "```console\n" + out.String() + "```"
	})
	if *update && changed != text {
		if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type consoleCommand struct{ command, output string }

func splitConsole(body string) []consoleCommand {
	var out []consoleCommand
	for line := range strings.Lines(body) {
		if command, ok := strings.CutPrefix(line, "# "); ok {
			out = append(out, consoleCommand{command: strings.TrimSpace(command)})
		} else if len(out) > 0 {
			out[len(out)-1].output += line
		}
	}
	return out
}

// matches compares what a page shows with what was printed.
func matches(shown, printed string) bool {
	var pattern strings.Builder
	pattern.WriteString(`\A`)
	for line := range strings.Lines(shown) {
		if strings.TrimSpace(line) == "…" {
			pattern.WriteString(`(?:.*\n)*?`)
			continue
		}
		parts := strings.Split(strings.TrimRight(line, " \n"), "…")
		for i, part := range parts {
			parts[i] = regexp.QuoteMeta(part)
		}
		pattern.WriteString(strings.Join(parts, `.*`) + ` *\n`)
	}
	pattern.WriteString(`\n*\z`)
	return regexp.MustCompile(pattern.String()).MatchString(printed)
}

// replacer puts … where a run differs from the next.
type replacer struct{ patterns []*regexp.Regexp }

func (r replacer) Replace(text string) string {
	for _, p := range r.patterns {
		text = p.ReplaceAllString(text, "…")
	}
	return text
}

var volatile = replacer{[]*regexp.Regexp{
	regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`),
	regexp.MustCompile(`\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z| UTC)?`),
	regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`),
	regexp.MustCompile(`, \d+\.\d s\b`),
	regexp.MustCompile(`\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d\d:\d\d`),
	regexp.MustCompile(`after \d+\.\d\d ms`),
	regexp.MustCompile(`\b\d+(\.\d+)? ?(ms|s) ago\b`),
}}

func TestDocsMatch(t *testing.T) {
	for _, tt := range []struct {
		shown, printed string
		want           bool
	}{
		{"a\nb\n", "a\nb\n", true},
		{"a\nb\n", "a\nc\n", false},
		{"a … c\n", "a bb c\n", true},
		{"a\n…\nz\n", "a\nb\nc\nz\n", true},
		{"a\n", "a\nb\n", false},
		{"a.c\n", "abc\n", false},
	} {
		if got := matches(tt.shown, tt.printed); got != tt.want {
			t.Errorf("%q against %q: %v", tt.shown, tt.printed, got)
		}
	}
}

package labd_test

import (
	"bufio"
	"cmp"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// compareVersions compares versions of modules as semver.org has it, as far as Go's modules go: build metadata does not count.
func compareVersions(a, b string) int {
	split := func(v string) (core []string, pre string) {
		v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "+")
		v, pre, _ = strings.Cut(v, "-")
		return strings.Split(v, "."), pre
	}
	coreA, preA := split(a)
	coreB, preB := split(b)
	for i := range min(len(coreA), len(coreB)) {
		x, _ := strconv.Atoi(coreA[i])
		y, _ := strconv.Atoi(coreB[i])
		if c := cmp.Compare(x, y); c != 0 {
			return c
		}
	}
	switch {
	case preA == preB:
		return 0
	case preA == "":
		return 1
	case preB == "":
		return -1
	}
	return strings.Compare(preA, preB) // times of commits are as long as one another
}

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"v1.2.3", "v1.2.3", 0},
		{"v1.10.0", "v1.9.9", 1},
		{"v1.2.3", "v1.2.4", -1},
		{"v2.0.0", "v10.0.0", -1},
		{"v28.3.3+incompatible", "v28.3.3", 0},
		{"v1.0.0-rc1", "v1.0.0", -1},
		{"v1.0.0", "v1.0.0-rc1", 1},
		{"v0.0.0-20220412211240-33da011f77ad", "v0.0.0-20210615035016-665e8c7367d1", 1},
		{"v0.49.0", "v0.0.0-20220412211240-33da011f77ad", 1},
	} {
		if got := compareVersions(c.a, c.b); got != c.want {
			t.Errorf("%s and %s: %d", c.a, c.b, got)
		}
	}
}

// lines calls each for the fields of every line of a file that is no comment.
func lines(t *testing.T, file string, each func(fields []string)) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		if fields := strings.Fields(scanner.Text()); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			each(fields)
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
}

// No module that is built, for labd or for its tests, is below the version that an advisory asks for.
func TestNoModuleBelowAnAdvisory(t *testing.T) {
	type advisory struct{ fixed, id string }
	advisories := map[string][]advisory{}
	lines(t, "tools/advisories.txt", func(f []string) {
		if len(f) < 4 || !strings.HasPrefix(f[1], "v") {
			t.Fatalf("a malformed line: %v", f)
		}
		advisories[f[0]] = append(advisories[f[0]], advisory{f[1], f[2]})
	})
	out, err := exec.Command("git", "ls-files", "*go.sum").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range strings.Fields(string(out)) {
		lines(t, file, func(f []string) {
			if len(f) != 3 || strings.HasSuffix(f[1], "/go.mod") {
				return // a module whose code is not used
			}
			seen++
			for _, a := range advisories[f[0]] {
				if compareVersions(f[1], a.fixed) < 0 {
					t.Errorf("%s has %s %s; %s is mended in %s", file, f[0], f[1], a.id, a.fixed)
				}
			}
		})
	}
	if seen < 50 {
		t.Errorf("only %d modules were looked at", seen)
	}
}

// Each module that labd names in go.mod has its reason in docs/development.md, and no other.
func TestDependenciesHaveReasons(t *testing.T) {
	data, err := os.ReadFile("docs/development.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(data), "\n## Dependencies\n")
	if !found {
		t.Fatal("docs/development.md has no part about dependencies")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	reasons := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| .{10,} \\|$").FindAllStringSubmatch(text, -1) {
		reasons[m[1]] = true
	}
	lines(t, "go.mod", func(f []string) {
		if len(f) < 2 || !strings.Contains(f[0], ".") || strings.Contains(strings.Join(f, " "), "// indirect") {
			return
		}
		if !reasons[f[0]] {
			t.Errorf("%s has no reason in docs/development.md", f[0])
		}
		delete(reasons, f[0])
	})
	for module := range reasons {
		t.Errorf("docs/development.md gives a reason for %s, which go.mod does not name", module)
	}
}

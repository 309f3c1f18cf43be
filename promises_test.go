package labd_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var (
	heldBy   = regexp.MustCompile(`(?s)(?:Held by|<!-- held by): *(.*?)(?:\.\s|\.$| -->)`)
	testName = regexp.MustCompile("`?((?:Test|Fuzz)[A-Za-z0-9_]+)`?")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
)

// tests are the names of all tests of the module.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	out, err := exec.Command("git", "ls-files", "*_test.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, file := range strings.Fields(string(out)) {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // removed, not yet committed
		}
		for _, m := range testFunc.FindAllStringSubmatch(string(data), -1) {
			all[m[1]] = true
		}
	}
	if len(all) < 100 {
		t.Fatalf("only %d tests were found", len(all))
	}
	return all
}

// sections are the parts of a page by their headings of the second level.
func sections(t *testing.T, page string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, part := range strings.Split("\n"+string(data), "\n## ")[1:] {
		title, text, _ := strings.Cut(part, "\n")
		out[strings.TrimSpace(title)] = text
	}
	return out
}

// bullets are the items of the first level in a text.
func bullets(text string) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "* "):
			out = append(out, line)
		case len(out) > 0 && strings.HasPrefix(line, "  "):
			out[len(out)-1] += "\n" + line
		}
	}
	return out
}

// holders are the tests that a text names as those which hold it.
func holders(text string) []string {
	var out []string
	for _, m := range heldBy.FindAllStringSubmatch(text, -1) {
		for _, name := range testName.FindAllStringSubmatch(m[1], -1) {
			out = append(out, name[1])
		}
	}
	return out
}

// Each promise to the reader names the tests that hold it, and these exist: every item of what labd will never do in README.md,
// every section and item of docs/security.md.
func TestPromisesAreHeld(t *testing.T) {
	const readme, security = "README.md", "docs/security.md"
	promises := map[string]string{}
	for _, item := range bullets(sections(t, readme)["What labd will never do"]) {
		promises[readme+": "+strings.SplitN(item, "\n", 2)[0]] = item
	}
	if len(promises) < 4 {
		t.Errorf("%s promises %d things only", readme, len(promises))
	}
	for title, text := range sections(t, security) {
		promises[security+": "+title] = text
		for _, item := range bullets(text) {
			promises[security+": "+title+": "+strings.SplitN(item, "\n", 2)[0]] = item
		}
	}
	all := tests(t)
	for promise, text := range promises {
		names := holders(text)
		if len(names) == 0 {
			t.Errorf("%s\n\tnames no test that holds it", promise)
		}
		for _, name := range names {
			if !all[name] {
				t.Errorf("%s\n\tis held by %s, which there is not", promise, name)
			}
		}
	}
}

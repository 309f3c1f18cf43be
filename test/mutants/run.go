package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pkg is a package with all its mutants in one test binary.
type pkg struct {
	path, dir string
	mutants   []Mutant
	binary    string
	hits      string // file of the mutants that a run reached
	tests     []test
}

// test is one test function with what it reaches.
type test struct {
	name  string
	takes time.Duration
	hits  map[int]bool
}

// build mutates all files of a package that are built and makes its test binary in dir.
func build(ctx context.Context, path, dir string) (*pkg, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-json=Dir,Name,GoFiles,ImportPath", path).Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", path, err)
	}
	var info struct {
		Dir, Name, ImportPath string
		GoFiles               []string
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return nil, fmt.Errorf("go list %s: %w", path, err)
	}
	p := &pkg{path: info.ImportPath, dir: info.Dir, binary: filepath.Join(dir, "test.bin"), hits: filepath.Join(dir, "hits")}
	overlay := map[string]string{}
	put := func(name string, data []byte) error {
		file := filepath.Join(dir, filepath.Base(name))
		overlay[name] = file
		return os.WriteFile(file, data, 0o600)
	}
	for _, name := range info.GoFiles {
		file := filepath.Join(info.Dir, name)
		src, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		text, mutants, err := mutateFile(file, name, src, len(p.mutants)+1)
		if err != nil {
			return nil, fmt.Errorf("mutate %s: %w", file, err)
		}
		p.mutants = append(p.mutants, mutants...)
		if err := put(file, text); err != nil {
			return nil, err
		}
	}
	if err := put(filepath.Join(info.Dir, "mutants_support.go"), []byte("package "+info.Name+"\n"+support)); err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return nil, err
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, text, 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlayFile, "-o", p.binary, path).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the mutants of %s: %w\n%s", path, err, out)
	}
	return p, nil
}

// run runs tests of the package, with variables added to the environment, and reports whether they passed in time.
func (p *pkg) run(ctx context.Context, limit time.Duration, tests []string, env ...string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.binary, "-test.short", "-test.failfast", "-test.timeout="+limit.String(), "-test.run=^("+strings.Join(tests, "|")+")$")
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), env...)
	// A mutant may leave programs behind that its tests started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	var exit *exec.ExitError
	if err != nil && ctx.Err() == nil && !errors.As(err, &exit) {
		return false, fmt.Errorf("run the tests of %s: %w", p.path, err)
	}
	return err == nil, nil
}

// reach runs each test by itself and notes the mutants that it reaches.
func (p *pkg) reach(ctx context.Context) error {
	list := exec.CommandContext(ctx, p.binary, "-test.list=^(Test|Fuzz|Example)")
	list.Dir = p.dir
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the tests of %s: %w", p.path, err)
	}
	for _, name := range strings.Fields(string(out)) {
		if err := os.WriteFile(p.hits, nil, 0o666); err != nil {
			return err
		}
		start := time.Now()
		passed, err := p.run(ctx, 5*time.Minute, []string{name}, "MUTANT_HITS="+p.hits)
		if err != nil {
			return err
		}
		if !passed {
			return fmt.Errorf("%s of %s fails without any mutant", name, p.path)
		}
		t := test{name: name, takes: time.Since(start), hits: map[int]bool{}}
		data, err := os.ReadFile(p.hits)
		if err != nil {
			return err
		}
		for _, number := range strings.Fields(string(data)) {
			if id, err := strconv.Atoi(number); err == nil {
				t.hits[id] = true
			}
		}
		p.tests = append(p.tests, t)
	}
	slices.SortFunc(p.tests, func(a, b test) int { return int(a.takes - b.takes) })
	return nil
}

// quick is how long the tests of the first of two runs take at most, each.
const quick = 300 * time.Millisecond

// killed reports whether a test notices the mutant.
func (p *pkg) killed(ctx context.Context, m Mutant) (bool, error) {
	var first, second []string
	var limit time.Duration
	for _, t := range p.tests {
		if !t.hits[m.ID] {
			continue
		}
		limit += t.takes
		if t.takes <= quick {
			first = append(first, t.name)
		} else {
			second = append(second, t.name)
		}
	}
	for _, tests := range [][]string{first, second} {
		if len(tests) == 0 {
			continue
		}
		passed, err := p.run(ctx, 10*time.Second+4*limit, tests, "MUTANT="+strconv.Itoa(m.ID))
		if err != nil || !passed {
			return err == nil, err
		}
	}
	return false, nil
}

// result is what became of the mutants of a package.
type result struct {
	pkg                      string
	killed, total            int
	survivors, unreached     []Mutant
	equivalent, notAnyLonger []string
}

// examine runs all mutants of a package but those that are known to be equivalent.
func examine(ctx context.Context, path string, equivalent map[string]string, progress func(done, of int)) (*result, error) {
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	p, err := build(ctx, path, dir)
	if err != nil {
		return nil, err
	}
	if err := p.reach(ctx); err != nil {
		return nil, err
	}
	r := &result{pkg: p.path}
	left := maps.Clone(equivalent)
	for i, m := range p.mutants {
		progress(i, len(p.mutants))
		key := p.path + "/" + m.Key
		if _, ok := equivalent[key]; ok {
			delete(left, key)
			r.equivalent = append(r.equivalent, key)
			continue
		}
		r.total++
		if !slices.ContainsFunc(p.tests, func(t test) bool { return t.hits[m.ID] }) {
			r.unreached = append(r.unreached, m)
			continue
		}
		dead, err := p.killed(ctx, m)
		if err != nil {
			return nil, err
		}
		if dead {
			r.killed++
		} else {
			r.survivors = append(r.survivors, m)
		}
	}
	for key := range left {
		if strings.HasPrefix(key, p.path+"/") && !strings.Contains(strings.TrimPrefix(key, p.path+"/"), "/") {
			r.notAnyLonger = append(r.notAnyLonger, key)
		}
	}
	return r, ctx.Err()
}

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestScripts plays the scenarios in testdata on a fake clock: the section "script" says what happens, "want" is the
// transcript. Jitter is left out of them, so that each moment is known.
//
//	loop [resync=1m] [coalesce=250ms] [workers=2] [keys=a,b]   begins
//	next KEY [takes DURATION] ok | fail TEXT | permanent TEXT | later DURATION TEXT | panic TEXT
//	                            how the next pass of KEY that has no other word ends; ok is the default
//	add KEY SOURCE              a trigger
//	advance DURATION            time passes
//	keys                        prints the status of each key
//	status                      prints the loop's figures
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]string{}
			for _, f := range archive.Files {
				parts[f.Name] = string(f.Data)
			}
			var got string
			synctest.Test(t, func(t *testing.T) { got = play(t, parts["script"]) })
			if os.Getenv("LABD_UPDATE_GOLDEN") != "" {
				for i := range archive.Files {
					if archive.Files[i].Name == "want" {
						archive.Files[i].Data = []byte(got)
					}
				}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(parts["want"], got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// outcome is how a pass ends.
type outcome struct {
	takes time.Duration
	err   error
	panic string
}

// stage is a loop that plays a script.
type stage struct {
	t     *testing.T
	loop  *Loop
	start time.Time

	mu   sync.Mutex
	next map[string][]outcome
	// pending is what happened during the command that runs, out what happened before.
	out, pending []string
}

func (s *stage) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, fmt.Sprintf("%-8s "+format+"\n", append([]any{time.Since(s.start)}, args...)...))
}

func (s *stage) work(ctx context.Context, key string) error {
	s.mu.Lock()
	var o outcome
	if list := s.next[key]; len(list) > 0 {
		o, s.next[key] = list[0], list[1:]
	}
	s.mu.Unlock()
	s.printf("%s begins", key)
	select {
	case <-time.After(o.takes):
	case <-ctx.Done():
		s.printf("%s is stopped", key)
		return ctx.Err()
	}
	switch {
	case o.panic != "":
		s.printf("%s panics", key)
		panic(o.panic)
	case o.err != nil:
		s.printf("%s ends: %v", key, o.err)
	default:
		s.printf("%s ends", key)
	}
	return o.err
}

// play plays a script and returns its transcript.
func play(t *testing.T, script string) string {
	s := &stage{t: t, start: time.Now(), next: map[string][]outcome{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	for number, line := range strings.Split(script, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if err := s.command(ctx, words, done); err != nil {
			t.Errorf("line %d, %q: %v", number+1, line, err)
		}
	}
	cancel()
	<-done
	s.flush()
	return strings.Join(s.out, "")
}

// flush puts what happened during one command on the transcript. What two keys do at the same moment has no order.
func (s *stage) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(s.pending, func(a, b string) int {
		x, y := strings.Fields(a), strings.Fields(b)
		if x[0] != y[0] {
			return 0
		}
		return strings.Compare(x[1], y[1])
	})
	s.out, s.pending = append(s.out, s.pending...), nil
}

func (s *stage) command(ctx context.Context, words []string, done chan struct{}) error {
	switch words[0] {
	case "loop":
		if err := s.begin(words[1:]); err != nil {
			return err
		}
		go func() {
			s.loop.Run(ctx)
			close(done)
		}()
	case "next":
		o, err := parseOutcome(words[2:])
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.next[words[1]] = append(s.next[words[1]], o)
		s.mu.Unlock()
		return nil
	case "add":
		s.loop.Add(words[1], words[2])
	case "advance":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		<-time.After(d)
	case "keys":
		for _, k := range s.loop.KeyStatuses() {
			s.printf("%s: %s since %s, failures %d: %s", k.Key, k.State, k.Since.Sub(s.start), k.Failures, strings.SplitN(k.Reason, "\n", 2)[0])
		}
	case "status":
		v := s.loop.Status()
		s.printf("passes %d, errors %d, retries %d, panics %d, adds %d, depth %d, failing %d, oldest %s, working %s", v.Passes, v.Errors, v.Retries, v.Panics, v.Adds, v.Depth, v.Failing, v.Oldest, v.Working)
	default:
		return errors.New("no such command")
	}
	synctest.Wait()
	s.flush()
	return nil
}

func (s *stage) begin(options []string) error {
	s.loop = &Loop{Name: "test", Resync: time.Hour, Work: s.work, Log: slog.New(slog.DiscardHandler), spread: func(d time.Duration) time.Duration { return d }}
	s.loop.OnPanic = func(p *Panic) {
		if p == nil {
			s.printf("the panic is forgotten")
			return
		}
		s.printf("told of panic %d of %s: %s", p.Count, p.Key, p.Message)
	}
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		var err error
		switch name {
		case "resync":
			s.loop.Resync, err = time.ParseDuration(value)
		case "coalesce":
			s.loop.Coalesce, err = time.ParseDuration(value)
		case "workers":
			s.loop.Workers, err = strconv.Atoi(value)
		case "keys":
			keys := strings.Split(value, ",")
			s.loop.Keys = func() []string { return slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == "" }) }
		default:
			err = errors.New("no such option")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func parseOutcome(words []string) (o outcome, err error) {
	for len(words) > 0 {
		text := strings.Join(words[1:], " ")
		switch words[0] {
		case "takes":
			if o.takes, err = time.ParseDuration(words[1]); err != nil {
				return o, err
			}
			words = words[2:]
			continue
		case "ok":
		case "fail":
			o.err = errors.New(text)
		case "permanent":
			o.err = Permanent(errors.New(text))
		case "later":
			after, err := time.ParseDuration(words[1])
			if err != nil {
				return o, err
			}
			o.err = &LaterError{After: after, Reason: strings.Join(words[2:], " ")}
		case "panic":
			o.panic = text
		default:
			return o, fmt.Errorf("no such outcome: %s", words[0])
		}
		return o, nil
	}
	return o, nil
}

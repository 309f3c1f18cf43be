package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

// logFlags are what labctl logs asks for.
type logFlags struct {
	follow, timestamps, prefix bool
	since                      time.Duration
	sinceTime                  string
	tail                       int
}

func (a *app) logsCommand() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:     "logs [-f] TARGET…",
		Short:   "Show what Docker containers printed",
		Long:    targetHelp + "\n\nThe lines of several containers come as they are printed, each with its container in front.",
		Example: "  labctl logs 101/web --tail 50\n  labctl logs -f 101/web 102/db\n  labctl logs 101/web --since 10m --timestamps",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &Error{apiv1.ErrorUsage, "labctl logs takes one or more TARGETs", "labctl logs 101/web; labctl tree lists them"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			query, err := f.query(time.Now())
			if err != nil {
				return err
			}
			var targets []target
			for _, arg := range args {
				t, err := parseTarget(arg)
				if err != nil {
					return err
				}
				targets = append(targets, t)
			}
			return a.with(cmd.Context(), func(c *client) error { return a.logs(cmd.Context(), c, targets, query, f.prefix || len(targets) > 1) })
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with what comes")
	flags.BoolVar(&f.timestamps, "timestamps", false, "with the time of each line")
	flags.BoolVar(&f.prefix, "prefix", false, "with the container before each line; always so for several")
	flags.DurationVar(&f.since, "since", 0, "only what is newer than this, such as 5m")
	flags.StringVar(&f.sinceTime, "since-time", "", "only what is newer than this time (RFC 3339)")
	flags.IntVar(&f.tail, "tail", -1, "only this many of the last lines; all of them by default")
	cmd.MarkFlagsMutuallyExclusive("since", "since-time")
	return cmd
}

// query are the flags in the API's words.
func (f logFlags) query(now time.Time) (string, error) {
	q := url.Values{}
	if f.follow {
		q.Set("follow", "1")
	}
	if f.timestamps {
		q.Set("timestamps", "1")
	}
	if f.tail >= 0 {
		q.Set("tail", strconv.Itoa(f.tail))
	}
	since := time.Time{}
	switch {
	case f.since < 0:
		return "", usageError("--since must not be negative")
	case f.since > 0:
		since = now.Add(-f.since)
	case f.sinceTime != "":
		var err error
		if since, err = time.Parse(time.RFC3339, f.sinceTime); err != nil {
			return "", usageError("--since-time %q is no time such as 2026-11-28T14:00:00Z", f.sinceTime)
		}
	}
	if !since.IsZero() {
		q.Set("since", strconv.FormatInt(since.Unix(), 10))
	}
	return q.Encode(), nil
}

// logs shows the logs of all targets until the last one ends. What fails of one does not end the others.
func (a *app) logs(ctx context.Context, c *client, targets []target, query string, prefix bool) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	errs := make([]error, len(targets))
	for i, t := range targets {
		out, errOut := io.Writer(a.out), io.Writer(a.stderr)
		if prefix {
			label := "[" + escape(t.String()) + "] "
			out, errOut = &lineWriter{mu: &mu, w: a.out, prefix: label}, &lineWriter{mu: &mu, w: a.stderr, prefix: label}
		}
		wg.Go(func() { errs[i] = logsOf(ctx, c, t, query, out, errOut) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func logsOf(ctx context.Context, c *client, t target, query string, out, errOut io.Writer) error {
	path := t.path("logs")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path+"?"+query, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusedStream(resp, path)
	}
	result, err := readStream(resp.Body, out, errOut)
	if err != nil {
		return err
	}
	if result.Error != "" {
		return &Error{apiv1.ErrorInternal, t.String() + ": " + result.Error, ""}
	}
	return nil
}

// maxLine is how much of a line is held back for its end, in bytes.
const maxLine = 64 << 10

// lineWriter writes whole lines with a prefix, so that several logs do not tear each other's lines.
type lineWriter struct {
	mu     *sync.Mutex
	w      io.Writer
	prefix string
	held   []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.held = append(l.held, p...)
	for {
		end := bytes.IndexByte(l.held, '\n')
		if end < 0 && len(l.held) < maxLine {
			return len(p), nil
		}
		line := l.held
		if end >= 0 {
			line = l.held[:end]
		}
		l.mu.Lock()
		_, err := fmt.Fprintf(l.w, "%s%s\n", l.prefix, line)
		l.mu.Unlock()
		if err != nil {
			return 0, err
		}
		l.held = append(l.held[:0], l.held[min(len(line)+1, len(l.held)):]...)
	}
}

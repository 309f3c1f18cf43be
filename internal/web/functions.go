package web

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/printable"
)

// longest is how many characters of a text are shown; the whole text is in the title.
const longest = 200

// functions are what the templates call. All foreign text goes through show.
func functions() template.FuncMap {
	return template.FuncMap{
		"show": show, "clip": clip, "ago": ago, "clock": clock, "word": word, "icon": icon, "plural": plural, "short": shorten, "add": func(a, b int) int { return a + b },
		"join": func(list []string) string { return strings.Join(list, ", ") }, "last": func(id string) string { return id[strings.LastIndexByte(id, '/')+1:] },
		"days": func(d *float64) string { return fmt.Sprintf("%.0f", *d) }, "anchor": func(id string) string { return "s-" + id }, "bad": func(h apiv1.Health) bool { return h.Worse(apiv1.HealthUnknown) },
	}
}

// show makes foreign text safe to look at: control characters and those that turn the direction of writing are written
// out. html/template escapes the rest by its place.
func show(text any) string { return printable.Text(fmt.Sprint(text)) }

// clip is show, cut where it is very long.
func clip(text any) string { return shorten(longest, fmt.Sprint(text)) }

// shorten cuts a text to n characters.
func shorten(n int, text string) string {
	safe := []rune(show(text))
	if len(safe) <= n {
		return string(safe)
	}
	return string(safe[:n-1]) + "…"
}

// ago says how long ago a time was; a number without its age is of no use.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "not yet"
	}
	d := now.Sub(t)
	switch {
	case d < 2*time.Second:
		return "now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

// clock is a time for machines.
func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// word is a level of health in words: colour alone says nothing to many.
func word(h apiv1.Health) string {
	switch h {
	case apiv1.HealthOK:
		return "ok"
	case apiv1.HealthInfo:
		return "note"
	case apiv1.HealthWarn:
		return "warning"
	case apiv1.HealthFail:
		return "failure"
	default:
		return "unknown"
	}
}

// icon is the name of the symbol for a level of health; each has a shape of its own.
func icon(h apiv1.Health) string {
	switch h {
	case apiv1.HealthOK, apiv1.HealthInfo, apiv1.HealthWarn, apiv1.HealthFail:
		return string(h)
	default:
		return "unknown"
	}
}

// plural is a number with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

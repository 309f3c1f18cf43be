// Package host is the machine that labd looks at and acts on, under path prefixes that can all be moved: files with a
// deadline on every read, kernel log records, the mount table, systemd units, and the only place that starts programs.
package host

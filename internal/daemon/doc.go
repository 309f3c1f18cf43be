// Package daemon puts labd together: it observes in loops, serves the API and the metrics, talks to systemd, and
// stops in time.
package daemon

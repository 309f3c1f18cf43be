// Package cli holds labctl's commands and printers. labctl is a thin HTTP client of labd's API: it decides nothing.
package cli

// Package peers measures labd beside other exporters, on the same tree in one run. It is a module of its own, so that what
// they need is no dependency of labd.
package peers

// Package stream carries byte streams between a caller and a Docker daemon that is not trusted: upgraded connections with
// half-close and early data, exec, logs and single TCP connections. No connection is kept for a second use.
package stream

// Package stream carries byte streams between a caller and a Docker daemon that is not trusted: upgraded connections with
// half-close and early data, Docker's frames, exec, logs and single TCP connections. Nothing here keeps a connection for a
// second use, and no length that a daemon announces is ever allocated.
package stream

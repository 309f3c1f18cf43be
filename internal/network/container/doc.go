// Package container finds the running containers of a node and holds them open: their network namespace, and the Docker or
// Podman that listens in them.
package container

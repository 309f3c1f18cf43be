// Package docker reads the networks and containers of a Docker or Podman daemon that is not trusted: over a socket that
// the caller vouches for, with GET requests only, with limits on size, number and time, and with every name and prefix
// checked before anyone sees it.
package docker

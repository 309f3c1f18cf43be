// Package lxc finds running LXC containers and holds on to them: by their command socket, a pidfd, their network
// namespace, and paths inside their root file system that a hostile container cannot lead astray. It runs no program
// and trusts nothing that a container says.
package lxc

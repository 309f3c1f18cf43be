package server

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"labd/internal/access"
)

// Group is the group whose members may read.
const Group = "labd"

type identityKey struct{}

// caller is who is at the other end of a connection.
type caller struct {
	name              string
	mayRead, mayApply bool
	// public says that nobody vouches for the caller, who came by TCP.
	public bool
	// credential is what a caller from the network showed, address where from.
	credential *access.Credential
	address    string
}

func identity(ctx context.Context) caller {
	c, _ := ctx.Value(identityKey{}).(caller)
	return c
}

// ConnContext puts the identity of a unix socket's peer, which the kernel vouches for (SO_PEERCRED, unix(7)), into
// the context of its requests. The socket's mode lets root and group labd connect and nobody else, so whoever is there
// may read. A connection of any other kind may do nothing.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return ctx
	}
	c := caller{name: fmt.Sprintf("uid %d", cred.Uid), mayRead: true, mayApply: cred.Uid == 0}
	if u, err := user.LookupId(strconv.Itoa(int(cred.Uid))); err == nil {
		c.name = u.Username
	}
	return context.WithValue(ctx, identityKey{}, c)
}

package pvesim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"labd/test/pvesim/front"
)

// InstallPrograms puts pvesh and pveum into dir, which is made, as links to
// binary, and answers them until the server is closed. binary is a build of
// labd/test/pvesim/pvesh, or any program that calls front.Run first.
func (s *Server) InstallPrograms(dir, binary string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("pvesim: %w", err)
	}
	for _, name := range front.Programs() {
		if err := os.Symlink(binary, filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("pvesim: %w", err)
		}
	}
	l, err := net.Listen("unix", filepath.Join(dir, front.Socket))
	if err != nil {
		return fmt.Errorf("pvesim: %w", err)
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		<-s.ctx.Done()
		_ = l.Close()
	}()
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Add(1)
			go func() {
				defer s.wg.Done()
				s.serveProgram(c.(*net.UnixConn))
			}()
		}
	}()
	return nil
}

// serveProgram answers one run of a program.
func (s *Server) serveProgram(c *net.UnixConn) {
	defer c.Close()
	var r front.Request
	if err := json.NewDecoder(c).Decode(&r); err != nil {
		return
	}
	_ = json.NewEncoder(c).Encode(s.front(r.Program, r.Args, isRoot(c)))
}

// isRoot asks the kernel who is at the other end. Where the tests themselves are
// not root, their own user stands for it.
func isRoot(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	err = errors.Join(raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}), err)
	return err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}

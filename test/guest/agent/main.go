// Command agent is the first process of a guest, or a service of the guest's systemd. It loads the kernel's modules and then does what it is told on the
// second serial port, one JSON object a line: see guest.Request.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"labd/test/guest/wire"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "dmesg" {
		os.Exit(dmesg())
	}
	if len(os.Args) > 1 && os.Args[1] == "tree" {
		os.Exit(tree())
	}
	// As a service of systemd it finds everything prepared, and leaves the machine on when it ends.
	service := len(os.Args) > 1 && os.Args[1] == "serve"
	if err := serve(!service); err != nil {
		fmt.Println("agent:", err)
	}
	if service {
		return
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func serve(first bool) error {
	if first {
		if err := prepare(); err != nil {
			return err
		}
	}
	port, err := os.OpenFile("/dev/ttyS1", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := raw(port); err != nil {
		return fmt.Errorf("raw mode: %w", err)
	}
	answers := json.NewEncoder(port)
	if err := answers.Encode(wire.Answer{Output: []byte("ready")}); err != nil {
		return err
	}
	lines := bufio.NewScanner(port)
	lines.Buffer(nil, wire.MaxLine)
	for lines.Scan() {
		var req wire.Request
		answer := wire.Answer{}
		if err := json.Unmarshal(lines.Bytes(), &req); err != nil {
			answer.Error = err.Error()
		} else {
			answer = do(req)
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func prepare() error {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return nil
}

func raw(port *os.File) error {
	t, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, t)
}

func do(req wire.Request) (out wire.Answer) {
	var err error
	switch req.Do {
	case wire.Load:
		err = load(req.Args[0], strings.Join(req.Args[1:], " "))
	case wire.Write:
		err = write(req)
	case wire.Read:
		out.Output, err = os.ReadFile(req.Path)
	case wire.Names:
		var names []string
		names, err = filepath.Glob(req.Path)
		out.Output = []byte(strings.Join(names, "\n"))
	case wire.Touch: // reads a disk directly, past the page cache, in the background or to its end
		err = touch(req.Path)
	case wire.Run:
		return run(req)
	case wire.Start:
		cmd := exec.Command(req.Args[0], req.Args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
		if err = cmd.Start(); err == nil {
			go func() { _ = cmd.Wait() }()
		}
	default:
		err = fmt.Errorf("no request %q", req.Do)
	}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

func write(req wire.Request) error {
	if err := os.MkdirAll(filepath.Dir(req.Path), 0o755); err != nil && !strings.HasPrefix(req.Path, "/sys/") {
		return err
	}
	flags := os.O_WRONLY
	if req.Create {
		flags |= os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(req.Path, flags, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(req.Data, req.Offset)
	return errors.Join(err, f.Close())
}

// touch reads a block of a disk without the page cache. It returns at once; the read goes on.
func touch(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	go func() {
		_, err := unix.Pread(fd, page, 8<<20)
		fmt.Println("agent: read", path, err)
		_ = unix.Close(fd)
	}()
	return nil
}

// load loads a module by file with parameters. One that is loaded or built in already is no error.
func load(path, parameters string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), parameters, 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func run(req wire.Request) (out wire.Answer) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, req.Args[0], req.Args[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &stdout, &stderr, []string{"PATH=/bin", "HOME=/"}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		out.Error = err.Error()
	}
	out.Output, out.Stderr, out.Exit = stdout.Bytes(), stderr.Bytes(), cmd.ProcessState.ExitCode()
	return out
}

// dmesg prints the kernel's log about drives and their bus.
func dmesg() int {
	log, err := kernelLog()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Print(log)
	return 0
}

// kernelLog are the lines about drives and their bus.
func kernelLog() (string, error) {
	buffer := make([]byte, 1<<20)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buffer)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for line := range strings.Lines(string(buffer[:n])) {
		if strings.Contains(line, "nvme") || strings.Contains(line, "pci ") || strings.Contains(line, "pcie") || strings.Contains(line, "blk_") || strings.Contains(line, "I/O error") {
			out.WriteString(line)
		}
	}
	return out.String(), nil
}

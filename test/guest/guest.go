package guest

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"labd/test/guest/wire"
)

// Config is a guest.
type Config struct {
	Kernel *Kernel
	// Devices are arguments of QEMU for its drives; DIR stands for the guest's directory.
	Devices []string
	// Disks are disk images to make in the guest's directory, in bytes by name.
	Disks map[string]int64
	// Programs are files that the guest has in /bin; without Tree, with the libraries that they need.
	Programs []string
	// Links are symbolic links by their path, with their target.
	Links map[string]string
	// Agent is the agent's program.
	Agent string
	// Tree, when set, is the root of a Debian release with systemd, which then is the guest's first process; the agent is a
	// service of it, and programs are in /usr/bin. Files are further files by their path, with their text.
	Tree  string
	Files map[string]string
	// Dir is an empty directory for the guest's files.
	Dir string
}

// Guest is a running guest. It is not safe for concurrent use.
type Guest struct {
	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
	port   net.Conn
	lines  *bufio.Scanner
	qmp    net.Conn
	qmpIn  *bufio.Scanner
}

// bootTimeout bounds the time from QEMU's start to the agent's first word; TCG on a busy machine takes seconds.
const bootTimeout = 2 * time.Minute

// Start boots a guest and waits for its agent. The console is the file console in Dir.
func Start(ctx context.Context, cfg Config) (*Guest, error) {
	initrd, err := initramfs(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("make the guest's file system: %w", err)
	}
	for name, size := range cfg.Disks {
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), nil, 0o600); err != nil {
			return nil, err
		}
		if err := os.Truncate(filepath.Join(cfg.Dir, name), size); err != nil {
			return nil, err
		}
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", cfg.memory(), "-smp", "1",
		"-kernel", cfg.Kernel.Image, "-initrd", initrd, "-append", "console=ttyS0 panic=-1 quiet loglevel=3", "-no-reboot",
		"-serial", "file:" + filepath.Join(cfg.Dir, "console"),
		"-chardev", "socket,id=agent,path=" + filepath.Join(cfg.Dir, "agent") + ",server=on,wait=off", "-serial", "chardev:agent",
		"-qmp", "unix:" + filepath.Join(cfg.Dir, "qmp") + ",server=on,wait=off",
	}
	for _, arg := range cfg.Devices {
		args = append(args, strings.ReplaceAll(arg, "DIR", cfg.Dir))
	}
	g := &Guest{dir: cfg.Dir, cmd: exec.Command("qemu-system-x86_64", args...), exited: make(chan struct{})}
	var said bytes.Buffer
	g.cmd.Stderr = &said
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = g.cmd.Wait(); close(g.exited) }()
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	if err := g.connect(ctx); err != nil {
		err = errors.Join(err, g.Close())
		return nil, fmt.Errorf("boot a guest with %s: %w: %s\nconsole:\n%s", cfg.Kernel.Release, err, said.String(), g.Console())
	}
	return g, nil
}

// connect waits for QEMU's sockets and the agent's first line.
func (g *Guest) connect(ctx context.Context) (err error) {
	if g.port, err = g.dial(ctx, "agent"); err != nil {
		return err
	}
	if g.qmp, err = g.dial(ctx, "qmp"); err != nil {
		return err
	}
	g.lines, g.qmpIn = bufio.NewScanner(g.port), bufio.NewScanner(g.qmp)
	g.lines.Buffer(nil, wire.MaxLine)
	g.qmpIn.Buffer(nil, 1<<20)
	deadline, _ := ctx.Deadline()
	_ = g.port.SetReadDeadline(deadline)
	if _, err := g.answer(); err != nil {
		return err
	}
	g.qmpIn.Scan() // the greeting
	return g.QMP("qmp_capabilities", nil)
}

func (g *Guest) dial(ctx context.Context, name string) (net.Conn, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("unix", filepath.Join(g.dir, name))
		if err == nil {
			return conn, nil
		}
		select {
		case <-tick.C:
		case <-g.exited:
			return nil, errors.New("QEMU ended")
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// Close ends the guest.
func (g *Guest) Close() error {
	if g.port != nil {
		_ = g.port.Close()
	}
	if g.qmp != nil {
		_ = g.qmp.Close()
	}
	err := g.cmd.Process.Kill()
	<-g.exited
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Console is what the guest's kernel and its background programs wrote.
func (g *Guest) Console() string {
	data, _ := os.ReadFile(filepath.Join(g.dir, "console"))
	return string(data)
}

func (g *Guest) answer() (wire.Answer, error) {
	var a wire.Answer
	if !g.lines.Scan() {
		return a, fmt.Errorf("the guest's agent is silent: %w", errors.Join(g.lines.Err(), io.EOF))
	}
	if err := json.Unmarshal(g.lines.Bytes(), &a); err != nil {
		return a, fmt.Errorf("the guest's agent said %.200q: %w", g.lines.Text(), err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// Do has the agent do something, and waits two minutes for it at the most.
func (g *Guest) Do(req wire.Request) (wire.Answer, error) {
	line, err := json.Marshal(req)
	if err != nil {
		return wire.Answer{}, err
	}
	_ = g.port.SetDeadline(time.Now().Add(bootTimeout))
	if _, err := g.port.Write(append(line, '\n')); err != nil {
		return wire.Answer{}, err
	}
	answer, err := g.answer()
	if err != nil {
		return answer, fmt.Errorf("%s %s %s: %w", req.Do, req.Path, strings.Join(req.Args, " "), err)
	}
	return answer, nil
}

// QMP sends a command to QEMU itself and waits for its answer.
func (g *Guest) QMP(command string, arguments map[string]any) error {
	if arguments == nil {
		arguments = map[string]any{}
	}
	line, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if err != nil {
		return err
	}
	_ = g.qmp.SetDeadline(time.Now().Add(time.Minute))
	if _, err := g.qmp.Write(append(line, '\n')); err != nil {
		return err
	}
	for g.qmpIn.Scan() {
		var answer struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		switch err := json.Unmarshal(g.qmpIn.Bytes(), &answer); {
		case err != nil:
			return err
		case answer.Error != nil:
			return fmt.Errorf("QEMU: %s: %s", command, answer.Error.Desc)
		case answer.Return != nil:
			return nil
		} // else an event
	}
	return fmt.Errorf("QEMU is silent: %w", g.qmpIn.Err())
}

// memory is how much the guest has, in megabytes: its file system lies in it.
func (c Config) memory() string {
	if c.Tree != "" {
		return "2048"
	}
	return "768"
}

// pruned are what a guest with systemd does not need of its tree.
const pruned = `\( -path ./usr/share/doc -o -path ./usr/share/man -o -path ./usr/share/locale -o -path ./usr/share/zoneinfo -o -path ./usr/share/perl ` +
	`-o -path './usr/share/perl5' -o -path './usr/lib/*/perl*' -o -path ./var/cache/apt -o -path ./var/lib/apt \) -prune -o -print`

// agentUnit runs the agent under systemd.
const agentUnit = "[Unit]\nDescription=agent of the test\n[Service]\nExecStart=/usr/bin/agent serve\nStandardOutput=tty\nTTYPath=/dev/ttyS0\n"

// initramfs packs the programs, the modules and either the agent as /init or the tree, with systemd as /init.
func initramfs(ctx context.Context, cfg Config) (string, error) {
	image := filepath.Join(cfg.Dir, "initrd")
	programs, bin, texts := cfg.Programs, "bin", cfg.Files
	files := map[string]string{}
	if cfg.Tree == "" {
		files["init"] = cfg.Agent
		for _, program := range programs {
			libraries, err := librariesOf(ctx, program)
			if err != nil {
				return "", err
			}
			for _, library := range libraries {
				files[library] = library
			}
		}
	} else {
		if err := pack(ctx, cfg.Tree, pruned, image); err != nil {
			return "", err
		}
		programs, bin, texts = append([]string{cfg.Agent}, programs...), "usr/bin", maps.Clone(texts)
		if texts == nil {
			texts = map[string]string{}
		}
		texts["etc/systemd/system/agent.service"] = agentUnit
	}
	for _, program := range programs {
		files[filepath.Join(bin, filepath.Base(program))] = program
	}
	for _, module := range slices.Concat(cfg.Kernel.Modules, cfg.Kernel.Thin) {
		files[filepath.Join("modules", filepath.Base(module))] = module
	}
	root := filepath.Join(cfg.Dir, "root")
	for name, source := range files {
		data, err := os.ReadFile(source)
		if err != nil {
			return "", err
		}
		if err := put(filepath.Join(root, name), data, 0o755); err != nil {
			return "", err
		}
	}
	for name, text := range texts {
		if err := put(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	for name, target := range cfg.Links {
		link := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(target, link)); err != nil {
			return "", err
		}
	}
	for _, dir := range []string{"etc", "tmp", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return "", err
		}
	}
	if cfg.Tree != "" {
		wants := filepath.Join(root, "etc/systemd/system/multi-user.target.wants")
		if err := errors.Join(os.MkdirAll(wants, 0o755), os.Symlink("../agent.service", filepath.Join(wants, "agent.service")),
			os.Symlink("/lib/systemd/systemd", filepath.Join(root, "init"))); err != nil {
			return "", err
		}
	}
	// The kernel unpacks archives that follow each other.
	return image, pack(ctx, root, "-print", image)
}

var library = regexp.MustCompile(`(?m)^\t(?:\S+ => )?(/\S+) \(`)

// librariesOf are the libraries that a program of this machine needs, with their loader; a static one needs none.
func librariesOf(ctx context.Context, program string) ([]string, error) {
	file, err := elf.Open(program)
	if err != nil {
		return nil, fmt.Errorf("read the program %s: %w", program, err)
	}
	defer file.Close()
	if !slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return nil, nil
	}
	out, err := output(exec.CommandContext(ctx, "ldd", program))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, m := range library.FindAllSubmatch(out, -1) {
		found = append(found, string(m[1]))
	}
	return found, nil
}

func put(name string, data []byte, mode os.FileMode) error {
	return errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, mode))
}

// pack appends what find prints of a directory to an archive.
func pack(ctx context.Context, dir, find, image string) error {
	out, err := os.OpenFile(image, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, "sh", "-c", "find . "+find+" | cpio -o -H newc --quiet")
	cmd.Dir, cmd.Stdout = dir, out
	return cmd.Run()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"labd/internal/pve"
	"labd/test/fixture"
	"labd/test/lab"
	"labd/test/pvesim"
)

// demo is one run.
type demo struct {
	out       io.Writer
	colour    bool
	bin, unit string

	start   time.Time
	lab     *lab.Lab
	pve     *pvesim.Server
	disk    *lab.Disk
	ct      *lab.CT
	web     string // the address of the Docker container
	ready   time.Duration
	metrics string // the address of the metrics on this machine
}

// name of the demo's lab; a second demo at the same time gets an error that says so.
const name = "demo"

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// paint puts an ANSI colour around text on a terminal.
func (d *demo) paint(code, text string) string {
	if !d.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// title begins a part.
func (d *demo) title(text string) {
	d.say("\n%s", d.paint("1", "== "+text))
}

func (d *demo) run(ctx context.Context) error {
	d.start = time.Now()
	d.say("Starting a PVE host with systemd, an LXC container with Docker, a disk and a LAN client …")
	if err := d.startLab(ctx); err != nil {
		return err
	}
	d.say("Up after %.1f s; labd was ready %d ms after its start.", time.Since(d.start).Seconds(), d.ready.Milliseconds())
	for _, part := range []func(context.Context) error{d.showNVMe, d.showStorage, d.showNetwork, d.showEnd} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	d.say("\nDone in %.1f s.", time.Since(d.start).Seconds())
	return nil
}

func (d *demo) startLab(ctx context.Context) (err error) {
	if d.lab, err = lab.Start(ctx, lab.Config{Name: name, Logf: d.say}); err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.startContainer(gctx) })
	group.Go(func() error { return d.startStorage(gctx) })
	if err := group.Wait(); err != nil {
		return err
	}
	if d.pve, err = d.lab.StartPVE(ctx, d.disk.StorageEntry()); err != nil {
		return err
	}
	tree := filepath.Join(d.lab.Dir(), "store/nvme")
	if err := fixture.Materialise(tree, fixture.P7000Z); err != nil {
		return err
	}
	// The drives are a recorded host's: this machine has none that could be missing.
	config := "[paths]\nsysfs = \"/lab/nvme/sys\"\nkmsg = \"/lab/nvme/dmesg\"\n[kernel]\nrelease = \"" + fixture.P7000ZRelease + "\"\n[listen]\napi = true\n[notify]\nmail_to = []\n" // the lab has no mail server
	if err := d.lab.InstallLabd(d.bin, d.unit, config); err != nil {
		return err
	}
	d.ready, err = d.lab.StartLabd(ctx)
	return err
}

func (d *demo) startContainer(ctx context.Context) (err error) {
	if d.ct, err = d.lab.AddContainer(ctx, lab.Container{ID: 101}); err != nil {
		return err
	}
	if err := d.ct.WaitDocker(ctx); err != nil {
		return err
	}
	if err := d.ct.ImportImage(ctx); err != nil {
		return err
	}
	d.web, err = d.ct.RunContainer(ctx, "web")
	return err
}

func (d *demo) startStorage(ctx context.Context) (err error) {
	if d.disk, err = d.lab.AddDisk(ctx, "usb1"); err != nil {
		return err
	}
	return d.disk.PullAndReboot(ctx)
}

// prompt shows a command as a person would type it, runs it on the host and prints what it prints. Exit codes of
// check commands are part of the show.
func (d *demo) prompt(ctx context.Context, args ...string) error {
	d.say("\n%s %s", d.paint("36", "root@"+d.lab.Node+":~#"), strings.Join(args, " "))
	out, err := d.lab.Command(ctx, args[0], args[1:]...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		fmt.Fprint(d.out, line)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() < 5 && exit.ExitCode() != 1 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (d *demo) showNVMe(ctx context.Context) error {
	d.title("1. Where is my NVMe drive? Three drives are plugged in; PVE shows two.")
	return d.prompt(ctx, "labctl", "check-nvme")
}

func (d *demo) showStorage(ctx context.Context) error {
	d.title("2. How do I get rid of this dead storage? The disk of usb1 was pulled.")
	d.say("\nPVE's own panel, Disks > Directory > Destroy:")
	text, err := d.destroyInPanel(ctx)
	if err != nil {
		return err
	}
	d.say("    %s", text)
	for _, args := range [][]string{
		{"labctl", "fix-storage"},
		{"labctl", "fix-storage", "usb1", "--yes"},
		{"grep", "-E", "^[a-z]+:", "/etc/pve/storage.cfg"},
		{"systemctl", "list-units", "--all", "--no-legend", "mnt-pve-*"},
		{"labctl", "journal"},
	} {
		if err := d.prompt(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// destroyInPanel makes the call that PVE's panel makes, and returns how its task ended.
func (d *demo) destroyInPanel(ctx context.Context) (string, error) {
	token, err := os.ReadFile(d.lab.Path("/etc/labd/token"))
	if err != nil {
		return "", err
	}
	address, err := d.lab.Relay(ctx, "127.0.0.1:8006")
	if err != nil {
		return "", err
	}
	client, err := pve.NewClient(pve.ClientConfig{BaseURL: "https://" + address, Token: strings.TrimSpace(string(token)), CA: d.pve.CA(), Node: d.lab.Node})
	if err != nil {
		return "", err
	}
	defer client.Close()
	upid, err := client.DeleteDirectory(ctx, d.disk.Name, true, true)
	if err != nil {
		return "", err
	}
	task, err := client.WaitTask(ctx, upid, 50*time.Millisecond)
	if err != nil {
		return "", err
	}
	return "TASK ERROR: " + task.ExitStatus, nil
}

func (d *demo) showNetwork(ctx context.Context) error {
	d.title("3. Why can't I reach the Docker container in my LXC?")
	d.ping(ctx)
	for _, args := range [][]string{{"labctl", "net", "list"}, {"labctl", "net", "on", "--yes"}} {
		if err := d.prompt(ctx, args...); err != nil {
			return err
		}
	}
	if !d.ping(ctx) {
		return errors.New("the ping is still lost")
	}
	if err := d.prompt(ctx, "ip", "route", "show", "table", "176"); err != nil {
		return err
	}
	d.say("\nlabctl net off takes all of it away again.")
	return nil
}

// ping sends one packet from the LAN client to the Docker container and says what came of it.
func (d *demo) ping(ctx context.Context) bool {
	d.say("\n%s ping -c 1 %s", d.paint("36", "client@lan:~$"), d.web)
	answered := d.lab.Ping(ctx, d.web)
	if answered {
		d.say("1 packet sent, 1 received: answered")
	} else {
		d.say("1 packet sent, 0 received: lost")
	}
	return answered
}

func (d *demo) showEnd(ctx context.Context) (err error) {
	d.title("One screen for all of it")
	if err := d.prompt(ctx, "labctl", "status"); err != nil {
		return err
	}
	d.metrics, err = d.lab.Relay(ctx, "127.0.0.1:9717")
	return err
}

// shell is the command that opens a shell on the lab's host.
func (d *demo) shell() string {
	return fmt.Sprintf("nsenter --target %d --mount --uts --ipc --net --pid bash", d.lab.PID())
}

func (d *demo) close() error {
	if d.pve != nil {
		d.pve.Close()
	}
	if d.lab == nil {
		return nil
	}
	return d.lab.Close()
}

package disk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"labd/internal/host"
	"labd/internal/layer"
)

// OtherDisk is a disk that is no NVMe drive: SATA, SAS, USB or virtual.
type OtherDisk struct {
	// Name is the block device: sda. Transport is sata, sas, usb, virtio or scsi.
	Name, Transport, Model, Serial string
	SizeBytes                      int64
	// Users are what holds it or a partition. What is on a disk that nothing uses is not looked for: reading would wake it.
	Users []layer.Layer
	// Health is what smartctl says: "passed", "failed", "asleep", or why it is not known.
	Health string
}

var otherName = regexp.MustCompile(`^(?:sd[a-z]+|vd[a-z]+|xvd[a-z]+)$`)

// OtherDisks looks at the disks that are no NVMe drives, and asks smartctl for their health where it is installed. A disk that
// sleeps is not woken.
func (o *Observer) OtherDisks(ctx context.Context) []OtherDisk {
	a := newAttributes(o.host, o.timeout)
	defer a.close()
	mounts, _ := o.host.Mounts(ctx) // without it only the users of disks are unknown
	around := o.surroundings(a, mounts, o.now())
	var out []OtherDisk
	for _, name := range a.names(o.host.Sysfs, "block") {
		if !otherName.MatchString(name) {
			continue
		}
		dir := filepath.Join(o.host.Sysfs, "block", name)
		d := OtherDisk{
			Name: name, Transport: transport(a.target(dir), name), Model: strings.TrimSpace(a.get(dir, "device/model")),
			Serial: strings.TrimSpace(a.get(dir, "serial")), SizeBytes: a.number(dir, "size") * 512,
		}
		d.Users = o.users(around, name, dir)
		for _, child := range a.names(dir) {
			if strings.HasPrefix(child, name) {
				d.Users = append(d.Users, o.users(around, child, filepath.Join(dir, child))...)
			}
		}
		d.Users = distinct(d.Users)
		o.askSmartctl(ctx, &d)
		out = append(out, d)
	}
	return out
}

// transport tells by the place of a disk in sysfs how it is connected.
func transport(target, name string) string {
	switch {
	case strings.Contains(target, "/usb"):
		return "usb"
	case strings.Contains(target, "/ata"):
		return "sata"
	case strings.Contains(target, "/end_device-"), strings.Contains(target, "/sas_"):
		return "sas"
	case strings.Contains(target, "/virtio"), strings.HasPrefix(name, "vd"):
		return "virtio"
	default:
		return "scsi"
	}
}

// smartTimeout is how long one disk may take to say how it is.
const smartTimeout = 5 * time.Second

// askSmartctl asks for a disk's health, serial number and, where sysfs does not have it, model.
func (o *Observer) askSmartctl(ctx context.Context, d *OtherDisk) {
	if !o.host.HasProgram("smartctl") {
		d.Health = "smartctl is not installed (package smartmontools)"
		return
	}
	ctx, cancel := context.WithTimeout(ctx, smartTimeout)
	defer cancel()
	text, err := o.host.Run(ctx, host.Cmd{Name: "smartctl", Args: []string{"--json", "--info", "--health", "--nocheck=standby", filepath.Join("/dev", d.Name)}})
	var exit *host.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.Health = "smartctl: " + err.Error()
		return
	}
	d.read(text)
}

// read takes what smartctl --json says (smartctl(8), JSON output); its exit code has a bit for each finding, so it does not count.
func (d *OtherDisk) read(text []byte) {
	var answer struct {
		Model   string                 `json:"model_name"`
		Serial  string                 `json:"serial_number"`
		Status  *struct{ Passed bool } `json:"smart_status"`
		Program struct {
			Messages []struct{ String string } `json:"messages"`
		} `json:"smartctl"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		d.Health = "smartctl gave no answer that labd can read"
		return
	}
	if answer.Serial != "" {
		d.Serial = answer.Serial
	}
	if answer.Model != "" {
		d.Model = answer.Model
	}
	switch {
	case answer.Status != nil && answer.Status.Passed:
		d.Health = "passed"
	case answer.Status != nil:
		d.Health = "failed"
	case len(answer.Program.Messages) > 0 && strings.Contains(strings.ToUpper(answer.Program.Messages[0].String), "STANDBY"):
		d.Health = "asleep"
	case len(answer.Program.Messages) > 0:
		d.Health = "not known: " + answer.Program.Messages[0].String
	default:
		d.Health = "not known"
	}
}

// String is the disk in one line.
func (d OtherDisk) String() string {
	parts := []string{d.Transport}
	for _, part := range []string{d.Model, d.Serial} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if d.SizeBytes > 0 {
		parts = append(parts, fmt.Sprintf("%.2f TB", float64(d.SizeBytes)/1e12))
	} else {
		parts = append(parts, "no size: the disk is gone or has no medium")
	}
	if len(d.Users) > 0 {
		parts = append(parts, "used by "+layer.Join(d.Users))
	}
	return d.Name + ": " + strings.Join(append(parts, "SMART "+d.Health), ", ")
}

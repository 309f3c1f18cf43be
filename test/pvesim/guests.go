package pvesim

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"labd/internal/pve"
)

// guestFile is a guest's configuration file with its sections after the live one
// kept as they are.
type guestFile struct {
	kind         pve.GuestKind
	id           int
	name         string // below /etc/pve
	digest       string
	descriptions []string // lines that begin with #
	live         map[string]string
	rest         string
}

// guest reads the file of the guest in the path.
func (s *Server) guest(c *call) (*guestFile, error) {
	id, err := strconv.Atoi(c.args["vmid"])
	if err != nil || id < 100 {
		return nil, badParam("vmid", "type check ('integer') failed - got '"+c.args["vmid"]+"'")
	}
	g := &guestFile{kind: pve.LXC, id: id, live: map[string]string{}}
	dir := "lxc"
	if strings.Contains(c.path, "/qemu/") {
		g.kind, dir = pve.QEMU, "qemu-server"
	}
	g.name = fmt.Sprintf("nodes/%s/%s/%d.conf", c.args["node"], dir, id)
	data, err := os.ReadFile(s.path("etc/pve", g.name))
	if errors.Is(err, fs.ErrNotExist) {
		//lint:ignore ST1005 PVE's text
		return nil, fmt.Errorf("Configuration file '%s' does not exist", g.name)
	}
	if err != nil {
		return nil, err
	}
	g.read(string(data))
	return g, nil
}

func (g *guestFile) read(text string) {
	sum := sha1.Sum([]byte(text))
	g.digest = hex.EncodeToString(sum[:])
	head := text
	if i := strings.Index("\n"+text, "\n["); i >= 0 {
		head, g.rest = text[:i], text[i:]
	}
	config := pve.ParseGuestConfig(g.kind, []byte(head))
	for _, p := range config.Live().Properties {
		g.live[p.Key] = p.Value
	}
	for line := range strings.SplitSeq(head, "\n") {
		if strings.HasPrefix(line, "#") {
			g.descriptions = append(g.descriptions, line)
		}
	}
}

// text is the file as PVE writes it: descriptions, sorted keys, an empty line
// before each further section.
func (g *guestFile) text() string {
	var b strings.Builder
	for _, d := range g.descriptions {
		b.WriteString(d + "\n")
	}
	for _, key := range slices.Sorted(maps.Keys(g.live)) {
		fmt.Fprintf(&b, "%s: %s\n", key, g.live[key])
	}
	if g.rest != "" {
		b.WriteString("\n" + g.rest)
	}
	return b.String()
}

func (s *Server) getGuestConfig(c *call) (any, error) {
	if err := c.check("/vms/"+c.args["vmid"], "VM.Audit"); err != nil {
		return nil, err
	}
	g, err := s.guest(c)
	if err != nil {
		return nil, err
	}
	row := map[string]any{"digest": g.digest}
	for key, value := range g.live {
		row[key] = value
		// The schema makes these numbers; only those that tests meet are named.
		if n, err := strconv.Atoi(value); err == nil && slices.Contains([]string{"cores", "memory", "swap", "onboot", "sockets"}, key) {
			row[key] = n
		}
	}
	return row, nil
}

// guestPrivilege is what a change of a key needs. Source: PVE::API2::Qemu,
// check_vm_modify_config_perm; PVE::API2::LXC::Config.
func (g *guestFile) guestPrivilege(key, value string) string {
	both := value + "," + g.live[key]
	switch name := strings.TrimRight(key, "0123456789"); {
	case strings.Contains(both, "media=cdrom"):
		return "VM.Config.CDROM"
	case slices.Contains([]string{"ide", "sata", "scsi", "virtio", "efidisk", "tpmstate", "unused", "mp", "rootfs"}, name):
		return "VM.Config.Disk"
	}
	return "VM.Config.Options"
}

// updateGuest is PUT of a guest's configuration while the guest is stopped: a
// running one would keep some changes pending.
func (s *Server) updateGuest(c *call) (any, error) {
	unset, digest := items(c.params["delete"]), c.params["digest"]
	for _, name := range []string{"delete", "digest", "node", "vmid"} {
		delete(c.params, name)
	}
	if len(c.params)+len(unset) == 0 {
		return nil, errors.New("no options specified")
	}
	g, err := s.guest(c)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Concat(slices.Sorted(maps.Keys(c.params)), unset) {
		if err := c.check("/vms/"+c.args["vmid"], g.guestPrivilege(key, c.params[key])); err != nil {
			return nil, err
		}
	}
	word := "CT"
	if g.kind == pve.QEMU {
		word = "VM"
	}
	if lock := g.live["lock"]; lock != "" {
		return nil, fmt.Errorf("%s is locked (%s)", word, lock)
	}
	if digest != "" && digest != g.digest {
		//lint:ignore ST1005 PVE's text
		return nil, errors.New("detected modified configuration - file changed by other user? Try again.")
	}
	for _, key := range unset {
		if err := s.freeUnused(g, key); err != nil {
			return nil, err
		}
		delete(g.live, key)
	}
	for _, key := range slices.Sorted(maps.Keys(c.params)) {
		if err := s.checkGuestValue(key, c.params[key]); err != nil {
			return nil, err
		}
	}
	maps.Copy(g.live, c.params)
	if !s.quorate() {
		return nil, fmt.Errorf("unable to open file '/etc/pve/%s.tmp.4711' - Permission denied", g.name)
	}
	return nil, s.writePVE(g.name, g.text())
}

// checkGuestValue is what PVE looks at on a storage before it takes a value. Any volume is activated with its storage, a
// CD image like a disk; a hook script must be a file there; files of cicustom are not looked up. Source:
// PVE::API2::Qemu, create_disks; PVE::API2::LXC::Config; PVE::GuestHelpers, check_hookscript.
func (s *Server) checkGuestValue(key, value string) error {
	volume, _, _ := strings.Cut(strings.TrimPrefix(value, "file="), ",")
	id, ok := pve.VolumeStorage(volume)
	if !ok {
		return nil
	}
	switch strings.TrimRight(key, "0123456789") {
	case "hookscript":
		if err := s.findScript(id, volume); err != nil {
			return badParam("hookscript", err.Error())
		}
	case "ide", "sata", "scsi", "virtio", "efidisk", "tpmstate", "rootfs", "mp":
		return s.useStorage(id)
	}
	return nil
}

// findScript looks a hook script up on its storage, which is not activated for it.
func (s *Server) findScript(id, volume string) error {
	cfg, err := s.storageConfig()
	if err != nil {
		return err
	}
	st, err := cfg.Lookup(id)
	if err != nil {
		return err
	}
	_, name, _ := strings.Cut(volume, ":")
	info, err := os.Stat(s.path(st.Path(), name))
	switch {
	case err != nil || !info.Mode().IsRegular():
		return fmt.Errorf("script '%s' does not exist", volume)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("script '%s' is not executable", volume)
	}
	return nil
}

// useStorage activates a storage as PVE does before it uses a volume of it.
func (s *Server) useStorage(id string) error {
	cfg, err := s.storageConfig()
	if err != nil {
		return err
	}
	st, err := cfg.Lookup(id)
	switch {
	case err != nil:
		return err
	case st.Disabled():
		return fmt.Errorf("storage '%s' is disabled", id)
	case !st.OnNode(s.cfg.Node):
		return fmt.Errorf("storage '%s' is not available on node '%s'", id, s.cfg.Node)
	}
	return s.activate(st)
}

// freeUnused is what PVE does with the volume behind a key unusedN: it is deleted, for which its storage is activated. A
// storage that is not in storage.cfg is no obstacle for a virtual machine, and one for a container. Source:
// PVE::QemuServer, try_deallocate_drive; PVE::LXC::Config, vmconfig_apply_pending.
func (s *Server) freeUnused(g *guestFile, key string) error {
	if strings.TrimRight(key, "0123456789") != "unused" {
		return nil
	}
	volume, _, _ := strings.Cut(g.live[key], ",")
	id, ok := pve.VolumeStorage(volume)
	if !ok {
		return nil
	}
	err := s.useStorage(id)
	if g.kind == pve.LXC {
		if err != nil {
			err = badParam(key, fmt.Sprintf("unable to apply pending change %s : %v", key, err))
		}
		return err
	}
	if cfg, readErr := s.storageConfig(); readErr == nil {
		if _, missing := cfg.Lookup(id); missing != nil {
			return nil
		}
	}
	return err
}

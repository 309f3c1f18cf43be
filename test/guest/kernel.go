package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"labd/test/lab"
)

// Kernel is a Debian kernel unpacked: the image, and the modules of its NVMe driver and of thin volumes, each in an order in
// which they load.
type Kernel struct {
	Image   string
	Release string
	Modules []string
	Thin    []string
}

// modules are those of the NVMe driver and what it needs, in the order in which the kernels from 6.1 on load them. Each
// kernel has some of them.
var modules = []string{
	"crc64", "crc64-rocksoft", "crc64_rocksoft", "crc64-rocksoft-generic", "crc64_rocksoft_generic", "crct10dif_common", "crct10dif_generic", "crc-t10dif", "t10-pi",
	"nvme-keyring", "nvme-auth", "nvme-common", "nvme-core", "nvme",
}

// thinModules are those of the device mapper's thin volumes; they load after the others.
var thinModules = []string{"crc32c_generic", "libcrc32c", "dm-mod", "dm-bufio", "dm-bio-prison", "dm-persistent-data", "dm-thin-pool"}

// kept says which modules were taken out of a package; a kernel in the cache from before another was wanted is fetched anew.
var kept = strings.Join(slices.Concat(modules, thinModules), "\n")

// keptFile holds kept, in the directory of a kernel.
const keptFile = "kept"

// UnpackKernel returns the newest kernel of a Debian release. It is fetched once and kept in the lab's cache.
func UnpackKernel(ctx context.Context, suite string) (*Kernel, error) {
	dir := filepath.Join(lab.CacheDir(), "kernel-"+suite)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, err
	}
	if data, err := os.ReadFile(filepath.Join(dir, keptFile)); err != nil || string(data) != kept {
		building := dir + ".building"
		if err := os.RemoveAll(building); err != nil {
			return nil, err
		}
		if err := fetch(ctx, suite, building); err != nil {
			return nil, errors.Join(fmt.Errorf("fetch the kernel of %s: %w", suite, err), os.RemoveAll(building))
		}
		if err := errors.Join(os.RemoveAll(dir), os.Rename(building, dir)); err != nil {
			return nil, err
		}
	}
	return open(dir)
}

var dependsOnImage = regexp.MustCompile(`(?m)^\s*Depends: (linux-image-\S+)$`)

// fetch downloads the kernel package with lists of its own, so that the machine's apt is left alone.
func fetch(ctx context.Context, suite, dir string) error {
	for _, sub := range []string{"lists/partial", "archives/partial", "root", "modules"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	sources := filepath.Join(dir, "sources.list")
	line := fmt.Sprintf("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n", lab.Mirror, suite)
	if err := os.WriteFile(sources, []byte(line), 0o644); err != nil {
		return err
	}
	apt := func(program string, args ...string) ([]byte, error) {
		options := []string{
			"-q", "-o", "Dir::Etc::sourcelist=" + sources, "-o", "Dir::Etc::sourceparts=-", "-o", "Dir::State::lists=" + filepath.Join(dir, "lists"),
			"-o", "Dir::Cache=" + dir, "-o", "Dir::Cache::archives=" + filepath.Join(dir, "archives"), "-o", "Dir::State::status=/dev/null", "-o", "APT::Sandbox::User=root",
		}
		cmd := exec.CommandContext(ctx, program, append(options, args...)...)
		cmd.Dir = filepath.Join(dir, "archives")
		return output(cmd)
	}
	if _, err := apt("apt-get", "update"); err != nil {
		return err
	}
	depends, err := apt("apt-cache", "depends", "linux-image-amd64")
	if err != nil {
		return err
	}
	image := dependsOnImage.FindSubmatch(depends)
	if image == nil {
		return fmt.Errorf("linux-image-amd64 depends on no image:\n%s", depends)
	}
	if _, err := apt("apt-get", "download", string(image[1])); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "archives/*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("%d packages downloaded: %w", len(debs), err)
	}
	if _, err := output(exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], filepath.Join(dir, "root"))); err != nil {
		return err
	}
	if err := keep(ctx, dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, keptFile), []byte(kept), 0o644); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(dir, "root")), os.RemoveAll(filepath.Join(dir, "archives")), os.RemoveAll(filepath.Join(dir, "lists")))
}

// keep takes the image and the modules out of the unpacked package.
func keep(ctx context.Context, dir string) error {
	images, err := filepath.Glob(filepath.Join(dir, "root/boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return fmt.Errorf("%d kernel images: %w", len(images), err)
	}
	if err := os.Rename(images[0], filepath.Join(dir, filepath.Base(images[0]))); err != nil {
		return err
	}
	return filepath.WalkDir(filepath.Join(dir, "root"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".xz"), ".ko")
		if !slices.Contains(modules, name) && !slices.Contains(thinModules, name) {
			return nil
		}
		target := filepath.Join(dir, "modules", name+".ko")
		if strings.HasSuffix(path, ".ko") {
			return os.Rename(path, target)
		}
		data, err := output(exec.CommandContext(ctx, "xz", "-dc", path))
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
}

func open(dir string) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("%s: %d kernel images: %w", dir, len(images), err)
	}
	k := &Kernel{Image: images[0], Release: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}
	k.Modules, k.Thin = files(dir, modules), files(dir, thinModules)
	return k, nil
}

// files are those of the modules that the kernel in a directory has.
func files(dir string, names []string) (out []string) {
	for _, name := range names {
		file := filepath.Join(dir, "modules", name+".ko")
		if _, err := os.Stat(file); err == nil {
			out = append(out, file)
		}
	}
	return out
}

// output runs a program and returns what it wrote; its errors carry what it said.
func output(cmd *exec.Cmd) ([]byte, error) {
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("%s: %w: %s", cmd.Args[0], err, exit.Stderr)
	}
	return out, err
}

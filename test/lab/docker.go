package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Image is the image that ImportImage makes: a busybox that serves a page on port 80.
const Image = "tiny:1"

// Docker runs Docker's command line in the container, or Podman's where that is its engine.
func (c *CT) Docker(ctx context.Context, args ...string) (string, error) {
	return c.Run(ctx, c.engine(), args...)
}

func (c *CT) engine() string {
	if c.podman {
		return "podman"
	}
	return "docker"
}

// engineDir is where the engine keeps its images, inside the container and on the machine.
func (c *CT) engineDir() (inside, outside string) {
	if c.podman {
		return "/var/lib/containers", filepath.Join(c.dir, "podman")
	}
	return "/var/lib/docker", filepath.Join(c.dir, "docker")
}

// WaitDocker waits until Docker answers.
func (c *CT) WaitDocker(ctx context.Context) error {
	var last string
	version := "{{.Server.Version}}"
	if c.podman {
		version = "{{.Client.Version}}" // without a daemon there is no server, and nothing that waits for the boot to end
		err := c.lab.Wait(ctx, 60*time.Second, func() bool {
			_, err := c.Run(ctx, "systemctl", "is-active", "podman.socket")
			return err == nil
		})
		if err != nil {
			return fmt.Errorf("wait for Podman in container %d: %w", c.ID, err)
		}
	}
	err := c.lab.Wait(ctx, 60*time.Second, func() bool {
		out, err := c.Docker(ctx, "version", "--format", version)
		last = out
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("wait for Docker in container %d: %w: %s", c.ID, err, strings.TrimSpace(last))
	}
	return nil
}

// ImportImage makes Image from the machine's static busybox.
func (c *CT) ImportImage(ctx context.Context) error {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("make an image: %w (Debian package busybox-static)", err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range []struct {
		name string
		mode int64
		data []byte
	}{{"bin/busybox", 0o755, busybox}, {"www/index.html", 0o644, []byte("hello from the container\n")}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	inside, outside := c.engineDir()
	if err := os.WriteFile(filepath.Join(outside, "tiny.tar"), archive.Bytes(), 0o644); err != nil {
		return err
	}
	_, err = c.Docker(ctx, "import", "-c", `CMD ["/bin/busybox","httpd","-f","-p","80","-h","/www"]`, inside+"/tiny.tar", Image)
	return err
}

// RunContainer starts a Docker container of Image and returns its address. args come before the image.
func (c *CT) RunContainer(ctx context.Context, name string, args ...string) (address string, err error) {
	if _, err := c.Docker(ctx, append(append([]string{"run", "-d", "--name", name}, args...), Image)...); err != nil {
		return "", err
	}
	out, err := c.Docker(ctx, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
	return strings.TrimSpace(out), err
}

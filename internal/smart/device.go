package smart

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Admin commands (NVM Express Base Specification, opcodes of the admin command set) and log pages.
const (
	opGetLogPage = 0x02
	opIdentify   = 0x06

	pageErrors   = 0x01
	pageHealth   = 0x02
	pageFirmware = 0x03
	pageSelfTest = 0x06

	cnsController  = 0x01
	allNamespaces  = 0xffffffff
	commandTimeout = 5 * time.Second // the kernel's own default is admin_timeout, 60 s
)

// Command is one admin command that reads data.
type Command struct {
	Opcode    uint8
	Namespace uint32
	CDW10     uint32
}

// logPage reads size bytes of a log page (Get Log Page: dwords less one in bits 31:16 of CDW10).
func logPage(page uint8, size int) Command {
	return Command{Opcode: opGetLogPage, Namespace: allNamespaces, CDW10: uint32(size/4-1)<<16 | uint32(page)}
}

var identifyController = Command{Opcode: opIdentify, CDW10: cnsController}

// Device carries out admin commands of one drive.
type Device interface {
	// Admin fills data. It may hang for as long as the drive does.
	Admin(c Command, data []byte) error
	Close() error
}

// StatusError is a command that the drive refused. The kernel gives it as a positive result of the ioctl, with errno 0.
type StatusError uint16

func (e StatusError) Error() string {
	return fmt.Sprintf("the drive answered with NVMe status 0x%03x (%s)", uint16(e), StatusText(uint16(e)))
}

// passthru is struct nvme_passthru_cmd, passthru64 is struct nvme_passthru_cmd64 (include/uapi/linux/nvme_ioctl.h).
type passthru struct {
	opcode, flags                                 uint8
	_                                             uint16
	nsid, cdw2, cdw3                              uint32
	metadata, addr                                uint64
	metadataLen, dataLen                          uint32
	cdw10, cdw11, cdw12, cdw13, cdw14, cdw15, tmo uint32
	result                                        uint32
}

type passthru64 struct {
	passthru
	result uint64
}

const (
	ioctlAdmin   = 0xc0484e41 // NVME_IOCTL_ADMIN_CMD
	ioctlAdmin64 = 0xc0504e47 // NVME_IOCTL_ADMIN64_CMD
)

type device struct{ file *os.File }

// Open opens a controller's character device, /dev/nvmeN.
func Open(path string) (Device, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &device{file}, nil
}

func (d *device) Close() error { return d.file.Close() }

func (d *device) Admin(c Command, data []byte) error {
	cmd := passthru64{passthru: passthru{
		opcode: c.Opcode, nsid: c.Namespace, cdw10: c.CDW10, dataLen: uint32(len(data)), tmo: uint32(commandTimeout.Milliseconds()),
		addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(data)))),
	}}
	err := ioctl(d.file, ioctlAdmin64, unsafe.Pointer(&cmd))
	if errors.Is(err, unix.ENOTTY) { // a kernel before 5.5
		err = ioctl(d.file, ioctlAdmin, unsafe.Pointer(&cmd))
	}
	runtime.KeepAlive(data)
	return err
}

// ioctl returns errno as an error, and a positive result as a StatusError.
func ioctl(file *os.File, request uintptr, arg unsafe.Pointer) error {
	result, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), request, uintptr(arg))
	runtime.KeepAlive(file)
	switch {
	case errno != 0:
		return errno
	case result != 0:
		return StatusError(result)
	}
	return nil
}

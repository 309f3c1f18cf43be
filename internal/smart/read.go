package smart

import (
	"errors"
	"fmt"
)

// Data is what a drive says of itself. A part that the drive does not have, or does not give, is nil and its reason is
// among Problems; without Health nothing is known.
type Data struct {
	Health   *Health
	Identity *Identity
	Errors   []ErrorEntry
	Firmware *Firmware
	Tests    *SelfTests
	Problems []string
}

// maxErrorEntries is how many entries of the error log are read.
const maxErrorEntries = 16

// Read asks a drive for all of it, one command after another. It fails where the drive does not give its health. A drive
// that does not know a page, as many do not, has no problem.
func Read(d Device) (*Data, error) {
	out := &Data{}
	page := make([]byte, identifySize)
	if err := d.Admin(identifyController, page); err != nil {
		return nil, fmt.Errorf("identify: %w", err)
	}
	var err error
	if out.Identity, err = ParseIdentity(page); err != nil {
		return nil, err
	}
	health := make([]byte, healthSize)
	if err := d.Admin(logPage(pageHealth, healthSize), health); err != nil {
		return nil, fmt.Errorf("health log: %w", err)
	}
	if out.Health, err = ParseHealth(health); err != nil {
		return nil, err
	}
	out.note("error log", func() error {
		entries := make([]byte, min(out.Identity.ErrorEntries, maxErrorEntries)*errorSize)
		err := d.Admin(logPage(pageErrors, len(entries)), entries)
		if err == nil {
			out.Errors = ParseErrors(entries)
		}
		return err
	})
	out.note("firmware log", func() (err error) {
		slots := make([]byte, firmwareSize)
		if err = d.Admin(logPage(pageFirmware, firmwareSize), slots); err == nil {
			out.Firmware, err = ParseFirmware(slots)
		}
		return err
	})
	if out.Identity.SelfTest {
		out.note("self-test log", func() (err error) {
			tests := make([]byte, selfTestSize)
			if err = d.Admin(logPage(pageSelfTest, selfTestSize), tests); err == nil {
				out.Tests, err = ParseSelfTests(tests)
			}
			return err
		})
	}
	return out, nil
}

func (d *Data) note(what string, read func() error) {
	err := read()
	var status StatusError
	if err != nil && !errors.As(err, &status) {
		d.Problems = append(d.Problems, what+": "+err.Error())
	}
}

// LastTest is the newest self-test; nil when there is none.
func (d *Data) LastTest() *SelfTest {
	if d.Tests == nil || len(d.Tests.Finished) == 0 {
		return nil
	}
	return &d.Tests.Finished[0]
}

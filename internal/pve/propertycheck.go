package pve

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The errors of this file have PVE's wording, so that what labd shows is what
// PVE logs or answers. Source: PVE::JSONSchema and PVE::Storage::Plugin.

var (
	storageIDPattern   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9\-_.]*[A-Za-z0-9]$`)
	volumeIDPattern    = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9\-_.]*[A-Za-z0-9]):(.+)$`)
	nodeNamePattern    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9\-]*[A-Za-z0-9])?$`)
	vgNamePattern      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9\-_.]*[A-Za-z0-9]$`)
	pathPattern        = regexp.MustCompile(`^/[^;()]+`)
	dirPathPattern     = regexp.MustCompile(`^/[-/a-zA-Z0-9_.@]+$`)
	configIDPattern    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]+$`)
	dnsNamePattern     = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9\-]*[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9\-]*[A-Za-z0-9])?$`)
	contentDirPattern  = regexp.MustCompile(`^([a-z]+)=(.+)$`)
	fingerprintPattern = regexp.MustCompile(`^([A-Fa-f0-9]{2}:){31}[A-Fa-f0-9]{2}$`)
	integerPattern     = regexp.MustCompile(`^[+-]?\d+$`)
	portalPattern      = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:\d{1,5})?$`)
)

// CheckStorageID returns nil when PVE accepts id as the name of a storage, else
// an error with PVE's text. Source: PVE::JSONSchema::parse_storage_id.
func CheckStorageID(id string) error {
	switch {
	case storageIDPattern.MatchString(id):
		return nil
	case len(id) < 2:
		return fmt.Errorf("storage ID '%s' cannot be shorter than 2 characters", id)
	}
	return fmt.Errorf("storage ID '%s' contains illegal characters", id)
}

// VolumeStorage returns the storage that a volume ID ("usb1:vm-100-disk-0")
// names. It is false for anything else, such as an absolute path or "none".
// Source: PVE::Storage::Plugin::parse_volume_id.
func VolumeStorage(volid string) (storageID string, ok bool) {
	m := volumeIDPattern.FindStringSubmatch(volid)
	if m == nil {
		return "", false
	}
	return m[1], true
}

func checkVolumeID(s string) error {
	if _, ok := VolumeStorage(s); !ok {
		return fmt.Errorf("unable to parse volume ID '%s'", s)
	}
	return nil
}

func checkConfigID(s string) error {
	if !configIDPattern.MatchString(s) {
		return fmt.Errorf("invalid configuration ID '%s'", s)
	}
	return nil
}

func checkNodeName(s string) error {
	if !nodeNamePattern.MatchString(s) {
		return errors.New("value does not look like a valid node name")
	}
	return nil
}

func checkPath(s string) error {
	if !pathPattern.MatchString(s) {
		return errors.New("value does not look like a valid absolute path")
	}
	return nil
}

func checkVGName(s string) error {
	if !vgNamePattern.MatchString(s) {
		return fmt.Errorf("lvm name '%s' contains illegal characters", s)
	}
	return nil
}

func checkServer(s string) error {
	if _, err := netip.ParseAddr(s); err != nil && !dnsNamePattern.MatchString(s) {
		return errors.New("value does not look like a valid server name or IP address")
	}
	return nil
}

func checkPortal(s string) error {
	if _, err := netip.ParseAddr(s); err != nil && !portalPattern.MatchString(s) {
		return errors.New("value does not look like a valid portal address")
	}
	return nil
}

func checkMountOptions(s string) error {
	if s == "" || strings.ContainsAny(s, spaces) {
		return fmt.Errorf("invalid options '%s'", s)
	}
	return nil
}

func checkContentType(s string) error {
	switch s {
	case "images", "rootdir", "vztmpl", "iso", "backup", "snippets", "none", "import":
		return nil
	}
	return fmt.Errorf("invalid content type '%s'", s)
}

func checkContentDir(s string) error {
	m := contentDirPattern.FindStringSubmatch(s)
	bad := fmt.Errorf("invalid override '%s'", s)
	if m == nil || strings.Contains(m[2], "..") || strings.HasSuffix(m[2], ".") || len(m[2]) >= 1023 {
		return bad
	}
	for part := range strings.SplitSeq(m[2], "/") {
		if len(part) >= 255 {
			return bad
		}
	}
	return checkContentType(m[1])
}

func checkFingerprint(s string) error {
	if !fingerprintPattern.MatchString(s) {
		return errors.New("value does not match the regex pattern")
	}
	return nil
}

func checkPruneBackups(s string) error {
	all, some := false, false
	err := checkPropertyString(s, func(key, value string) error {
		switch key {
		case "keep-all":
			all = value == "1"
			return checkBool(value)
		case "keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly":
			some = some || strings.Trim(value, "+0") != ""
			return checkInt(value, 0, 0)
		}
		return errors.New("property is not defined in schema and the schema does not allow additional properties")
	})
	if err == nil && all && some {
		//lint:ignore ST1005 PVE's text
		return errors.New("keep-all cannot be set together with other options.")
	}
	return err
}

func checkBandwidth(s string) error {
	return checkPropertyString(s, func(key, value string) error {
		switch key {
		case "clone", "default", "migration", "move", "restore":
			if _, err := strconv.ParseFloat(value, 64); err != nil {
				return fmt.Errorf("type check ('number') failed - got '%s'", value)
			}
			return nil
		}
		return errors.New("property is not defined in schema and the schema does not allow additional properties")
	})
}

// checkPropertyString checks "key=value,key=value".
func checkPropertyString(s string, check func(key, value string) error) error {
	for _, item := range strings.Split(s, ",") {
		if trimSpace(item) == "" {
			continue
		}
		key, value, ok := strings.Cut(item, "=")
		if !ok {
			return fmt.Errorf("value without key, but schema does not define a default key")
		}
		if err := check(key, value); err != nil {
			return fmt.Errorf("format error\n%s: %w", key, err)
		}
	}
	return nil
}

func checkBool(s string) error {
	if s != "0" && s != "1" {
		return fmt.Errorf("type check ('boolean') failed - got '%s'", s)
	}
	return nil
}

// checkInt checks a whole number; max 0 means no upper limit.
func checkInt(s string, low, high int) error {
	if !integerPattern.MatchString(s) {
		return fmt.Errorf("type check ('integer') failed - got '%s'", s)
	}
	n, err := strconv.Atoi(s)
	switch {
	case err != nil && strings.HasPrefix(s, "-"), err == nil && n < low:
		return fmt.Errorf("value must have a minimum value of %d", low)
	case high != 0 && (err != nil || n > high):
		return fmt.Errorf("value must have a maximum value of %d", high)
	}
	return nil
}

// check applies the property's schema to a value. The error has PVE's text.
func (p property) check(value string) error {
	switch p.kind {
	case kindBool:
		return checkBool(value)
	case kindInt:
		return checkInt(value, p.min, p.max)
	}
	if p.enum != nil && !slices.Contains(p.enum, value) {
		return fmt.Errorf("value '%s' does not have a value in the enumeration '%s'", value, strings.Join(p.enum, ", "))
	}
	if p.format == nil {
		return nil
	}
	items := []string{value}
	if p.list {
		items = splitList(value)
	}
	for _, item := range items {
		if err := p.format(item); err != nil {
			return fmt.Errorf("invalid format - %w", err)
		}
	}
	return nil
}

// normal is the value as PVE keeps it in memory: numbers lose a sign and
// leading zeros.
func (p property) normal(value string) string {
	if p.kind == kindInt {
		if n, err := strconv.Atoi(value); err == nil {
			return strconv.Itoa(n)
		}
	}
	return value
}

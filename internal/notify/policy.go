package notify

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"labd/internal/finding"
	"labd/internal/policy"
)

// maxTargets bounds the targets, each of which has a goroutine.
const maxTargets = 16

// Policy is the section [notify] of labd.toml.
type Policy struct {
	// MailTo are the recipients of mail; none sends no mail.
	MailTo []string `toml:"mail_to"`
	// MailServer is the address of the SMTP server, MailFrom the sender.
	MailServer string `toml:"mail_server"`
	MailFrom   string `toml:"mail_from"`
	// WebhookFiles name files with one address each: ntfy, gotify, discord, slack or telegram. An address holds a secret,
	// so it is never in the configuration itself.
	WebhookFiles []string `toml:"webhook_files"`
	// MinSeverity is the least severity that is told: info, warn or fail.
	MinSeverity string `toml:"min_severity"`
	// Grace is how long labd looks around after its start before it tells anything.
	Grace policy.Duration `toml:"grace"`
}

// DefaultPolicy mails root, as the other guards of a Debian host do: PVE's own notification targets pick that up.
func DefaultPolicy() Policy {
	return Policy{
		MailTo: []string{"root"}, MailServer: "127.0.0.1:25", MailFrom: "root", WebhookFiles: []string{},
		MinSeverity: finding.Warn.String(), Grace: policy.Duration(2 * time.Minute),
	}
}

// Validate checks the policy. The files of webhooks may come later, so they are not read.
func (p Policy) Validate() error {
	errs := []error{p.Grace.Within("grace", 0, time.Hour)}
	for _, address := range append(slices.Clone(p.MailTo), p.MailFrom) {
		if address == "" || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`<>,;"()`, r) }) {
			errs = append(errs, fmt.Errorf("keys \"mail_to\", \"mail_from\": %q is not a mail address", address))
		}
	}
	if _, _, err := net.SplitHostPort(p.MailServer); err != nil {
		errs = append(errs, fmt.Errorf("key %q: %w", "mail_server", err))
	}
	seen := map[string]bool{KindMail: true}
	for _, file := range p.WebhookFiles {
		switch name := webhookName(file); {
		case !filepath.IsAbs(file):
			errs = append(errs, fmt.Errorf("key %q: %q is not an absolute path", "webhook_files", file))
		case seen[name]:
			errs = append(errs, fmt.Errorf("key %q: there are two targets named %q; the name of a file without its ending names the target", "webhook_files", name))
		default:
			seen[name] = true
		}
	}
	if len(seen) > maxTargets {
		errs = append(errs, fmt.Errorf("key %q: more than %d targets", "webhook_files", maxTargets))
	}
	if p.least() == 0 {
		errs = append(errs, fmt.Errorf("key %q: %q is none of info, warn and fail", "min_severity", p.MinSeverity))
	}
	return errors.Join(errs...)
}

// least is the least severity that is told, 0 when the policy names none.
func (p Policy) least() finding.Severity {
	for _, severity := range finding.Severities() {
		if severity.String() == p.MinSeverity {
			return severity
		}
	}
	return 0
}

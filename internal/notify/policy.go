package notify

import (
	"errors"
	"net"
	"path/filepath"
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
	for _, address := range p.MailTo {
		errs = append(errs, checkAddress("mail_to", address))
	}
	errs = append(errs, checkAddress("mail_from", p.MailFrom))
	if _, _, err := net.SplitHostPort(p.MailServer); err != nil {
		errs = append(errs, policy.Wrong("mail_server", "%w", err))
	}
	seen := map[string]bool{KindMail: true}
	for _, file := range p.WebhookFiles {
		switch name := webhookName(file); {
		case !filepath.IsAbs(file):
			errs = append(errs, policy.Wrong("webhook_files", "%q is not an absolute path", file))
		case seen[name]:
			errs = append(errs, policy.Wrong("webhook_files", "there are two targets named %q; the name of a file without its ending names the target", name))
		default:
			seen[name] = true
		}
	}
	if len(seen) > maxTargets {
		errs = append(errs, policy.Wrong("webhook_files", "more than %d targets", maxTargets))
	}
	if p.least() == 0 {
		errs = append(errs, policy.Wrong("min_severity", "%q is none of info, warn and fail", p.MinSeverity))
	}
	return errors.Join(errs...)
}

func checkAddress(key, address string) error {
	if address == "" || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`<>,;"()`, r) }) {
		return policy.Wrong(key, "%q is not a mail address", address)
	}
	return nil
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

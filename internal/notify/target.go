package notify

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"labd/internal/finding"
)

// Notifier delivers messages to one place. Notify returns when the message is accepted there, or with an error that
// holds no secret; it must respect ctx.
type Notifier interface {
	Notify(ctx context.Context, m Message) error
}

// Message is what a person gets to read. Its text is safe to show.
type Message struct {
	// Severity is that of the worst new finding; zero when nothing in it is new.
	Severity finding.Severity
	Title    string
	Body     string
	At       time.Time
	Node     string
}

// Target is one place that is told of findings.
type Target struct {
	// Name is "mail", or the name of the webhook's file without its ending.
	Name string
	// Kind is mail or webhook, To where messages go, without any secret.
	Kind, To string
	Notifier Notifier
}

// Kinds of Target.
const (
	KindMail    = "mail"
	KindWebhook = "webhook"
)

// Targets are the targets of a policy, in the order of the policy.
func Targets(p Policy) []Target {
	var targets []Target
	if len(p.MailTo) > 0 {
		targets = append(targets, Target{
			Name: KindMail, Kind: KindMail, To: strings.Join(p.MailTo, ", ") + " by " + p.MailServer,
			Notifier: &Mail{Server: p.MailServer, From: p.MailFrom, To: p.MailTo},
		})
	}
	for _, file := range p.WebhookFiles {
		targets = append(targets, Target{Name: webhookName(file), Kind: KindWebhook, To: "the address in " + file, Notifier: &Webhook{File: file}})
	}
	return targets
}

func webhookName(file string) string {
	return strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
}

package disk

import (
	"context"
	"time"

	"labd/internal/host"
)

// PastEvent is an event of this or an earlier boot, by the journal.
type PastEvent struct {
	Event
	Boot string
	At   time.Time
}

// past is what the journal has: the events of all boots, and the records of this one.
type past struct {
	events  []PastEvent
	records []host.KernelRecord
	err     error
}

// journalWords are in every line that the log's parser knows.
var journalWords = []string{"nvme", "power state"}

// kernelJournal has the kernel's records of this and earlier boots read once: what comes later is in the kernel log, and what
// was found is remembered. It is not safe for concurrent use.
type kernelJournal struct {
	host   *host.Host
	now    func() time.Time
	result chan past // nil before it is started
	taken  bool
}

func newKernelJournal(h *host.Host, now func() time.Time) *kernelJournal {
	// Where the kernel log is of another machine, this one's journal says nothing about it.
	return &kernelJournal{host: h, now: now, taken: h.Kmsg != host.DefaultPaths().Kmsg && h.Exec == ""}
}

// start begins to read, the first time.
func (j *kernelJournal) start(boot string) {
	if j.taken || j.result != nil {
		return
	}
	j.result = make(chan past, 1)
	go func() {
		var records []host.JournalRecord
		var err error
		if j.host.HasProgram("journalctl") {
			records, err = j.host.KernelJournal(context.Background(), j.now().Add(-incidentAge), journalWords...)
		}
		j.result <- past{events: pastEvents(records), records: ofBoot(records, boot), err: err}
	}()
}

// take returns what was read, once, and nothing before that. It waits no longer than given.
func (j *kernelJournal) take(wait time.Duration) past {
	if j.taken || j.result == nil {
		return past{}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case p := <-j.result:
			j.taken = true
			return p
		case <-timer.C:
			if len(j.result) == 0 { // else both are due, and chance had the timer go first
				return past{}
			}
		}
	}
}

// pastEvents are the events in records, each boot read by a parser of its own: controller numbers are given out anew.
func pastEvents(records []host.JournalRecord) []PastEvent {
	parsers := map[string]*logParser{}
	var out []PastEvent
	for _, rec := range records {
		p := parsers[rec.Boot]
		if p == nil {
			p = newLogParser(nil)
			parsers[rec.Boot] = p
		}
		if e, ok := p.add(rec.KernelRecord); ok {
			out = append(out, PastEvent{e, rec.Boot, rec.At})
		}
	}
	return out
}

func ofBoot(records []host.JournalRecord, boot string) []host.KernelRecord {
	var out []host.KernelRecord
	for _, rec := range records {
		if rec.Boot == boot {
			out = append(out, rec.KernelRecord)
		}
	}
	return out
}

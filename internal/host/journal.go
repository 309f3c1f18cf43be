package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// JournalRecord is one record of the kernel log as systemd's journal keeps it, also of earlier boots.
type JournalRecord struct {
	KernelRecord
	// Boot is the boot's id as /proc has it, At when the journal got the record.
	Boot string
	At   time.Time
}

// maxJournal is how many records are asked for: the newest. maxJournalOutput is the most that they may be, in bytes; a
// record is some 600 of them, and more where its text is no UTF-8.
const (
	maxJournal       = 5000
	maxJournalOutput = 16 << 20
)

// KernelJournal returns the kernel's records since a time whose text contains one of words, lower-case letters, oldest
// first. It fails with ErrNoPrograms or exec.ErrNotFound where no journal can be asked.
func (h *Host) KernelJournal(ctx context.Context, since time.Time, words ...string) ([]JournalRecord, error) {
	args := []string{
		"--no-pager", "--quiet", "--output=json", "--output-fields=_BOOT_ID,_SOURCE_MONOTONIC_TIMESTAMP,PRIORITY,SYSLOG_FACILITY,MESSAGE",
		"--since=@" + strconv.FormatInt(since.Unix(), 10), "--lines=" + strconv.Itoa(maxJournal),
	}
	// Any program may write to /dev/kmsg, and the journal takes its word for the kernel's: the facility tells.
	match := []string{"_TRANSPORT=kernel", "SYSLOG_FACILITY=0"}
	out, err := h.Run(ctx, Cmd{
		Name: "journalctl", Args: slices.Concat(args, []string{"--grep=" + strings.Join(words, "|")}, match), MaxOutput: maxJournalOutput,
	})
	var exit *ExitError
	if errors.As(err, &exit) {
		if strings.TrimSpace(exit.Stderr) == "" {
			return nil, nil // nothing found
		}
		// A journalctl without PCRE2 cannot search.
		out, err = h.Run(ctx, Cmd{Name: "journalctl", Args: slices.Concat(args, match), MaxOutput: maxJournalOutput})
	}
	if err != nil {
		return nil, fmt.Errorf("read the kernel's records in the journal: %w", err)
	}
	records := ParseJournal(out)
	records = slices.DeleteFunc(records, func(r JournalRecord) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return strings.Contains(strings.ToLower(r.Text), word) })
	})
	slices.SortStableFunc(records, func(a, b JournalRecord) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Time, b.Time)) })
	return records, nil
}

// journalEntry are the fields that labd asks for. MESSAGE is a text, an array of bytes where it is no UTF-8, or null where
// it is large.
type journalEntry struct {
	Boot      string          `json:"_BOOT_ID"`
	Realtime  string          `json:"__REALTIME_TIMESTAMP"`
	Monotonic string          `json:"__MONOTONIC_TIMESTAMP"`
	Source    string          `json:"_SOURCE_MONOTONIC_TIMESTAMP"`
	Priority  string          `json:"PRIORITY"`
	Facility  string          `json:"SYSLOG_FACILITY"`
	Message   json.RawMessage `json:"MESSAGE"`
}

// ParseJournal reads what journalctl -o json prints, one object on a line. Lines that are none, as a last one that was cut
// off, and records of another facility than kern are left out.
func ParseJournal(data []byte) []JournalRecord {
	var records []JournalRecord
	for line := range bytes.Lines(data) {
		var e journalEntry
		if json.Unmarshal(line, &e) != nil || e.Facility != "0" {
			continue
		}
		rec := JournalRecord{Boot: bootID(e.Boot), KernelRecord: KernelRecord{Level: -1, Text: messageText(e.Message)}}
		realtime, ok := microseconds(e.Realtime)
		since, okSince := microseconds(e.Source) // the kernel's own time; the journal's is when it read the record
		if !okSince {
			since, okSince = microseconds(e.Monotonic)
		}
		if !ok || !okSince || rec.Boot == "" || rec.Text == "" {
			continue
		}
		rec.At, rec.Time = time.UnixMicro(realtime.Microseconds()).UTC(), since
		if level, err := strconv.ParseUint(e.Priority, 10, 3); err == nil {
			rec.Level = int(level)
		}
		records = append(records, rec)
	}
	return records
}

// microseconds reads a time of the journal, up to some thousand years.
func microseconds(text string) (time.Duration, bool) {
	n, err := strconv.ParseUint(text, 10, 53)
	if err != nil {
		return 0, false
	}
	return time.Duration(n) * time.Microsecond, true
}

// bootID writes the 32 digits of the journal as /proc/sys/kernel/random/boot_id has them; "" for anything else.
func bootID(text string) string {
	if len(text) != 32 || strings.Trim(text, "0123456789abcdef") != "" {
		return ""
	}
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

func messageText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var numbers []uint16 // of uint8, encoding/json would want base64
	if json.Unmarshal(raw, &numbers) != nil {
		return ""
	}
	out := make([]byte, 0, len(numbers))
	for _, n := range numbers {
		out = append(out, byte(n))
	}
	return string(out)
}

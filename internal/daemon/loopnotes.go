package daemon

import (
	"fmt"
	"time"

	"labd/internal/reconcile"
)

// failuresToTell is how often in a row a key must fail to be spoken of: what is starting or restarting fails once or twice.
const failuresToTell = 3

// loopNotes say of each loop which of its keys keep failing, since when and why.
func loopNotes(loops []*reconcile.Loop) []string {
	var notes []string
	for _, loop := range loops {
		for _, key := range loop.KeyStatuses() {
			if key.Failures < failuresToTell && key.State != reconcile.StateRejected {
				continue
			}
			notes = append(notes, fmt.Sprintf("the %s loop gets no further with %s since %s (%d times in a row): %s",
				loop.Name, key.Key, key.Since.UTC().Format(time.DateTime), key.Failures, key.Reason))
		}
	}
	return notes
}

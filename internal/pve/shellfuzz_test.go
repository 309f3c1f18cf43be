package pve

import (
	"encoding/json"
	"testing"

	"labd/internal/host"
)

// Whatever pvesh prints becomes a valid answer, and an error always has a text.
func FuzzShell(f *testing.F) {
	for _, seed := range []string{
		"", "null", `{"a":1}`, "log\nUPID:x:\n", "400 Parameter verification failed.\nstorage: No such storage.\n\nusage\n",
		"trying to acquire cfs lock 'x' ...\nfailed\n", "403 Permission check failed\n", "\xff\n", "999 \n: x\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var answer struct {
			Data any `json:"data"`
		}
		if err := json.Unmarshal(shellAnswer([]byte(text)), &answer); err != nil {
			t.Fatalf("%q becomes no answer: %v", text, err)
		}
		e := &APIError{Method: "GET", Path: "/storage/usb1", shell: true}
		e.readShell(&host.ExitError{Command: "pvesh", Code: 255, Stderr: text})
		if e.Error() == "" {
			t.Fatal("an error without a text")
		}
	})
}

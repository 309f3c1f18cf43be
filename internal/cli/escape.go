package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"labd/internal/printable"
)

// escape makes foreign text safe to print. Everything that labctl prints goes through it, or through writeJSON.
func escape(s string) string { return printable.Text(s) }

// writeJSON prints v as indented JSON in which every control character is written as \uXXXX.
func writeJSON(w io.Writer, v any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		fmt.Fprintf(w, "labctl: encode: %v\n", err)
		return
	}
	fmt.Fprint(w, escapeJSON(b.String()))
}

// escapeJSON writes what encoding/json leaves raw inside strings, where \uXXXX means the same.
func escapeJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r != '\n' && printable.Unsafe(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

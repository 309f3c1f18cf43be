package cli

import (
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Tree returns labctl's commands without anything to run them on, for what is generated from them: man pages, and
// tests of the documentation.
func Tree(version string) *cobra.Command {
	a := &app{in: strings.NewReader(""), out: io.Discard, stderr: io.Discard, version: version}
	root := a.root()
	root.InitDefaultCompletionCmd()
	return root
}

package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

// Whatever is wrong with a command line, of whatever command, is wrong usage: exit 2, and a JSON error where JSON is asked.
func TestEveryCommandRefusesWrongUsage(t *testing.T) {
	socket := answers{}.start(t)
	walkCommands(Commands("x"), func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())[1:]
		lines := [][]string{append(path, "--no-such-option", "-o", "json")}
		for n := range 5 {
			args := make([]string, n)
			for i := range args {
				args[i] = "nonsense"
			}
			if cmd.ValidateArgs(args) != nil {
				lines = append(lines, append(append(append([]string{}, path...), args...), "-o", "json"))
			}
		}
		if len(path) > 0 && !cmd.HasSubCommands() && len(lines) == 1 && !strings.Contains(cmd.Use, "…") && cmd.Name() != "help" {
			t.Errorf("%s takes any number of arguments and does not say so", cmd.CommandPath())
		}
		for _, args := range lines {
			code, _, stderr := labctl(t, socket, args...)
			var body apiv1.ErrorBody
			if err := json.Unmarshal([]byte(stderr), &body); err != nil || code != ExitUsage || body.Error.Code != apiv1.ErrorUsage || body.Error.Hint == "" {
				t.Errorf("%q: exit %d, %s", args, code, stderr)
			}
		}
	})
	for _, args := range [][]string{
		{"check-nvme", "--kernel", "6.8", "--forget", "X"},
		{"rescue-nvme", "01:00.0", "--method", "foo"},
		{"completion", "tcsh"},
		{"completion", "bash", "extra"},
		{"help", "bogus"},
		{"net", "router", "--style", "cisco"},
		{"lint-storage", "--pve", "7"},
		{"silence", "storage.down"},
		{"explain", "storage.dwon"},
	} {
		if code, _, stderr := labctl(t, socket, args...); code != ExitUsage || stderr == "" {
			t.Errorf("%q: exit %d, %q", args, code, stderr)
		}
	}
}

func walkCommands(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, c := range cmd.Commands() {
		walkCommands(c, visit)
	}
}

func TestDidYouMean(t *testing.T) {
	socket := answers{}.start(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"statsu"}, "labctl status"},
		{[]string{"chek-nvme"}, "labctl check-nvme"},
		{[]string{"net", "lst"}, "labctl net list"},
		{[]string{"explain", "storage.dwon"}, "storage.down"},
	} {
		if _, _, stderr := labctl(t, socket, tt.args...); !strings.Contains(stderr, "did you mean "+tt.want) {
			t.Errorf("%q: %s", tt.args, stderr)
		}
	}
}

// Each command that a person runs has an example, belongs to a group where groups are, and its help names no option of
// every command.
func TestEveryHelpPage(t *testing.T) {
	socket := answers{}.start(t)
	walkCommands(Commands("x"), func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())[1:]
		if len(path) == 0 || path[0] == "completion" || strings.HasPrefix(path[0], "__") {
			return
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  labctl ") {
				t.Errorf("%s: the example %q is no indented command", cmd.CommandPath(), line)
			}
		}
		if len(path) == 1 && cmd.GroupID == "" {
			t.Errorf("%s is in no group", cmd.CommandPath())
		}
		code, stdout, _ := labctl(t, socket, append(path, "--help")...)
		if code != ExitOK || strings.Contains(stdout, "--no-color") || !strings.Contains(stdout, "labctl --help") {
			t.Errorf("%s --help: exit %d\n%s", cmd.CommandPath(), code, stdout)
		}
	})
	if code, stdout, _ := labctl(t, socket, "--version"); code != ExitOK || stdout != "labctl 1.2.3\n" {
		t.Errorf("--version: exit %d, %q", code, stdout)
	}
}

// An output that could not be written is no success.
func TestOutputThatIsNotTaken(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	socket := answers{"GET /v1/nvme?fresh=1": drives}.start(t)
	var errs strings.Builder
	code := Run(t.Context(), "x", []string{"--socket", socket, "check-nvme", "-o", "json"}, Streams{In: strings.NewReader(""), Out: full, Err: &errs})
	if code != ExitError || !strings.Contains(errs.String(), "no space left") {
		t.Errorf("exit %d, %s", code, &errs)
	}
}

package cli

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	apiv1 "labd/api/v1"
)

// terminal is the terminal that labctl's input comes from.
type terminal struct{ file *os.File }

// inputTerminal returns the input's terminal; nil where the input is none.
func (a *app) inputTerminal() *terminal {
	file, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return &terminal{file}
}

// size returns the terminal's size; nil where it cannot be told.
func (t *terminal) size() *apiv1.TerminalSize {
	columns, rows, err := term.GetSize(int(t.file.Fd()))
	if err != nil || columns <= 0 || rows <= 0 || columns > 1<<15 || rows > 1<<15 {
		return nil
	}
	return &apiv1.TerminalSize{Rows: uint16(rows), Columns: uint16(columns)}
}

// raw hands every key to the command, Ctrl-C too, until restore is called.
func (t *terminal) raw() (restore func(), err error) {
	before, err := term.MakeRaw(int(t.file.Fd()))
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(int(t.file.Fd()), before) }, nil
}

// follow calls changed with the terminal's size now, and whenever its window changes, until stop is called.
func (t *terminal) follow(changed func(apiv1.TerminalSize)) (stop func()) {
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGWINCH)
	signals <- syscall.SIGWINCH
	go func() {
		for {
			select {
			case <-signals:
				if size := t.size(); size != nil {
					changed(*size)
				}
			case <-done:
				return
			}
		}
	}()
	return func() { signal.Stop(signals); close(done) }
}

// Command pvesh is pvesh and pveum of a simulated PVE, by the name that it is
// installed as.
package main

import (
	"fmt"
	"os"

	"labd/test/pvesim/front"
)

func main() {
	code, ok := front.Run(os.Args, os.Stdout, os.Stderr)
	if !ok {
		fmt.Fprintln(os.Stderr, "install this program under one of the names", front.Programs())
		code = 2
	}
	os.Exit(code)
}

// Command mutants weakens the guards of a package one by one and tells which of these mutants the package's own fast tests
// (go test -short) do not notice.
//
// All mutants of a package are built into one test binary, each switched on by a number in the environment. A first run of
// each test notes which mutants it reaches; then each mutant is run against those tests alone. A mutant that no test reaches
// survives without a run.
//
//	mutants [-equivalent FILE] [-at-least PERCENT] PACKAGE…
package main

// Package e2e tests labd as its users meet it: the built programs under systemd on a lab of real parts, asked through
// labctl.
package e2e

// Package frame is Docker's format of several streams in one connection, as Docker writes it and as labd and labctl
// speak it. No length that a header announces is ever allocated.
package frame

// Package reconcile runs level-triggered loops: a pass looks at the world as it is now, so that a lost trigger costs
// time and never correctness.
package reconcile

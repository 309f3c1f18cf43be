// Package reconcile runs level-triggered loops over keys. A pass of a key looks at the world as it is now, so a lost
// trigger costs time and never correctness: a resync comes anyway. A key is never worked on twice at the same time; one
// that is asked for while it is worked on gets one more pass. Keys that fail come back with a back-off of their own,
// under a rate for all of them, so a broken one costs the others nothing.
package reconcile

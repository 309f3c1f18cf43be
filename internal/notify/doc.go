// Package notify tells people of findings: by mail to root, and by the chat and push services that they name. What a
// target was told is compared with what there is, again and again, so nothing is told twice, nothing piles up while a
// target is dead, and no loop ever waits for one.
package notify

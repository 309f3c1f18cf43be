// Package route reads and changes the routes of the host, and answers what a prefix would meet there. labd's own routes
// carry its protocol number; routes of others are never changed.
package route

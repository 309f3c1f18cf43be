// Package web is the page that labd serves: the whole host on one screen, rendered by the server from the values of the
// API, readable without JavaScript, and without any other host. It changes nothing: it shows what may be read on the port
// that it is served on.
package web

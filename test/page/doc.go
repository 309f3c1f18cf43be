// Package page looks at labd's page in a browser.
package page

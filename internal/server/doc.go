// Package server answers labd's API: it turns the domains' values into the types of api/v1, decides who may ask, and
// gathers the metrics. It holds no state of the domains.
package server

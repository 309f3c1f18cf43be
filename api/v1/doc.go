// Package v1 holds the JSON types that labd, labctl and the web page share.
//
// Every answer of the API, and every `labctl -o json`, is one Envelope. Fields are added freely; a field is
// renamed or removed only under a new APIVersion.
package v1

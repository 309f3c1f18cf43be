// Package v1 holds the JSON types that labd, labctl and the web page share.
//
// Every answer of the API, and every `labctl -o json`, is one Envelope. Fields are added freely; a field is
// renamed or removed only under a new APIVersion.
//
// The tag support:"yes" puts a field into a support bundle. A field without it is left out, and so is all below it: a
// bundle goes to strangers, so no secret, no value of storage.cfg or of a guest's configuration may have the tag.
package v1

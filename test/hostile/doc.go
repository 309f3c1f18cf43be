// Package hostile attacks a running labd out of containers and from an unprivileged user of the host, all at once, while an
// honest container beside them must stay reachable and labd small, quick and right.
package hostile

// Package hostmodel makes up PVE hosts: disks and what lies between them and a storage, the names by which storages
// know it, networks, clusters, references, failures and their order. It knows of each storage whether its data could
// come back, and writes the host down as a tree and as the answers of programs, so that labd can be asked about it. It
// knows nothing of how labd judges.
package hostmodel

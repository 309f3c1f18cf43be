// Package config reads labd.toml. Each domain owns the type of its section; this package only puts them together,
// so that an unknown key anywhere is found by one reader.
package config

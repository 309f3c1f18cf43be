package netfilter

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
)

// Cache remembers the rules of one network namespace for as long as the kernel says that they did not change, so that a
// look at a quiet namespace starts no program. It is safe for concurrent use; Close releases its sockets.
type Cache struct {
	generations *generations

	mu      sync.Mutex
	closed  bool
	entries map[string]cached
	// Hits and reads count the questions that were answered from memory and those that started a program.
	hits, reads uint64
}

type cached struct {
	generation string
	value      any
}

// NewCache returns a Cache of a namespace, whose file must stay open until Close; nil is labd's own.
func NewCache(namespace *os.File) *Cache {
	return &Cache{generations: newGenerations(namespace), entries: map[string]cached{}}
}

// Reads is how many questions started a program, of how many.
func (c *Cache) Reads() (reads, questions uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads, c.reads + c.hits
}

// Close releases the sockets. What is asked afterwards is read anew.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.generations.close()
}

// remembered returns what load returned at the same generation, or calls it. What was read while the rules changed is
// not kept. Without a cache, or without a generation, it is load.
func remembered[T any](c *Cache, key string, generation func() (string, error), load func() (T, error)) (T, error) {
	if c == nil {
		return load()
	}
	before, genErr := generation()
	if genErr == nil {
		c.mu.Lock()
		entry, ok := c.entries[key]
		if ok && entry.generation == before {
			c.hits++
			c.mu.Unlock()
			return entry.value.(T), nil
		}
		c.mu.Unlock()
	}
	value, err := load()
	c.mu.Lock()
	c.reads++
	c.mu.Unlock()
	if err != nil || genErr != nil {
		return value, err
	}
	if after, err := generation(); err == nil && after == before {
		c.mu.Lock()
		c.entries[key] = cached{before, value}
		c.mu.Unlock()
	}
	return value, nil
}

func (c *Cache) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// nftGeneration is the generation of nftables as a text.
func (c *Cache) nftGeneration() (string, error) {
	if c.isClosed() {
		return "", os.ErrClosed
	}
	id, err := c.generations.nftGeneration()
	return fmt.Sprint(id), err
}

// LegacyGeneration is a text that changes when a legacy table of the namespace changes, IPv4 or IPv6; "" where there are
// none. Legacy tables tell nobody of their changes, so it is for asking now and then.
func (n Namespace) LegacyGeneration(ctx context.Context) (string, error) {
	var out strings.Builder
	for i := range legacyFamilies {
		text, err := n.legacyGeneration(ctx, i)
		if err != nil {
			return "", err
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// legacyGeneration is that of one family.
func (n Namespace) legacyGeneration(ctx context.Context, family int) (string, error) {
	tables, err := n.legacyTables(ctx, [...]Family{IPv4, IPv6}[family].legacyTables())
	if err != nil || len(tables) == 0 {
		return "", err
	}
	if n.Cache == nil || n.Cache.isClosed() {
		return "", os.ErrClosed
	}
	digest, err := n.Cache.generations.legacyDigest(family, tables)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%x ", family, digest), nil
}

// Remembered returns what load returned for the same rules of the namespace, of nftables and of the legacy tables, or calls
// it. Without a Cache it is load.
func Remembered[T any](ctx context.Context, n Namespace, key string, load func() (T, error)) (T, error) {
	return remembered(n.Cache, key, func() (string, error) {
		nft, err := n.Cache.nftGeneration()
		if err != nil {
			return "", err
		}
		legacy, err := n.LegacyGeneration(ctx)
		return nft + " " + legacy, err
	}, load)
}

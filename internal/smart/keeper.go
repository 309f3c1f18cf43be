package smart

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrStuck says that a drive has not answered a command for longer than it was given.
var ErrStuck = errors.New("the drive does not answer its health command")

// Keeper keeps the last answer of each drive and asks again when it is old. A drive has one question at a time: one that
// is stuck costs one goroutine and its thread, and is not asked again until it answers.
type Keeper struct {
	// Open opens a drive by the path of its character device.
	Open func(path string) (Device, error)
	// Every is how old an answer may get.
	Every time.Duration
	Now   func() time.Time

	mu     sync.Mutex
	drives map[string]*kept
}

// Reading is the last that is known of a drive.
type Reading struct {
	Data *Data
	At   time.Time // when it was asked for Data
	// Took is how long the newest question took, or has taken so far.
	Took time.Duration
	Err  error // of the newest question; Data may be of an earlier one
}

type kept struct {
	reading Reading
	asked   time.Time
	running chan struct{} // closed when the question that runs is answered; nil when none runs
}

// Get returns what is known of the drive under key, after asking again if that is old. It waits no longer than ctx; an
// answer that comes later is there the next time.
func (k *Keeper) Get(ctx context.Context, key, path string) Reading {
	k.mu.Lock()
	if k.drives == nil {
		k.drives = map[string]*kept{}
	}
	d := k.drives[key]
	if d == nil {
		d = &kept{}
		k.drives[key] = d
	}
	now := k.Now()
	if d.running == nil && (d.asked.IsZero() || now.Sub(d.asked) >= k.Every || now.Before(d.asked)) {
		d.asked, d.running = now, make(chan struct{})
		go k.ask(d, path, now, d.running)
	}
	running := d.running
	k.mu.Unlock()
	if running != nil {
		select {
		case <-running:
		case <-ctx.Done():
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	reading := d.reading
	if d.running != nil {
		reading.Err, reading.Took = ErrStuck, max(0, k.Now().Sub(d.asked))
	}
	return reading
}

func (k *Keeper) ask(d *kept, path string, now time.Time, done chan struct{}) {
	start := time.Now()
	data, err := k.readDrive(path)
	k.mu.Lock()
	defer k.mu.Unlock()
	d.reading.Err, d.reading.Took, d.running = err, time.Since(start), nil
	if err == nil {
		if before := d.reading.Data; before != nil && before.Identity.Serial == data.Identity.Serial && len(before.Health.Doubts) == 0 {
			data.Health.since(before.Health)
		}
		d.reading.Data, d.reading.At = data, now
	}
	close(done)
}

func (k *Keeper) readDrive(path string) (*Data, error) {
	device, err := k.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := Read(device)
	return data, errors.Join(err, device.Close())
}

// Stuck is how many questions have no answer yet, each a goroutine that waits.
func (k *Keeper) Stuck() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, d := range k.drives {
		if d.running != nil {
			n++
		}
	}
	return n
}

// Keep forgets the drives that are not among keys, except those that still owe an answer.
func (k *Keeper) Keep(keys []string) {
	here := map[string]bool{}
	for _, key := range keys {
		here[key] = true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, d := range k.drives {
		if !here[key] && d.running == nil {
			delete(k.drives, key)
		}
	}
}

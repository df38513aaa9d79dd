package bot

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	pauseFirst   = 250 * time.Millisecond
	pauseLongest = 15 * time.Second
)

// backoff is a pause that doubles with each failure up to 15 s; of that a random part between a half and all is waited.
type backoff struct{ failures int }

func (b *backoff) next() time.Duration {
	whole := min(pauseLongest, pauseFirst<<min(b.failures, 16))
	b.failures++
	return whole/2 + rand.N(whole/2+1)
}

// rest waits, and answers false if ctx is done.
func (b *backoff) rest(ctx context.Context, atLeast time.Duration) bool {
	pause := atLeast
	if pause == 0 {
		pause = b.next()
	}
	return wait(ctx, pause)
}

func wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

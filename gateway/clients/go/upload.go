package bot

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// A stream of which the gateway has seen nothing after so long is held back by a proxy.
	probeAfter = 500 * time.Millisecond
	// How often the gateway is asked what it has, while something is under way.
	ackEvery        = 2 * time.Second
	batchPacketsMax = 50
	batchEvery      = 120 * time.Millisecond
	keepaliveEvery  = 8 * time.Second
	// Bound of what is kept until the gateway has it; then send waits. Ten seconds of packets of 20 ms.
	packetsMax = 500
)

type outgoing struct {
	seq       uint64
	timestamp uint32
	packet    []byte
}

// upload has the packets of one call in order, each kept until the gateway has it, so that a lost connection loses nothing.
type upload struct {
	gateway *gateway
	path    string
	onBatch func()
	backoff backoff

	lock      sync.Mutex
	changed   chan struct{}
	batches   bool
	kept      []outgoing
	nextSeq   uint64
	timestamp uint32
	written   uint64
	fault     error
	stream    context.CancelFunc
	cuts      int
}

func newUpload(gateway *gateway, path string, batches bool, onBatch func()) *upload {
	return &upload{gateway: gateway, path: path, batches: batches, onBatch: onBatch, changed: make(chan struct{})}
}

// ring wakes whoever waits. The lock is held.
func (u *upload) ring() {
	close(u.changed)
	u.changed = make(chan struct{})
}

// until waits until condition, which is asked with the lock held, the upload's fault, the end of ctx, or that long (0: for ever).
// It answers whether it is so.
func (u *upload) until(ctx context.Context, condition func() bool, limit time.Duration) bool {
	var over <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	for {
		u.lock.Lock()
		is, changed := condition() || u.fault != nil, u.changed
		u.lock.Unlock()
		if is {
			return true
		}
		select {
		case <-changed:
		case <-over:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// send takes one packet; it waits while 500 are under way.
func (u *upload) send(ctx context.Context, packet []byte) error {
	if err := checkPacket(packet); err != nil {
		return err
	}
	for {
		u.until(ctx, func() bool { return len(u.kept) < packetsMax }, 0)
		if err := ctx.Err(); err != nil {
			return err
		}
		u.lock.Lock()
		if u.fault != nil || len(u.kept) < packetsMax {
			break
		}
		u.lock.Unlock()
	}
	defer u.lock.Unlock()
	if u.fault != nil {
		return u.fault
	}
	u.kept = append(u.kept, outgoing{u.nextSeq, u.timestamp, append([]byte(nil), packet...)})
	u.nextSeq++
	u.timestamp += duration(packet)
	u.ring()
	return nil
}

// clear forgets what is not yet under way, and ends the stream, whose rest must not be heard. It answers the next seq.
func (u *upload) clear() uint64 {
	u.lock.Lock()
	defer u.lock.Unlock()
	u.kept, u.written, u.cuts = nil, u.nextSeq, u.cuts+1
	if u.stream != nil {
		u.stream()
	}
	u.ring()
	return u.nextSeq
}

// close makes send fail from now on.
func (u *upload) close(fault error) {
	u.lock.Lock()
	defer u.lock.Unlock()
	if u.fault == nil {
		u.fault = fault
		u.ring()
	}
}

// run carries packets until the call is over.
func (u *upload) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !u.until(ctx, func() bool { return len(u.kept) > 0 }, 0) || u.failed() {
			return
		}
		var err error
		if u.isBatches() {
			err = u.batchOnce(ctx)
		} else {
			err = u.streamOnce(ctx)
		}
		u.recover(ctx, err)
	}
}

func (u *upload) failed() bool {
	u.lock.Lock()
	defer u.lock.Unlock()
	return u.fault != nil
}

func (u *upload) isBatches() bool {
	u.lock.Lock()
	defer u.lock.Unlock()
	return u.batches
}

func (u *upload) recover(ctx context.Context, err error) {
	var refused *GatewayError
	switch {
	case err == nil:
	case !errors.As(err, &refused):
		u.backoff.rest(ctx, 0)
	case refused.isOver():
		u.close(ErrCallEnded)
	case refused.isPassing(), refused.Status == http.StatusConflict:
		u.backoff.rest(ctx, refused.RetryAfter)
	default:
		u.close(refused)
	}
}

// As a stream.

func (u *upload) streamOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	u.lock.Lock()
	if len(u.kept) == 0 {
		u.lock.Unlock()
		return nil
	}
	first, cuts := u.kept[0].seq, u.cuts
	u.written, u.stream = first, cancel
	u.lock.Unlock()
	body, pipe := io.Pipe()
	go u.write(ctx, pipe)
	ended := make(chan error, 2)
	go func() { ended <- u.carry(ctx, body) }()
	go func() { ended <- u.watch(ctx, first) }()
	err := <-ended
	cancel()
	pipe.CloseWithError(io.ErrClosedPipe)
	<-ended
	u.lock.Lock()
	defer u.lock.Unlock()
	u.stream = nil
	if u.cuts != cuts || u.batches || u.fault != nil {
		return nil
	}
	return err
}

func (u *upload) carry(ctx context.Context, body io.Reader) error {
	response, err := u.gateway.do(ctx, http.MethodPost, u.path, map[string]string{"Content-Type": framesWithHeader}, body, u.gateway.bearer)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	told, _ := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if response.StatusCode >= 300 {
		return refusal(response, told)
	}
	return errors.New("patchbay: the gateway has ended the stream")
}

func (u *upload) write(ctx context.Context, to *io.PipeWriter) {
	defer to.Close()
	for ctx.Err() == nil && !u.failed() {
		if _, err := to.Write(u.unwritten()); err != nil {
			return
		}
		u.until(ctx, func() bool { return u.nextSeq > u.written }, keepaliveEvery)
	}
}

func (u *upload) unwritten() []byte {
	u.lock.Lock()
	defer u.lock.Unlock()
	var piece []byte
	for _, out := range u.kept {
		if out.seq >= u.written {
			piece = appendFrameWithHeader(piece, out.packet, out.seq, out.timestamp)
		}
	}
	u.written = u.nextSeq
	if piece == nil {
		return keepalive
	}
	return piece
}

// watch learns what the gateway has. It ends, with batches set, when the gateway has seen nothing of the stream.
func (u *upload) watch(ctx context.Context, first uint64) error {
	if !wait(ctx, probeAfter) {
		return ctx.Err()
	}
	has, err := u.acknowledge(ctx)
	if err != nil {
		return err
	}
	if has <= first {
		u.lock.Lock()
		u.batches = true
		u.lock.Unlock()
		u.onBatch()
		return nil
	}
	u.backoff = backoff{}
	for {
		u.lock.Lock()
		waiting := len(u.kept)
		u.lock.Unlock()
		pause := ackEvery
		if waiting > packetsMax/2 {
			pause = probeAfter
		}
		if !wait(ctx, pause) {
			return ctx.Err()
		}
		if waiting > 0 {
			if _, err := u.acknowledge(ctx); err != nil {
				return err
			}
		}
	}
}

func (u *upload) acknowledge(ctx context.Context) (uint64, error) {
	var told acknowledgement
	if err := u.gateway.ask(ctx, http.MethodGet, u.path+"/ack", nil, &told); err != nil {
		return 0, err
	}
	u.has(told.NextSeq)
	return told.NextSeq, nil
}

type acknowledgement struct {
	NextSeq uint64 `json:"next_seq"`
}

// has lets go of what the gateway has.
func (u *upload) has(nextSeq uint64) {
	u.lock.Lock()
	defer u.lock.Unlock()
	for len(u.kept) > 0 && u.kept[0].seq < nextSeq {
		u.kept = u.kept[1:]
	}
	u.ring()
}

// In batches.

func (u *upload) batchOnce(ctx context.Context) error {
	began := time.Now()
	u.lock.Lock()
	batch := u.kept[:min(len(u.kept), batchPacketsMax)]
	if len(batch) == 0 {
		u.lock.Unlock()
		return nil
	}
	first := batch[0].seq
	var body []byte
	for _, out := range batch {
		body = appendFrame(body, out.packet)
	}
	u.written = max(u.written, first+uint64(len(batch)))
	u.lock.Unlock()
	var told acknowledgement
	header := map[string]string{"Content-Type": frames, "Seq": strconv.FormatUint(first, 10)}
	if err := u.gateway.exchange(ctx, http.MethodPost, u.path, header, body, u.gateway.bearer, &told); err != nil {
		return err
	}
	u.has(told.NextSeq)
	u.backoff = backoff{}
	wait(ctx, batchEvery-time.Since(began))
	return nil
}

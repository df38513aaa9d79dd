package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	pieceMS = 20
	// Packets and events that wait for the bot. More are not read.
	waitingMax = 64
	// Ticks of 1/48 000 s in a millisecond.
	ticksPerMS = 48
)

// An AudioPacket is what the caller said in one piece: an Opus packet, or 20 ms of raw audio. Timestamp counts 1/48 000 s in 32 bits;
// Lost is how many packets are missing before this one (0 for raw audio).
type AudioPacket struct {
	Payload   []byte
	Seq       uint64
	Timestamp uint32
	Lost      uint64
}

// A CallEvent is something that happened in a call: "mark" (name), "dtmf" (digit), "cleared" (heard_ms), "speech_started", "transcript",
// "call.ended". Fields has the whole of it as JSON.
type CallEvent struct {
	Type   string
	Fields json.RawMessage
}

// A Call lasts from Bot.AcceptCall until somebody hangs up. Its methods may be called from any goroutine.
type Call struct {
	// ID names the call at the gateway.
	ID string
	// Receives and Sends say what the bot hears and says, as types of media.
	Receives, Sends string

	gateway     *gateway
	path, audio string
	events      string
	upload      *upload
	ctx         context.Context
	cancel      context.CancelFunc

	lock   sync.Mutex
	raw    *io.PipeWriter
	reason string
	fault  error
}

type accepted struct {
	AudioURL  string `json:"audio_url"`
	EventsURL string `json:"events_url"`
	Receive   string `json:"receive"`
	Send      string `json:"send"`
}

func newCall(ctx context.Context, gateway *gateway, id string, told accepted, batches bool, onBatch func()) *Call {
	path := "/v1/calls/" + id
	call := &Call{ID: id, Receives: or(told.Receive, Opus), Sends: or(told.Send, Opus), gateway: gateway, path: path,
		audio: or(told.AudioURL, path+"/audio"), events: or(told.EventsURL, path+"/events")}
	call.ctx, call.cancel = context.WithCancel(ctx)
	call.upload = newUpload(gateway, call.audio, batches, onBatch)
	go call.upload.run(call.ctx)
	return call
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Done is closed when the call is over.
func (c *Call) Done() <-chan struct{} { return c.ctx.Done() }

// Reason says why the call ended, once it has.
func (c *Call) Reason() string {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.reason
}

// Err says what the gateway refused, if a channel of this call was closed because of that.
func (c *Call) Err() error {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.fault
}

// InBatches tells whether speech goes to the gateway in batches, because a proxy holds streams back.
func (c *Call) InBatches() bool { return c.upload.isBatches() }

// What the bot hears.

// ReceiveAudioOpus hands over what the caller says, packet by packet, as it comes, until the call is over or ctx is done; then the channel
// is closed. It reconnects by itself; what was missed for longer than 5 s is lost, and the next packet tells how much.
func (c *Call) ReceiveAudioOpus(ctx context.Context) <-chan AudioPacket {
	packets := make(chan AudioPacket, waitingMax)
	expected, known := uint64(0), false
	go c.again(ctx, func() { close(packets) }, true, func(ctx context.Context, worked func()) error {
		path, header := c.audio, map[string]string{"Accept": framesWithHeader}
		if known {
			path += "?from_seq=" + strconv.FormatUint(expected, 10)
		}
		var parser *frameParser
		var near, lost uint64
		begin := func(header http.Header) {
			kind := strings.ReplaceAll(header.Get("Content-Type"), " ", "")
			parser = newFrameParser(kind == "" || strings.Contains(kind, ";hdr=1"))
			near = number(header.Get("Seq"), expected)
			lost = number(header.Get("Gap-Ms"), 0) / pieceMS
			if !known || lost > 0 {
				expected, known = near, true
			}
		}
		return c.gateway.download(ctx, path, header, begin, func(piece []byte) error {
			read, err := parser.feed(piece)
			for _, frame := range read {
				seq := near
				if parser.header > 0 {
					seq = unwrap(frame.seq, near)
				}
				if seq < expected {
					continue
				}
				packet := AudioPacket{frame.payload, seq, frame.timestamp, lost + seq - expected}
				expected, near, lost = seq+1, seq+1, 0
				worked()
				if !hand(ctx, packets, packet) {
					return ctx.Err()
				}
			}
			return err
		})
	})
	return packets
}

// ReceiveAudio is ReceiveAudioOpus for a call that was accepted with raw audio: pieces of 20 ms; PCM is signed, 16 bits, little-endian.
func (c *Call) ReceiveAudio(ctx context.Context) <-chan AudioPacket {
	packets := make(chan AudioPacket, waitingMax)
	size, seq := bytesOf20MS(c.Receives), uint64(0)
	go c.again(ctx, func() { close(packets) }, true, func(ctx context.Context, worked func()) error {
		var rest []byte
		header := map[string]string{"Accept": c.Receives}
		return c.gateway.download(ctx, c.audio, header, func(http.Header) {}, func(piece []byte) error {
			worked()
			rest = append(rest, piece...)
			for ; len(rest) >= size; rest = rest[size:] {
				packet := AudioPacket{append([]byte(nil), rest[:size]...), seq, uint32(seq * pieceMS * ticksPerMS), 0}
				if !hand(ctx, packets, packet) {
					return ctx.Err()
				}
				seq++
			}
			return nil
		})
	})
	return packets
}

// Events hands over what happens in the call, until it is over or ctx is done; then the channel is closed. It reconnects by itself.
func (c *Call) Events(ctx context.Context) <-chan CallEvent {
	events, lastID := make(chan CallEvent, waitingMax), ""
	go c.again(ctx, func() { close(events) }, false, func(ctx context.Context, worked func()) error {
		header := map[string]string{"Accept": "text/event-stream"}
		if lastID != "" {
			header["Last-Event-ID"] = lastID
		}
		parser := &sseParser{lastID: lastID}
		return c.gateway.download(ctx, c.events, header, func(http.Header) {}, func(piece []byte) error {
			read, err := parser.feed(piece)
			for _, event := range read {
				lastID = event.id
				worked()
				if !hand(ctx, events, CallEvent{event.name, json.RawMessage(event.data)}) {
					return ctx.Err()
				}
				if event.name == "call.ended" {
					c.end(reasonOf([]byte(event.data)))
				}
			}
			return err
		})
	})
	return events
}

// again runs a download until the call or ctx is over, or the gateway refuses; then it calls closed. Where endsCall, a download that ends
// in order is the end of the call.
func (c *Call) again(ctx context.Context, closed func(), endsCall bool, once func(context.Context, func()) error) {
	defer closed()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	var pause backoff
	for ctx.Err() == nil {
		err := once(ctx, func() { pause = backoff{} })
		var refused *GatewayError
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && endsCall, errors.As(err, &refused) && refused.isOver():
			c.end("ended")
			return
		case refused != nil && !refused.isPassing() && refused.Status != http.StatusConflict:
			c.lock.Lock()
			c.fault = refused
			c.lock.Unlock()
			return
		case refused != nil:
			pause.rest(ctx, refused.RetryAfter)
		default:
			pause.rest(ctx, 0)
		}
	}
}

func hand[T any](ctx context.Context, to chan<- T, what T) bool {
	select {
	case to <- what:
		return true
	case <-ctx.Done():
		return false
	}
}

func number(text string, otherwise uint64) uint64 {
	if read, err := strconv.ParseUint(text, 10, 63); err == nil {
		return read
	}
	return otherwise
}

func bytesOf20MS(kind string) int {
	name, parameter, _ := strings.Cut(kind, ";")
	_, rate, _ := strings.Cut(parameter, "rate=")
	size := int(number(rate, 8000)) * pieceMS / 1000
	if strings.TrimSpace(name) == "audio/x-mulaw" {
		return size
	}
	return 2 * size
}

// What the bot says.

// SendAudioOpus says one Opus packet (1 to 1275 bytes, up to 120 ms). Faster than real time is fine: the gateway plays in real time, and
// this waits while ten seconds are under way. It fails with ErrCallEnded, a *GatewayError, ErrFraming for what is no packet, or as ctx does.
func (c *Call) SendAudioOpus(ctx context.Context, packet []byte) error {
	return c.upload.send(ctx, packet)
}

// SendAudio says raw audio of the type that the call was accepted with; any length. One stream, without batches: use Opus behind a proxy
// that buffers. It fails with ErrCallEnded, or as the connection does (the next piece opens another).
func (c *Call) SendAudio(samples []byte) error {
	if c.ctx.Err() != nil {
		return ErrCallEnded
	}
	c.lock.Lock()
	if c.raw == nil {
		body, pipe := io.Pipe()
		c.raw = pipe
		go c.carryRaw(body)
	}
	raw := c.raw
	c.lock.Unlock()
	if _, err := raw.Write(samples); err != nil {
		c.lock.Lock()
		defer c.lock.Unlock()
		if c.raw == raw {
			c.raw = nil
		}
		return fmt.Errorf("patchbay: the stream is lost: %w", err)
	}
	return nil
}

func (c *Call) carryRaw(body *io.PipeReader) {
	response, err := c.gateway.do(c.ctx, http.MethodPost, c.audio, map[string]string{"Content-Type": c.Sends}, body, c.gateway.bearer)
	if err == nil {
		response.Body.Close()
		err = ErrCallEnded
	}
	body.CloseWithError(err)
}

// Clear drops everything said so far that the caller has not heard. Call it when the caller speaks. It fails with ErrCallEnded, a
// *GatewayError, or as the connection does.
func (c *Call) Clear(ctx context.Context) error {
	next := c.upload.clear()
	c.lock.Lock()
	if c.raw != nil {
		c.raw.CloseWithError(io.ErrClosedPipe)
		c.raw = nil
	}
	c.lock.Unlock()
	return c.SendEvent(ctx, map[string]any{"type": "clear", "next_seq": next})
}

// Mark asks for the event "mark" with this name once all that was said before it is heard.
func (c *Call) Mark(ctx context.Context, name string) error {
	return c.SendEvent(ctx, map[string]any{"type": "mark", "name": name})
}

// SendEvent tells the gateway something of the call: "dtmf", "transcript", "speech_started".
func (c *Call) SendEvent(ctx context.Context, event map[string]any) error {
	return c.post(ctx, c.events, event)
}

func (c *Call) post(ctx context.Context, path string, body any) error {
	if c.ctx.Err() != nil {
		return ErrCallEnded
	}
	err := c.gateway.ask(ctx, http.MethodPost, path, body, nil)
	var refused *GatewayError
	if errors.As(err, &refused) && refused.isOver() {
		c.end("ended")
		return ErrCallEnded
	}
	return err
}

// Hangup ends the call at once; what is not yet heard is not heard. For the last words, Mark and wait for it in Events. Ending a call that
// is over is no error.
func (c *Call) Hangup(ctx context.Context) error {
	if err := c.post(ctx, c.path+"/hangup", nil); err != nil && !errors.Is(err, ErrCallEnded) {
		return err
	}
	c.end("hangup")
	return nil
}

func (c *Call) end(reason string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.reason != "" {
		return
	}
	c.reason = reason
	c.upload.close(ErrCallEnded)
	if c.raw != nil {
		c.raw.CloseWithError(ErrCallEnded)
	}
	c.cancel()
}

func reasonOf(told []byte) string {
	var event struct{ Reason string }
	_ = json.Unmarshal(told, &event)
	return or(event.Reason, "ended")
}

// expiry is a moment in Unix time.
func expiry(seconds float64) time.Time { return time.UnixMilli(int64(seconds * 1000)) }

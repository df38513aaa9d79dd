package bot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Opus is the type of packets that pass through the gateway untouched, ULaw and PCM24k are raw.
const (
	Opus   = "audio/opus"
	ULaw   = "audio/x-mulaw;rate=8000"
	PCM24k = "audio/pcm;rate=24000"
)

const (
	eventsPath = "/v1/bots/self/events"
	// What the gateway may hold a long poll for, and how long polling goes on before the stream is tried again.
	pollWait   = 25 * time.Second
	pollingFor = 5 * time.Minute
)

// Options change how a Bot reaches its gateway. The zero value is good.
type Options struct {
	// Audience is the gateway's public_url, which tokens are made out to, if the bot reaches it at another address.
	Audience string
	// Instance names this instance; random if empty.
	Instance string
	// Transport makes the requests; if nil, one like http.DefaultTransport.
	Transport http.RoundTripper
}

// A Registration is what the directory is told. The zero value is good.
type Registration struct {
	// Name is for people.
	Name string
	// Capabilities are what callers may search for.
	Capabilities []string
	// Formats that the bot can receive and send; Opus if empty.
	Formats []string
	// Capacity is how many calls at once this instance takes; 10 if 0, at most 1000.
	Capacity int
	// TTL is after how long the lease ends should this program die; 60 s if 0, at most 300 s.
	TTL time.Duration
}

// An IncomingCall is offered. It stands for about 5 s, until ExpiresAt.
type IncomingCall struct {
	CallID string
	// Caller says of what kind the caller is: "phone", "browser" or "bot".
	Caller    string
	Ticket    string
	Codecs    []string
	ExpiresAt time.Time
	lease     string
	canceled  *atomic.Bool
}

// Canceled tells whether the offer was taken back.
func (i IncomingCall) Canceled() bool { return i.canceled.Load() }

// A Bot is one instance of a bot at one gateway. Its methods may be called from any goroutine.
type Bot struct {
	id, audience, instance string
	key                    *Key
	gateway                *gateway
	verifier               *verifier
	offers                 chan IncomingCall
	ctx                    context.Context
	cancel                 context.CancelFunc
	running                sync.WaitGroup
	batches                atomic.Bool

	lock    sync.Mutex
	wish    map[string]any
	lease   string
	token   string
	until   time.Time
	waiting map[string]IncomingCall
	calls   map[string]*Call
}

// New makes a bot that is not registered yet. gatewayURL is the gateway's public_url; options may be nil.
func New(gatewayURL, botID string, key *Key, options *Options) (*Bot, error) {
	if options == nil {
		options = &Options{}
	}
	if key == nil {
		return nil, errors.New("patchbay: a bot needs a key")
	}
	gateway, err := newGateway(gatewayURL, options.Transport)
	if err != nil {
		return nil, err
	}
	random := make([]byte, 8)
	_, _ = rand.Read(random)
	bot := &Bot{id: botID, audience: strings.TrimRight(or(options.Audience, gatewayURL), "/"), key: key, gateway: gateway,
		instance: or(options.Instance, hex.EncodeToString(random)), offers: make(chan IncomingCall, waitingMax),
		waiting: map[string]IncomingCall{}, calls: map[string]*Call{}}
	gateway.bearer = bot.bearer
	fetch := func(ctx context.Context, into any) error {
		return gateway.ask(ctx, http.MethodGet, "/.well-known/jwks.json", nil, into)
	}
	bot.verifier = &verifier{issuer: bot.audience, audience: "bot:" + botID, fetch: fetch, now: time.Now}
	bot.ctx, bot.cancel = context.WithCancel(context.Background())
	return bot, nil
}

// bearer is a token that is good for another minute at least. Only registration needs a new one each time.
func (b *Bot) bearer() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	if now := time.Now(); b.until.Before(now.Add(time.Minute)) {
		b.token, b.until = b.mint(), now.Add(tokenLife)
	}
	return b.token
}

func (b *Bot) mint() string { return b.key.Token(b.id, b.audience, time.Now()) }

// Being found.

// RegisterWithDiscovery enters the gateway's directory: from now on callers find the bot, and calls are offered to this instance. It
// answers the lease, which is refreshed by itself until Close. It fails with a *GatewayError (401: the key is not known, or the clock is
// wrong) or as the connection does.
func (b *Bot) RegisterWithDiscovery(ctx context.Context, wish Registration) (string, error) {
	formats := wish.Formats
	if len(formats) == 0 {
		formats = []string{Opus}
	}
	capacity, ttl := wish.Capacity, wish.TTL
	if capacity == 0 {
		capacity = 10
	}
	if ttl == 0 {
		ttl = time.Minute
	}
	told := map[string]any{"id": b.id, "instance": b.instance, "formats": formats, "capacity": capacity, "delivery": "sse",
		"ttl": int(ttl.Seconds()), "capabilities": append([]string{}, wish.Capabilities...)}
	if wish.Name != "" {
		told["name"] = wish.Name
	}
	b.lock.Lock()
	isFirst := b.wish == nil
	b.wish = told
	b.lock.Unlock()
	again, err := b.register(ctx)
	if err != nil {
		if isFirst {
			b.lock.Lock()
			b.wish = nil
			b.lock.Unlock()
		}
		return "", err
	}
	if isFirst {
		b.running.Add(2)
		go b.refresh(again)
		go b.listen()
	}
	return b.Lease(), nil
}

// Lease is the lease, once registered.
func (b *Bot) Lease() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.lease
}

func (b *Bot) register(ctx context.Context) (time.Duration, error) {
	b.lock.Lock()
	wish := b.wish
	b.lock.Unlock()
	body, err := json.Marshal(wish)
	if err != nil {
		return 0, err
	}
	var told struct {
		Lease        string  `json:"lease"`
		RefreshAfter float64 `json:"refresh_after"`
	}
	header := map[string]string{"Content-Type": "application/json"}
	if err := b.gateway.exchange(ctx, http.MethodPost, "/v1/register", header, body, b.mint, &told); err != nil {
		return 0, err
	}
	b.lock.Lock()
	b.lease = told.Lease
	b.lock.Unlock()
	after := time.Duration(told.RefreshAfter * float64(time.Second))
	switch {
	case told.RefreshAfter == 0:
		after = 20 * time.Second
	case told.RefreshAfter > 1e6:
		// A moment or a span: what is larger than any span is a moment.
		after = time.Until(expiry(told.RefreshAfter))
	}
	return max(time.Second, after), nil
}

func (b *Bot) refresh(after time.Duration) {
	defer b.running.Done()
	var pause backoff
	for wait(b.ctx, after) {
		next, err := b.register(b.ctx)
		if err != nil {
			next = pause.next()
		} else {
			pause = backoff{}
		}
		after = next
	}
}

// Being called.

// Calls hands over the calls that are offered to this instance, until Close; then it is closed. Each wants AcceptCall or RejectCall within
// 5 s; else another instance is asked.
func (b *Bot) Calls() <-chan IncomingCall { return b.offers }

// Serve runs take for each offered call, beside each other, until Close or the end of ctx. An error of take is logged, but for those of a
// call that others took or that ended, and ends that call alone.
func (b *Bot) Serve(ctx context.Context, take func(context.Context, *Bot, IncomingCall) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case incoming, open := <-b.offers:
			if !open {
				return
			}
			if !incoming.Canceled() {
				go b.takeCall(ctx, take, incoming)
			}
		}
	}
}

func (b *Bot) takeCall(ctx context.Context, take func(context.Context, *Bot, IncomingCall) error, incoming IncomingCall) {
	err := take(ctx, b, incoming)
	if err == nil || errors.Is(err, ErrCallEnded) || errors.Is(err, ErrCallTaken) || errors.Is(err, ErrOfferExpired) {
		return
	}
	log.Printf("patchbay: call %s: %v", incoming.CallID, err)
	b.lock.Lock()
	call := b.calls[incoming.CallID]
	b.lock.Unlock()
	if call != nil {
		_ = call.Hangup(ctx)
	}
}

// AcceptCall takes an offered call, with Opus, or with raw audio (ULaw, PCM24k), both ways. It fails with ErrOfferExpired, ErrCallTaken,
// another *GatewayError, or as the connection does.
func (b *Bot) AcceptCall(ctx context.Context, incoming IncomingCall, audio string) (*Call, error) {
	body := map[string]any{"lease": incoming.lease, "audio": map[string]string{"receive": audio, "send": audio}}
	var told accepted
	if err := b.gateway.ask(ctx, http.MethodPost, "/v1/calls/"+incoming.CallID+"/accept", body, &told); err != nil {
		return nil, err
	}
	// The proxy that holds one call's stream back holds back the next one's.
	call := newCall(b.ctx, b.gateway, incoming.CallID, told, b.batches.Load(), func() { b.batches.Store(true) })
	b.lock.Lock()
	defer b.lock.Unlock()
	for id, other := range b.calls {
		if other.ctx.Err() != nil {
			delete(b.calls, id)
		}
	}
	b.calls[call.ID] = call
	return call, nil
}

// RejectCall leaves an offered call to others.
func (b *Bot) RejectCall(ctx context.Context, incoming IncomingCall, reason string) error {
	body := map[string]any{"lease": incoming.lease}
	if reason != "" {
		body["reason"] = reason
	}
	return b.gateway.ask(ctx, http.MethodPost, "/v1/calls/"+incoming.CallID+"/reject", body, nil)
}

// VerifyHumanAttestation answers what the gateway vouches for about the caller, if that is at least the level asked for. It checks the
// signature by the gateway's keys, type, issuer, audience, age (at most 60 s), the call (unless callID is empty), and that the ticket is
// shown once. It fails with a *TicketError; and if the keys cannot be fetched, with a *GatewayError or as the connection does.
func (b *Bot) VerifyHumanAttestation(ctx context.Context, ticket string, least Level, callID string) (Attestation, error) {
	return b.verifier.verify(ctx, ticket, least, callID)
}

// The stream of events, and its twin for proxies that hold it back.

type place struct{ lease, lastID string }

func (b *Bot) listen() {
	defer b.running.Done()
	defer close(b.offers)
	var pause backoff
	var pollsUntil time.Time
	at := place{lease: b.Lease()}
	for b.ctx.Err() == nil {
		if lease := b.Lease(); lease != at.lease {
			at = place{lease: lease}
		}
		var err error
		if time.Now().Before(pollsUntil) {
			err = b.poll(&at, &pause)
		} else {
			err = b.stream(&at, &pause)
		}
		var refused *GatewayError
		switch {
		case err == nil || b.ctx.Err() != nil:
		case errors.Is(err, errSilent):
			pollsUntil = time.Now().Add(pollingFor)
		case errors.As(err, &refused):
			pause.rest(b.ctx, refused.RetryAfter)
			if refused.isGone() && at.lease == b.Lease() {
				_, _ = b.register(b.ctx)
			}
		default:
			pause.rest(b.ctx, 0)
		}
	}
}

// errMoved ends a stream of events whose lease is no more.
var errMoved = errors.New("patchbay: another lease")

func (b *Bot) stream(at *place, pause *backoff) error {
	header := map[string]string{"Accept": "text/event-stream"}
	if at.lastID != "" {
		header["Last-Event-ID"] = at.lastID
	}
	parser := &sseParser{lastID: at.lastID, retry: time.Second}
	path := eventsPath + "?lease=" + url.QueryEscape(at.lease)
	err := b.gateway.download(b.ctx, path, header, func(http.Header) {}, func(piece []byte) error {
		*pause = backoff{}
		events, err := parser.feed(piece)
		for _, event := range events {
			b.take(event.name, []byte(event.data))
			at.lastID = event.id
		}
		if err == nil && b.Lease() != at.lease {
			return errMoved
		}
		return err
	})
	if err == nil {
		wait(b.ctx, parser.retry)
	}
	if errors.Is(err, errMoved) {
		return nil
	}
	return err
}

func (b *Bot) poll(at *place, pause *backoff) error {
	query := url.Values{"lease": {at.lease}, "after": {or(at.lastID, "0")}, "wait": {"25"}}
	var told struct {
		Events []struct {
			Event string
			Data  json.RawMessage
		}
		Next json.Number
	}
	if err := b.gateway.ask(b.ctx, http.MethodGet, eventsPath+"?"+query.Encode(), nil, &told); err != nil {
		return err
	}
	*pause = backoff{}
	for _, event := range told.Events {
		b.take(event.Event, event.Data)
	}
	at.lastID = told.Next.String()
	return nil
}

func (b *Bot) take(name string, raw []byte) {
	var told struct {
		CallID string `json:"call_id"`
		Lease  string `json:"lease"`
		From   struct{ Kind string }
		Ticket string
		Codecs []string
		Expiry float64 `json:"expires_at"`
	}
	if json.Unmarshal(raw, &told) != nil {
		return
	}
	b.lock.Lock()
	offer, isOffered := b.waiting[told.CallID]
	call := b.calls[told.CallID]
	b.lock.Unlock()
	switch {
	case name == "call.incoming":
		b.offer(IncomingCall{told.CallID, told.From.Kind, told.Ticket, told.Codecs, expiry(told.Expiry), told.Lease, &atomic.Bool{}})
	case name == "call.canceled" && isOffered:
		offer.canceled.Store(true)
	case name == "call.ended" && call != nil:
		call.end(reasonOf(raw))
	}
}

func (b *Bot) offer(offer IncomingCall) {
	b.lock.Lock()
	for id, other := range b.waiting {
		if other.Canceled() || time.Since(other.ExpiresAt) > time.Minute {
			delete(b.waiting, id)
		}
	}
	b.waiting[offer.CallID] = offer
	b.lock.Unlock()
	hand(b.ctx, b.offers, offer)
}

// Close ends the lease and every connection; calls that run are hung up, within ctx.
func (b *Bot) Close(ctx context.Context) {
	b.lock.Lock()
	calls := make([]*Call, 0, len(b.calls))
	for _, call := range b.calls {
		calls = append(calls, call)
	}
	lease := b.lease
	b.lease = ""
	b.lock.Unlock()
	for _, call := range calls {
		_ = call.Hangup(ctx)
	}
	b.cancel()
	if lease != "" {
		_ = b.gateway.ask(ctx, http.MethodDelete, "/v1/register/"+b.id+"?lease="+url.QueryEscape(lease), nil, nil)
	}
	b.running.Wait()
}

package bot

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Level is how much was checked about a caller.
type Level string

// The levels, least first. LevelPhone stands beside them: a phone number is no proof of a person, so it counts as LevelNone, and as
// LevelChallenge if the network vouches for the number in full (STIR/SHAKEN attestation A).
const (
	LevelNone      Level = "none"
	LevelChallenge Level = "challenge"
	LevelAccount   Level = "account"
	LevelVerified  Level = "verified"
	LevelPhone     Level = "phone"
)

var ladder = []Level{LevelNone, LevelChallenge, LevelAccount, LevelVerified}

const (
	ticketLife = 60
	skew       = 5
	// How long the gateway's keys are believed, and how long at least before they are fetched again.
	jwksLife  = 10 * time.Minute
	jwksAgain = 10 * time.Second
	seenMax   = 10_000
)

// A TicketError says that a ticket proves nothing. Reason is one of malformed, type, signature, issuer, audience, expired, replayed, call
// and level.
type TicketError struct{ Reason, Message string }

func (e *TicketError) Error() string { return "patchbay: ticket: " + e.Reason + ": " + e.Message }

func bad(reason, format string, arguments ...any) error {
	return &TicketError{Reason: reason, Message: fmt.Sprintf(format, arguments...)}
}

// An Attestation is what a valid ticket says. Subject is a pseudonym of the caller, the same only for this bot.
type Attestation struct {
	CallID    string
	Level     Level
	Methods   []json.RawMessage
	Subject   string
	Transport string
}

type claims struct {
	Iss, Aud, Jti, Sub string
	Iat, Exp           *float64
	Call               *struct{ ID, Transport string }
	Human              *struct {
		Level   Level
		Methods []json.RawMessage
	}
}

// verifier checks tickets. It keeps the gateway's keys, and the tickets that it has seen until they expire.
type verifier struct {
	issuer, audience string
	fetch            func(context.Context, any) error
	now              func() time.Time

	lock    sync.Mutex
	keys    map[string]ed25519.PublicKey
	fetched time.Time
	seen    map[string]time.Time
}

func (v *verifier) verify(ctx context.Context, ticket string, least Level, callID string) (Attestation, error) {
	if !slices.Contains(ladder, least) && least != LevelPhone {
		return Attestation{}, fmt.Errorf("patchbay: no level is called %q", least)
	}
	told, err := v.check(ctx, ticket)
	if err != nil {
		return Attestation{}, err
	}
	return v.believe(told, least, callID)
}

func (v *verifier) check(ctx context.Context, ticket string) (claims, error) {
	var head struct{ Typ, Alg, Kid string }
	var told claims
	parts := strings.Split(ticket, ".")
	if len(parts) != 3 || !decode(parts[0], &head) || !decode(parts[1], &told) {
		return told, bad("malformed", "not a signed token")
	}
	if head.Typ != "call-ticket+jwt" || head.Alg != "EdDSA" && head.Alg != "Ed25519" {
		return told, bad("type", "typ %q, alg %q", head.Typ, head.Alg)
	}
	key, err := v.key(ctx, head.Kid)
	if err != nil {
		return told, err
	}
	signature, err := b64.DecodeString(parts[2])
	if err != nil || !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), signature) {
		return told, bad("signature", "it was not signed by this gateway")
	}
	return told, nil
}

func decode(part string, into any) bool {
	raw, err := b64.DecodeString(part)
	return err == nil && json.Unmarshal(raw, into) == nil
}

func (v *verifier) believe(told claims, least Level, callID string) (Attestation, error) {
	now := v.now()
	if told.Iat == nil || told.Exp == nil || told.Jti == "" || told.Call == nil || told.Human == nil {
		return Attestation{}, bad("malformed", "a claim is missing")
	}
	if told.Iss != v.issuer {
		return Attestation{}, bad("issuer", "issued by %q", told.Iss)
	}
	if told.Aud != v.audience {
		return Attestation{}, bad("audience", "made out to %q", told.Aud)
	}
	at := float64(now.UnixMilli()) / 1000
	if *told.Exp-*told.Iat > ticketLife || *told.Iat > at+skew || *told.Exp <= at-skew {
		return Attestation{}, bad("expired", "good from %.0f to %.0f, now %.0f", *told.Iat, *told.Exp, at)
	}
	if told.Call.ID != told.Jti || callID != "" && callID != told.Jti {
		return Attestation{}, bad("call", "made out for call %q", told.Jti)
	}
	if !isEnough(told.Human.Level, told.Human.Methods, least) {
		return Attestation{}, bad("level", "%s is less than %s", told.Human.Level, least)
	}
	if !v.once(told.Jti, time.UnixMilli(int64((*told.Exp+skew)*1000)), now) {
		return Attestation{}, bad("replayed", "it was shown before")
	}
	return Attestation{told.Jti, told.Human.Level, told.Human.Methods, told.Sub, told.Call.Transport}, nil
}

func isEnough(level Level, methods []json.RawMessage, least Level) bool {
	if least == LevelPhone {
		return level == LevelPhone
	}
	if level == LevelPhone && slices.ContainsFunc(methods, attestsInFull) {
		level = LevelChallenge
	}
	return max(0, slices.Index(ladder, level)) >= slices.Index(ladder, least)
}

func attestsInFull(method json.RawMessage) bool {
	var told struct{ Attest string }
	return string(method) == `"phone:A"` || json.Unmarshal(method, &told) == nil && strings.EqualFold(told.Attest, "A")
}

func (v *verifier) once(jti string, until, now time.Time) bool {
	v.lock.Lock()
	defer v.lock.Unlock()
	if v.seen == nil {
		v.seen = map[string]time.Time{}
	}
	if len(v.seen) >= seenMax {
		for seen, until := range v.seen {
			if !until.After(now) {
				delete(v.seen, seen)
			}
		}
	}
	if v.seen[jti].After(now) {
		return false
	}
	v.seen[jti] = until
	return true
}

func (v *verifier) key(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	v.lock.Lock()
	defer v.lock.Unlock()
	age := v.now().Sub(v.fetched)
	if _, known := v.keys[kid]; age > jwksLife || !known && age > jwksAgain {
		var jwks struct {
			Keys []struct{ Kid, Crv, X string }
		}
		if err := v.fetch(ctx, &jwks); err != nil {
			return nil, err
		}
		v.keys, v.fetched = map[string]ed25519.PublicKey{}, v.now()
		for _, jwk := range jwks.Keys {
			if raw, err := b64.DecodeString(jwk.X); err == nil && jwk.Crv == "Ed25519" && len(raw) == ed25519.PublicKeySize {
				v.keys[jwk.Kid] = raw
			}
		}
	}
	if key, known := v.keys[kid]; known {
		return key, nil
	}
	return nil, bad("signature", "the gateway has no key %q", kid)
}

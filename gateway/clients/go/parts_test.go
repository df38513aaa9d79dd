package bot

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestFramesComeWholeOutOfAnyPieces(t *testing.T) {
	packets := []string{"a", strings.Repeat("b", 300), strings.Repeat("c", 1275)}
	var stream []byte
	for i, packet := range packets {
		stream = appendFrameWithHeader(stream, []byte(packet), uint64(65_534+i), uint32(960*i))
	}
	stream = append(stream, keepalive...)
	for _, size := range []int{1, 2, 3, 7, 5000} {
		parser, count := newFrameParser(true), 0
		for at := 0; at < len(stream); at += size {
			read, err := parser.feed(stream[at:min(at+size, len(stream))])
			must(t, err)
			for _, frame := range read {
				same(t, string(frame.payload), packets[count])
				same(t, frame.seq, uint16(65_534+count))
				same(t, frame.timestamp, uint32(960*count))
				count++
			}
		}
		same(t, count, 3)
	}
}

func TestALengthThatCannotBeIsAnError(t *testing.T) {
	for _, stream := range []string{"\x00\x06abcdef", "\xff\xff"} {
		if _, err := newFrameParser(true).feed([]byte(stream)); !errors.Is(err, ErrFraming) {
			t.Fatalf("%q: %v", stream, err)
		}
	}
	for _, length := range []int{0, 1276} {
		if err := checkPacket(make([]byte, length)); !errors.Is(err, ErrFraming) {
			t.Fatalf("%d: %v", length, err)
		}
	}
}

func TestASeqOf16BitsIsToldItsPlace(t *testing.T) {
	same(t, unwrap(2, 65_535), 65_538)
	same(t, unwrap(65_535, 65_538), 65_535)
}

func TestAPacketSaysHowLongItLasts(t *testing.T) {
	for packet, ticks := range map[string]uint32{"\x78": 960, "\x08": 960, "\x7b\x03": 2880, "\x80": 120, "": 0, "\xff": 0} {
		same(t, duration([]byte(packet)), ticks)
	}
}

func TestEventsComeWholeOutOfAnyPieces(t *testing.T) {
	stream := "\ufeffretry: 1000\r\n: ping\r\n\r\nid: 7\r\nevent: call.incoming\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata: x\r\r"
	for _, size := range []int{1, 2, 5, 500} {
		parser := &sseParser{}
		var events []serverEvent
		for at := 0; at < len(stream); at += size {
			read, err := parser.feed([]byte(stream[at:min(at+size, len(stream))]))
			must(t, err)
			events = append(events, read...)
		}
		same(t, len(events), 2)
		same(t, events[0], serverEvent{"call.incoming", "{\"a\":\n1}", "7"})
		same(t, events[1], serverEvent{"message", "x", "7"})
		same(t, parser.retry, time.Second)
	}
	if _, err := (&sseParser{}).feed(make([]byte, 300_000)); err == nil {
		t.Fatal("an event has no end")
	}
}

func TestATokenSaysWhoToWhomAndForHowLong(t *testing.T) {
	key, err := GenerateKey()
	must(t, err)
	parts := strings.Split(key.Token("echo", "https://gw.example", time.Unix(1000, 0)), ".")
	var head map[string]string
	var told struct {
		Iss, Sub, Aud, Jti string
		Iat, Exp           int64
	}
	if !decode(parts[0], &head) || !decode(parts[1], &told) || len(told.Jti) < 16 {
		t.Fatal(parts)
	}
	same(t, head["typ"]+head["alg"]+head["kid"], "bot+jwtEdDSA"+key.Thumbprint())
	same(t, fmt.Sprint(told.Iss, told.Sub, told.Aud, told.Iat, told.Exp), "bot:echobot:echohttps://gw.example1000 1240")
	public, _ := b64.DecodeString(key.JWK().X)
	signature, _ := b64.DecodeString(parts[2])
	if !ed25519.Verify(public, []byte(parts[0]+"."+parts[1]), signature) {
		t.Fatal("the signature is wrong")
	}
}

func TestAKeyIsReadFromPEMAndFromJWKAndNeverShown(t *testing.T) {
	// RFC 8037 appendix A.
	key, err := ParseKey([]byte(`{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	must(t, err)
	same(t, key.Thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")
	again, err := ParseKey(key.PEM())
	must(t, err)
	same(t, again.Thumbprint(), key.Thumbprint())
	shown := fmt.Sprintf("%v %+v %#v %s", key, key, key, key)
	same(t, shown, strings.TrimSpace(strings.Repeat("Key("+key.Thumbprint()+") ", 4)))
	for _, text := range []string{"", "{}", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"} {
		if _, err := ParseKey([]byte(text)); err == nil {
			t.Fatalf("%q is a key", text)
		}
	}
}

func TestAPauseGrowsHasChanceInItAndAnEnd(t *testing.T) {
	var pause backoff
	for failure := range 40 {
		whole := min(15*time.Second, 250*time.Millisecond<<min(failure, 16))
		if next := pause.next(); next < whole/2 || next > whole {
			t.Fatal(failure, next)
		}
	}
}

// issuer is a gateway's key, and a verifier of what it signs.
type issuer struct {
	*testing.T
	key      *Key
	now      time.Time
	fetched  int
	verifier *verifier
}

func newIssuer(t *testing.T) *issuer {
	key, err := GenerateKey()
	must(t, err)
	i := &issuer{T: t, key: key, now: time.Unix(1_000_000, 0)}
	fetch := func(_ context.Context, into any) error {
		i.fetched++
		jwk := i.key.JWK()
		return json.Unmarshal([]byte(fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}]}`, i.key.Thumbprint(), jwk.X)), into)
	}
	i.verifier = &verifier{issuer: "https://gw.example", audience: "bot:echo", fetch: fetch, now: func() time.Time { return i.now }}
	return i
}

type change map[string]any

func (i *issuer) ticket(changes change) string {
	head := change{"typ": "call-ticket+jwt", "alg": "EdDSA", "kid": i.key.Thumbprint()}
	claims := change{"iss": "https://gw.example", "aud": "bot:echo", "jti": "c1", "iat": 1_000_000, "exp": 1_000_060, "sub": "p",
		"call": change{"id": "c1", "transport": "twilio"}, "human": change{"level": "account", "methods": []any{}}}
	for name, value := range changes {
		if name == "typ" {
			head[name] = value
		} else {
			claims[name] = value
		}
	}
	return i.key.sign(head, claims)
}

func (i *issuer) refuses(reason, ticket string, least Level, callID string) {
	i.Helper()
	var wrong *TicketError
	if _, err := i.verifier.verify(context.Background(), ticket, least, callID); !errors.As(err, &wrong) || wrong.Reason != reason {
		i.Fatalf("%v, not %s", err, reason)
	}
}

func TestAGoodTicketIsBelievedOnceAndTheKeysAreKept(t *testing.T) {
	issuer := newIssuer(t)
	ticket := issuer.ticket(nil)
	got, err := issuer.verifier.verify(context.Background(), ticket, LevelChallenge, "c1")
	must(t, err)
	same(t, got.CallID+string(got.Level)+got.Transport, "c1accounttwilio")
	issuer.refuses("replayed", ticket, LevelNone, "c1")
	second := issuer.ticket(change{"jti": "c2", "call": change{"id": "c2"}})
	_, err = issuer.verifier.verify(context.Background(), second, LevelChallenge, "c2")
	must(t, err)
	same(t, issuer.fetched, 1)
}

func TestEachFaultOfATicketHasItsName(t *testing.T) {
	issuer := newIssuer(t)
	issuer.refuses("malformed", "nonsense", LevelNone, "c1")
	issuer.refuses("malformed", "a.b.c", LevelNone, "c1")
	issuer.refuses("type", issuer.ticket(change{"typ": "bot+jwt"}), LevelNone, "c1")
	forged := issuer.ticket(nil)
	issuer.refuses("signature", forged[:len(forged)-8]+"AAAAAAAA", LevelNone, "c1")
	issuer.refuses("issuer", issuer.ticket(change{"iss": "https://other.example"}), LevelNone, "c1")
	issuer.refuses("audience", issuer.ticket(change{"aud": "bot:other"}), LevelNone, "c1")
	issuer.refuses("expired", issuer.ticket(change{"exp": 1_000_061}), LevelNone, "c1")
	issuer.refuses("expired", issuer.ticket(change{"iat": 1_000_010}), LevelNone, "c1")
	issuer.refuses("call", issuer.ticket(nil), LevelNone, "c9")
	issuer.refuses("call", issuer.ticket(change{"call": change{"id": "c9"}}), LevelNone, "")
	issuer.refuses("level", issuer.ticket(nil), LevelVerified, "c1")
	issuer.now = issuer.now.Add(66 * time.Second)
	issuer.refuses("expired", issuer.ticket(nil), LevelNone, "c1")
}

func TestAPhoneIsAChallengeOnlyIfTheNetworkAttestsItInFull(t *testing.T) {
	issuer := newIssuer(t)
	phone := func(attest string) string {
		return issuer.ticket(change{"human": change{"level": "phone", "methods": []any{change{"m": "phone", "attest": attest}}}})
	}
	issuer.refuses("level", phone("B"), LevelChallenge, "c1")
	issuer.refuses("level", issuer.ticket(nil), LevelPhone, "c1")
	_, err := issuer.verifier.verify(context.Background(), phone("A"), LevelChallenge, "c1")
	must(t, err)
}

func TestAnUnknownKeyIsLookedForAgainButNotAtOnce(t *testing.T) {
	issuer := newIssuer(t)
	_, err := issuer.verifier.verify(context.Background(), issuer.ticket(nil), LevelNone, "c1")
	must(t, err)
	issuer.key, _ = GenerateKey()
	second := issuer.ticket(change{"jti": "c2", "call": change{"id": "c2"}})
	issuer.refuses("signature", second, LevelNone, "c2")
	issuer.now = issuer.now.Add(11 * time.Second)
	_, err = issuer.verifier.verify(context.Background(), second, LevelNone, "c2")
	must(t, err)
	same(t, issuer.fetched, 2)
}

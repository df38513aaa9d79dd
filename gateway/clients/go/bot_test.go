package bot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

var background = context.Background()

const (
	events = "GET /v1/bots/self/events"
	audio  = "GET /v1/calls/c1/audio"
	saying = "POST /v1/calls/c1/audio"
)

func say(t *testing.T, call *Call, count int) {
	t.Helper()
	for n := range count {
		must(t, call.SendAudioOpus(background, packet(n)))
	}
}

func TestItRegistersAndIsOfferedACall(t *testing.T) {
	s := stage(t)
	_, err := s.bot.RegisterWithDiscovery(background, Registration{Name: "Echo", Capabilities: []string{"echo"}, Capacity: 3})
	must(t, err)
	body := s.registrations[0]
	same(t, fmt.Sprintln(body["id"], body["capacity"], body["delivery"], body["ttl"], body["instance"]), "echo 3 sse 60 "+s.bot.instance+"\n")
	incoming := <-s.bot.Calls()
	same(t, incoming.CallID+incoming.Caller+incoming.Ticket, "c1phonet")
}

func TestEachRegistrationHasATokenOfItsOwn(t *testing.T) {
	s := stage(t)
	for range 2 {
		_, err := s.bot.RegisterWithDiscovery(background, Registration{})
		must(t, err)
	}
	same(t, len(s.tokens), 2)
	same(t, s.registrations[0]["instance"], s.registrations[1]["instance"])
}

func TestALostStreamOfEventsIsResumedFromTheLastOne(t *testing.T) {
	s := stage(t)
	seen := make(chan string, 10)
	s.script(events, func(w http.ResponseWriter, r *http.Request) {
		last := r.Header.Get("Last-Event-ID")
		seen <- last
		send(w, sse("call.incoming", offered("c"+last), 10))
		if last == "" {
			cut()
		}
		s.hold(r)
	})
	_, err := s.bot.RegisterWithDiscovery(background, Registration{})
	must(t, err)
	same(t, (<-s.bot.Calls()).CallID+(<-s.bot.Calls()).CallID, "cc10")
	same(t, <-seen+<-seen, "10")
}

func TestASilentStreamOfEventsGivesWayToPolling(t *testing.T) {
	s := stage(t)
	s.bot.gateway.silent = 100 * time.Millisecond
	s.script(events, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("after") {
		case "":
			send(w, "")
			s.hold(r)
		case "0":
			answer(w, 200, `{"events":[{"id":5,"event":"call.incoming","data":`+offered("c1")+`}],"next":5}`)
		default:
			s.hold(r)
		}
	})
	_, err := s.bot.RegisterWithDiscovery(background, Registration{})
	must(t, err)
	same(t, (<-s.bot.Calls()).CallID, "c1")
}

func TestALeaseThatIsGoneIsTakenAgain(t *testing.T) {
	s := stage(t)
	s.script(events, func(w http.ResponseWriter, r *http.Request) {
		if s.count("POST /v1/register") == 1 {
			answer(w, 404, `{"error":{"code":"lease_not_found","message":"m"}}`)
			return
		}
		s.offer(w, r)
	})
	_, err := s.bot.RegisterWithDiscovery(background, Registration{})
	must(t, err)
	same(t, (<-s.bot.Calls()).CallID, "c1")
	same(t, s.count("POST /v1/register"), 2)
}

func TestAnOfferThatIsTooLateSaysSo(t *testing.T) {
	s := stage(t)
	s.script("POST /v1/calls/c1/accept", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 410, `{"error":{"type":"t","code":"offer_expired","message":"m"}}`)
	})
	_, err := s.bot.RegisterWithDiscovery(background, Registration{})
	must(t, err)
	if _, err = s.bot.AcceptCall(background, <-s.bot.Calls(), Opus); !errors.Is(err, ErrOfferExpired) {
		t.Fatal(err)
	}
}

func TestSpeechGoesUpAsOneStream(t *testing.T) {
	s := stage(t)
	call := s.take()
	say(t, call, 20)
	s.until(func() bool { return s.heardInAll() == 20 })
	for n := range 20 {
		same(t, s.heard[uint64(n)], string(packet(n)))
	}
	time.Sleep(700 * time.Millisecond)
	same(t, call.InBatches(), false)
	same(t, s.count(saying), 1)
}

func TestAStreamThatAProxyHoldsBackBecomesBatchesAndNothingIsLost(t *testing.T) {
	s := stage(t)
	s.script(saying, s.holdStreamBack)
	call := s.take()
	began := time.Now()
	say(t, call, 20)
	s.until(func() bool { return s.heardInAll() == 20 })
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Fatal(took)
	}
	for n := range 20 {
		same(t, s.heard[uint64(n)], string(packet(n)))
	}
	same(t, call.InBatches() && s.bot.batches.Load(), true)
}

func TestABatchThatFailsIsSentAgainWithTheSameSeq(t *testing.T) {
	s := stage(t)
	s.bot.batches.Store(true)
	tries := make(chan string, 10)
	s.script(saying, func(w http.ResponseWriter, r *http.Request) {
		tries <- r.Header.Get("Seq")
		switch s.count(saying) {
		case 1:
			cut()
		case 2:
			answer(w, 503, `{"error":{}}`)
		case 3:
			w.Header().Set("Retry-After", "0.1")
			answer(w, 429, `{"error":{}}`)
		default:
			s.takeBatch(w, r)
		}
	})
	call := s.take()
	must(t, call.SendAudioOpus(background, packet(0)))
	s.until(func() bool { return s.heardInAll() > 0 })
	for range 4 {
		same(t, <-tries, "0")
	}
	same(t, s.heard[0], string(packet(0)))
}

func TestAStreamThatIsLostGoesOnWhereTheGatewayIs(t *testing.T) {
	s := stage(t)
	s.script(saying, func(w http.ResponseWriter, r *http.Request) {
		if s.count(saying) == 1 {
			_, _ = r.Body.Read(make([]byte, 10))
			cut()
		}
		s.takeStream(w, r)
	})
	call := s.take()
	say(t, call, 20)
	s.until(func() bool { return s.heardInAll() == 20 })
}

func TestAClearForgetsWhatWaitsAndTheNextSpeechHasALaterSeq(t *testing.T) {
	s := stage(t)
	told := make(chan string, 10)
	s.script("POST /v1/calls/c1/events", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told <- string(body)
		answer(w, 200, `{}`)
	})
	call := s.take()
	say(t, call, 3)
	must(t, call.Clear(background))
	same(t, <-told, `{"next_seq":3,"type":"clear"}`)
	s.lock.Lock()
	s.heard = map[uint64]string{}
	s.lock.Unlock()
	must(t, call.SendAudioOpus(background, packet(9)))
	s.until(func() bool { return s.heardInAll() > 0 })
	same(t, s.heard[3], string(packet(9)))
	same(t, len(s.heard), 1)
}

func TestWhatTheCallerSaysComesPacketByPacketAndALostConnectionIsResumed(t *testing.T) {
	s := stage(t)
	s.script(audio, func(w http.ResponseWriter, r *http.Request) {
		from := r.URL.Query().Get("from_seq")
		seqs := []uint64{65_534, 65_535, 65_536}
		if from != "" {
			same(t, from, "65537")
			seqs = []uint64{65_537, 65_540}
		}
		w.Header().Set("Content-Type", framesWithHeader)
		w.Header().Set("Seq", fmt.Sprint(seqs[0]))
		for n, seq := range seqs {
			send(w, string(append(appendFrameWithHeader(nil, packet(n), seq, uint32(seq*960)), keepalive...)))
		}
		if from == "" {
			cut()
		}
	})
	call := s.take()
	var got []string
	for packet := range call.ReceiveAudioOpus(background) {
		got = append(got, fmt.Sprint(packet.Seq, "-", packet.Lost))
	}
	same(t, strings.Join(got, " "), "65534-0 65535-0 65536-0 65537-0 65540-2")
	same(t, call.Reason(), "ended")
}

func TestASilentDownloadIsADeadOneAndAGapIsTold(t *testing.T) {
	s := stage(t)
	s.bot.gateway.silent = 200 * time.Millisecond
	s.script(audio, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("from_seq") == "" {
			w.Header().Set("Seq", "0")
			send(w, string(appendFrameWithHeader(nil, packet(0), 0, 0)))
			s.hold(r)
			return
		}
		w.Header().Set("Seq", "400")
		w.Header().Set("Gap-Ms", "8000")
		w.Header().Set("Content-Type", framesWithHeader)
		send(w, string(appendFrameWithHeader(nil, packet(0), 400, 0)))
	})
	s.script(events, s.offer)
	call := s.take()
	var got []string
	for packet := range call.ReceiveAudioOpus(background) {
		got = append(got, fmt.Sprint(packet.Seq, "-", packet.Lost))
	}
	same(t, strings.Join(got, " "), "0-0 400-400")
}

func TestRawAudioGoesBothWaysAndComesInPiecesOf20Ms(t *testing.T) {
	s := stage(t)
	s.script("POST /v1/calls/c1/accept", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, `{"receive":"audio/x-mulaw;rate=8000","send":"audio/x-mulaw;rate=8000"}`)
	})
	s.script(audio, func(w http.ResponseWriter, r *http.Request) {
		same(t, r.Header.Get("Accept"), ULaw)
		for _, size := range []int{100, 300, 80} {
			send(w, strings.Repeat("\xff", size))
		}
	})
	said := make(chan int, 10)
	s.script(saying, func(w http.ResponseWriter, r *http.Request) {
		same(t, r.Header.Get("Content-Type"), ULaw)
		count, _ := io.ReadFull(r.Body, make([]byte, 500))
		said <- count
		s.hold(r)
	})
	call := s.take()
	must(t, call.SendAudio(make([]byte, 500)))
	same(t, <-said, 500)
	count := 0
	for packet := range call.ReceiveAudio(background) {
		same(t, len(packet.Payload), 160)
		count++
	}
	same(t, count, 3)
}

func TestNothingCanBeSaidAfterTheEnd(t *testing.T) {
	s := stage(t)
	call := s.take()
	must(t, call.Hangup(background))
	must(t, call.Hangup(background))
	<-call.Done()
	for _, err := range []error{call.SendAudioOpus(background, packet(0)), call.Clear(background), call.SendAudio([]byte{1})} {
		if !errors.Is(err, ErrCallEnded) {
			t.Fatal(err)
		}
	}
	same(t, s.count("POST /v1/calls/c1/hangup"), 1)
}

func TestWhatIsNoPacketIsRefusedAtOnce(t *testing.T) {
	call := stage(t).take()
	for _, length := range []int{0, 1276} {
		if err := call.SendAudioOpus(background, make([]byte, length)); !errors.Is(err, ErrFraming) {
			t.Fatal(err)
		}
	}
}

func TestAnEndToldByTheGatewayEndsTheCallAndItsEventsComeUntilThen(t *testing.T) {
	s := stage(t)
	ends := make(chan struct{})
	s.script(events, func(w http.ResponseWriter, r *http.Request) {
		send(w, sse("call.incoming", offered("c1"), 1))
		<-ends
		send(w, sse("call.ended", `{"call_id":"c1","reason":"caller_hung_up"}`, 2))
		s.hold(r)
	})
	s.script("GET /v1/calls/c1/events", func(w http.ResponseWriter, r *http.Request) {
		send(w, sse("dtmf", `{"digit":"5"}`, 1))
		s.hold(r)
	})
	call := s.take()
	happens := call.Events(background)
	same(t, string((<-happens).Fields), `{"digit":"5"}`)
	close(ends)
	<-call.Done()
	same(t, call.Reason(), "caller_hung_up")
	_, open := <-happens
	same(t, open, false)
}

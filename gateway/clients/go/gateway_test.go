package bot

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted is a gateway on a real socket: it does what a test says, and keeps what it was sent. It answers registration by itself.
type scripted struct {
	t    *testing.T
	url  string
	bot  *Bot
	lock sync.Mutex
	// on has what is answered, by "METHOD /path".
	on            map[string]http.HandlerFunc
	requests      []string
	registrations []map[string]any
	tokens        map[string]bool
	heard         map[uint64]string
	// over is closed at the end of the test.
	over chan struct{}
}

func stage(t *testing.T) *scripted {
	s := &scripted{t: t, heard: map[uint64]string{}, tokens: map[string]bool{}, over: make(chan struct{})}
	s.on = map[string]http.HandlerFunc{
		"POST /v1/register":          s.register,
		"DELETE /v1/register/echo":   func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{}`) },
		"GET /v1/bots/self/events":   s.offer,
		"GET /v1/calls/c1/audio/ack": s.acknowledge,
		"POST /v1/calls/c1/audio":    s.takeStream,
		"POST /v1/calls/c1/hangup":   func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{}`) },
		"POST /v1/calls/c1/accept":   func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, acceptance) },
		"GET /.well-known/jwks.json": func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{"keys":[]}`) },
	}
	server := httptest.NewServer(s)
	s.url = server.URL
	key, err := GenerateKey()
	must(t, err)
	s.bot, err = New(s.url, "echo", key, nil)
	must(t, err)
	t.Cleanup(func() {
		close(s.over)
		s.bot.Close(context.Background())
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

const acceptance = `{"call_id":"c1","audio_url":"http://elsewhere.example/v1/calls/c1/audio","receive":"audio/opus","send":"audio/opus"}`

func offered(id string) string {
	return `{"call_id":"` + id + `","lease":"lease_1","from":{"kind":"phone"},"ticket":"t","codecs":["audio/opus"],"expires_at":9000000000}`
}

func sse(name, data string, id int) string {
	return fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", id, name, data)
}

func answer(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	line := r.Method + " " + r.URL.Path
	s.lock.Lock()
	s.requests = append(s.requests, line)
	does := s.on[line]
	s.lock.Unlock()
	if does == nil {
		answer(w, 404, `{}`)
		return
	}
	does(w, r)
}

func (s *scripted) script(line string, does http.HandlerFunc) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.on[line] = does
}

// send writes at once.
func send(w http.ResponseWriter, piece string) {
	_, _ = io.WriteString(w, piece)
	_ = http.NewResponseController(w).Flush()
}

// cut ends the connection in the middle.
func cut() { panic(http.ErrAbortHandler) }

func (s *scripted) hold(r *http.Request) {
	select {
	case <-s.over:
	case <-r.Context().Done():
	}
}

func (s *scripted) register(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	s.lock.Lock()
	s.registrations = append(s.registrations, body)
	s.tokens[r.Header.Get("Authorization")] = true
	s.lock.Unlock()
	answer(w, 200, `{"lease":"lease_1","instance":"i","expires_at":0,"refresh_after":20}`)
}

func (s *scripted) offer(w http.ResponseWriter, r *http.Request) {
	send(w, ": ping\n\n"+sse("call.incoming", offered("c1"), 1))
	s.hold(r)
}

func (s *scripted) hear(seq uint64, packet []byte) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.heard[seq] = string(packet)
}

func (s *scripted) acknowledge(w http.ResponseWriter, _ *http.Request) {
	s.lock.Lock()
	defer s.lock.Unlock()
	next := uint64(0)
	for s.heard[next] != "" {
		next++
	}
	answer(w, 200, fmt.Sprintf(`{"next_seq":%d,"buffered_ms":0}`, next))
}

// takeStream reads a long upload for ever.
func (s *scripted) takeStream(w http.ResponseWriter, r *http.Request) {
	parser, buffer := newFrameParser(true), make([]byte, 1000)
	for {
		count, err := r.Body.Read(buffer)
		read, _ := parser.feed(buffer[:count])
		for _, frame := range read {
			s.hear(uint64(frame.seq), frame.payload)
		}
		if err != nil {
			return
		}
	}
}

func (s *scripted) takeBatch(w http.ResponseWriter, r *http.Request) {
	first, _ := strconv.ParseUint(r.Header.Get("Seq"), 10, 64)
	body, _ := io.ReadAll(r.Body)
	read, _ := newFrameParser(false).feed(body)
	for index, frame := range read {
		s.hear(first+uint64(index), frame.payload)
	}
	s.acknowledge(w, r)
}

// holdStreamBack is what a proxy that buffers does.
func (s *scripted) holdStreamBack(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Seq") != "" {
		s.takeBatch(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
}

func (s *scripted) count(line string) int {
	s.lock.Lock()
	defer s.lock.Unlock()
	count := 0
	for _, request := range s.requests {
		if request == line {
			count++
		}
	}
	return count
}

func (s *scripted) heardInAll() int {
	s.lock.Lock()
	defer s.lock.Unlock()
	return len(s.heard)
}

func (s *scripted) take() *Call {
	s.t.Helper()
	_, err := s.bot.RegisterWithDiscovery(context.Background(), Registration{})
	must(s.t, err)
	call, err := s.bot.AcceptCall(context.Background(), <-s.bot.Calls(), Opus)
	must(s.t, err)
	return call
}

func (s *scripted) until(condition func() bool) {
	s.t.Helper()
	for began := time.Now(); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			s.t.Fatal("it never came to be")
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func packet(n int) []byte { return []byte("\x78" + strings.Repeat(string(rune('a'+n)), 40)) }

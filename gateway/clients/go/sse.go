package bot

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"
)

const eventBytesMax = 256 * 1024

// serverEvent is one event of a stream; id is the last one that the stream told.
type serverEvent struct{ name, data, id string }

// sseParser takes bytes as they come, in any pieces, and answers whole events (HTML standard §9.2.6). Comments are swallowed.
type sseParser struct {
	lastID  string
	retry   time.Duration
	line    []byte
	afterCR bool
	name    string
	lines   []string
	held    int
}

func (p *sseParser) feed(piece []byte) ([]serverEvent, error) {
	var events []serverEvent
	for _, c := range piece {
		if c == '\n' && p.afterCR {
			p.afterCR = false
			continue
		}
		p.afterCR = c == '\r'
		if c != '\n' && c != '\r' {
			p.line = append(p.line, c)
			continue
		}
		if event, whole := p.take(string(bytes.TrimPrefix(p.line, []byte("\ufeff")))); whole {
			events = append(events, event)
		}
		p.line = p.line[:0]
	}
	if len(p.line)+p.held > eventBytesMax {
		return nil, errors.New("patchbay: an event without an end")
	}
	return events, nil
}

func (p *sseParser) take(line string) (serverEvent, bool) {
	if line == "" {
		return p.dispatch()
	}
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "data":
		p.lines, p.held = append(p.lines, value), p.held+len(value)
	case "event":
		p.name = value
	case "id":
		if !strings.Contains(value, "\x00") {
			p.lastID = value
		}
	case "retry":
		if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
			p.retry = time.Duration(ms) * time.Millisecond
		}
	}
	return serverEvent{}, false
}

func (p *sseParser) dispatch() (serverEvent, bool) {
	event, whole := serverEvent{p.name, strings.Join(p.lines, "\n"), p.lastID}, len(p.lines) > 0
	if event.name == "" {
		event.name = "message"
	}
	p.name, p.lines, p.held = "", nil, 0
	return event, whole
}

package bot

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

var (
	// ErrCallEnded says that the call is over: nothing can be sent any more.
	ErrCallEnded = errors.New("patchbay: the call is over")
	// ErrCallTaken says that another instance of this bot was quicker, or was given the call.
	ErrCallTaken = errors.New("patchbay: the call is taken")
	// ErrOfferExpired says that the call was accepted too late: an offer stands for 5 s, or until the caller gives up.
	ErrOfferExpired = errors.New("patchbay: the offer has expired")
	// ErrFraming says that what should be a packet, or a stream of packets, is none.
	ErrFraming = errors.New("patchbay: not a packet")
)

// A GatewayError is a refusal. Status is HTTP's, Code the gateway's own ("bot_not_found").
type GatewayError struct {
	Status     int
	Code       string
	Message    string
	RetryAfter time.Duration
}

func (e *GatewayError) Error() string {
	return fmt.Sprintf("patchbay: %d %s: %s", e.Status, e.Code, e.Message)
}

// Is makes a refusal with the right code ErrCallTaken or ErrOfferExpired.
func (e *GatewayError) Is(target error) bool {
	return target == ErrCallTaken && e.Code == "call_taken" || target == ErrOfferExpired && e.Code == "offer_expired"
}

// isPassing tells whether it is worth to try again.
func (e *GatewayError) isPassing() bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return e.Status >= 500
}

// isOver tells whether there is no such call any more.
func (e *GatewayError) isOver() bool {
	return e.Status == http.StatusNotFound || e.Status == http.StatusGone
}

// isGone tells whether what was asked for is no more.
func (e *GatewayError) isGone() bool {
	return e.isOver() || e.Status == http.StatusConflict
}

func refusal(answer *http.Response, body []byte) *GatewayError {
	var told struct {
		Error struct{ Type, Code, Message string }
	}
	refused := &GatewayError{Status: answer.StatusCode, Code: "unknown"}
	if json.Unmarshal(body, &told) == nil {
		refused.Message = told.Error.Message
		for _, code := range []string{told.Error.Type, told.Error.Code} {
			if code != "" {
				refused.Code = code
			}
		}
	} else {
		refused.Message = string(body[:min(len(body), 200)])
	}
	if seconds, err := strconv.ParseFloat(answer.Header.Get("Retry-After"), 64); err == nil {
		refused.RetryAfter = time.Duration(seconds * float64(time.Second))
	}
	return refused
}

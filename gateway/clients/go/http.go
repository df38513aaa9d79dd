package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	answerWithin   = 10 * time.Second
	answerBytesMax = 1 << 20
)

// gateway makes requests to one gateway as one bot.
type gateway struct {
	base   *url.URL
	client *http.Client
	bearer func() string
	// silent is how long a connection may go without a byte: the gateway sends something every 10 s.
	silent time.Duration
}

func newGateway(address string, transport http.RoundTripper) (*gateway, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("patchbay: not the address of a gateway: %q", address)
	}
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		// Idle connections are kept for less time than any proxy keeps them.
		own.IdleConnTimeout, own.MaxIdleConnsPerHost, own.DisableCompression = 4*time.Second, 4, true
		transport = own
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &gateway{base: base, client: &http.Client{Transport: transport, CheckRedirect: stay}, silent: 12 * time.Second}, nil
}

// target is the address of path on this gateway. Whatever host it names: a bot's token goes to no other.
func (g *gateway) target(path string) string {
	to := *g.base
	if parsed, err := url.Parse(path); err == nil && parsed.Host != "" {
		to.Path, to.RawQuery = parsed.Path, parsed.RawQuery
		return to.String()
	}
	path, query, _ := strings.Cut(path, "?")
	to.Path, to.RawQuery = strings.TrimRight(g.base.Path, "/")+path, query
	return to.String()
}

func (g *gateway) do(ctx context.Context, method, path string, header map[string]string, body io.Reader, bearer func() string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, g.target(path), body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "patchbay-bot/0.1 (go)")
	request.Header.Set("Authorization", "Bearer "+bearer())
	for name, value := range header {
		request.Header.Set(name, value)
	}
	return g.client.Do(request)
}

// ask makes a short request with a body of JSON, and reads the JSON of a 2xx into answer.
func (g *gateway) ask(ctx context.Context, method, path string, body, answer any) error {
	var raw []byte
	header := map[string]string{}
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		raw, header["Content-Type"] = encoded, "application/json"
	}
	return g.exchange(ctx, method, path, header, raw, g.bearer, answer)
}

func (g *gateway) exchange(ctx context.Context, method, path string, header map[string]string, body []byte, bearer func() string, answer any) error {
	err := g.exchangeOnce(ctx, method, path, header, body, bearer, answer)
	var refused *GatewayError
	if err != nil && !errors.As(err, &refused) && ctx.Err() == nil {
		// Most likely a kept connection that the other side had closed.
		err = g.exchangeOnce(ctx, method, path, header, body, bearer, answer)
	}
	return err
}

func (g *gateway) exchangeOnce(ctx context.Context, method, path string, header map[string]string, body []byte, bearer func() string, answer any) error {
	within := answerWithin
	if strings.Contains(path, "wait=") {
		within += pollWait
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	response, err := g.do(ctx, method, path, header, bytes.NewReader(body), bearer)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	told, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return refusal(response, told)
	}
	if answer == nil || len(told) == 0 {
		return nil
	}
	if err := json.Unmarshal(told, answer); err != nil {
		return &GatewayError{Status: response.StatusCode, Code: "not_json", Message: "the answer is not JSON"}
	}
	return nil
}

// errSilent ends a download of which no byte came in time.
var errSilent = errors.New("patchbay: no byte came in time")

// download hands over what comes, piece by piece, until it ends, take fails, or no byte comes in time. The head is handed to begin.
func (g *gateway) download(ctx context.Context, path string, header map[string]string, begin func(http.Header), take func([]byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(g.silent, func() { cancel(errSilent) })
	defer timer.Stop()
	response, err := g.do(ctx, http.MethodGet, path, header, nil, g.bearer)
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		told, _ := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
		return refusal(response, told)
	}
	begin(response.Header)
	buffer := make([]byte, 16*1024)
	for {
		count, err := response.Body.Read(buffer)
		timer.Stop()
		if count > 0 {
			if err := take(buffer[:count]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		timer.Reset(g.silent)
	}
}

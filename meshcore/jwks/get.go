package jwks

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// largest bounds what is read of an answer.
const largest = 4 << 20

// Client returns a Get over HTTP and HTTPS; the system's certificate authorities decide on servers'
// certificates. Each request has a connection of its own, made by dial.
func Client(dial func(ctx context.Context, network, address string) (net.Conn, error)) Get {
	client := &http.Client{Transport: &http.Transport{
		DialContext: dial, DisableKeepAlives: true, TLSHandshakeTimeout: 10 * time.Second,
	}}
	return func(ctx context.Context, uri string) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, largest))
		if err != nil {
			return nil, err
		}
		if resp.StatusCode < 200 || resp.StatusCode > 299 {
			return nil, fmt.Errorf("status %d, message %s", resp.StatusCode,
				strconv.Quote(string(body[:min(len(body), 100)])))
		}
		return body, nil
	}
}

package app

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
)

// Taker is an app that looks at connections before net/http does: what it takes itself does not
// come out of the listener that Take returns.
type Taker interface {
	Take(l net.Listener, port int) net.Listener
}

// Secured is a connection that has told how it is protected; nil for plain text.
type Secured interface {
	TLS() *tls.ConnectionState
}

type connTLS struct{}

// ConnContext keeps the TLS state of a Secured connection for its requests; it is an http.Server's
// ConnContext.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if s, ok := c.(Secured); ok && s.TLS() != nil {
		return context.WithValue(ctx, connTLS{}, s.TLS())
	}
	return ctx
}

// TLSOf returns how a request's connection is protected; nil for plain text.
func TLSOf(r *http.Request) *tls.ConnectionState {
	if s, ok := r.Context().Value(connTLS{}).(*tls.ConnectionState); ok {
		return s
	}
	return r.TLS
}

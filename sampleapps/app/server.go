package app

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// NewServer returns a server for an app's handler; http2 has it take HTTP/2 without TLS, too. Serve
// hands it sockets.
func NewServer(h http.Handler, http2 bool, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext: func(l net.Listener) context.Context {
			return WithLocalPort(context.Background(), l.(socket).port)
		},
		ConnContext: ConnContext,
	}
	if http2 {
		s.Protocols = new(http.Protocols)
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true)
	}
	return s
}

// Serve serves the app on a listener that stands for a logical port, until the server is closed.
func Serve(s *http.Server, l net.Listener, port int) error {
	if t, ok := s.Handler.(Taker); ok {
		l = t.Take(l, port)
	}
	return s.Serve(socket{l, port})
}

// socket is where an app listens for a logical port.
type socket struct {
	net.Listener
	port int
}

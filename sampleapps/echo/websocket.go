package echo

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

// handshake is what a server appends to the client's key (RFC 6455, section 1.3).
const handshake = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// isWebSocket says whether a request asks for an upgrade to WebSocket.
func isWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade")
}

// webSocket accepts the upgrade and sends back what comes, frame by frame unread.
func (s *service) webSocket(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + handshake))
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "echo: no upgrade on this connection", http.StatusHTTPVersionNotSupported)
		return
	}
	defer conn.Close()
	if s.env.Closed != nil { // net/http does not close connections that were upgraded
		stop := context.AfterFunc(s.env.Closed, func() { conn.Close() })
		defer stop()
	}
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\n"+
		"upgrade: websocket\r\nconnection: Upgrade\r\n"+
		"sec-websocket-accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	if rw.Flush() == nil {
		echoBytes(rw)
	}
}

// echoBytes sends back what comes until the client is done.
func echoBytes(rw *bufio.ReadWriter) {
	b := make([]byte, 4096)
	for {
		n, err := rw.Read(b)
		if n > 0 {
			if _, werr := rw.Write(b[:n]); werr != nil || rw.Flush() != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

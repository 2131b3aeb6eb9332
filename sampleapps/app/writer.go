package app

import (
	"bufio"
	"net"
	"net/http"
)

// Writer is an answer that knows its status. It flushes and hijacks for who asserts that a writer
// does, as far as the one beneath can.
type Writer struct {
	http.ResponseWriter
	Status int // the final one, which 101 is, too; 0: nothing is answered yet
}

// WriteHeader notes a final status.
func (w *Writer) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write notes that no status was said.
func (w *Writer) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Flush sends what is written.
func (w *Writer) Flush() {
	w.begin(http.StatusOK)
	_ = http.NewResponseController(w.ResponseWriter).Flush() // what can not be flushed waits
}

// Hijack gives the connection to the app.
func (w *Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.begin(http.StatusSwitchingProtocols)
	}
	return c, rw, err
}

// Unwrap is for http.ResponseController.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *Writer) begin(status int) {
	if w.Status == 0 {
		w.Status = status
	}
}

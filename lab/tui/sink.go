package tui

import (
	"io"

	"github.com/gdamore/tcell/v2"
)

// Sink is a terminal that nobody sees and nobody types at: it counts what is written to it.
type Sink struct {
	Written int // bytes
	w, h    int
	over    chan struct{} // closed when nothing is to be read any more
}

// NewSink returns a screen on a Sink of a size, that of an xterm with 256 colours.
func NewSink(w, h int) (tcell.Screen, *Sink, error) {
	s := &Sink{w: w, h: h, over: make(chan struct{})}
	kind, err := tcell.LookupTerminfo("xterm-256color")
	if err != nil {
		return nil, nil, err
	}
	screen, err := tcell.NewTerminfoScreenFromTtyTerminfo(s, kind)
	if err == nil {
		err = screen.Init()
	}
	return screen, s, err
}

// Start does nothing.
func (s *Sink) Start() error { return nil }

// Stop does nothing.
func (s *Sink) Stop() error { return nil }

// Close does nothing.
func (s *Sink) Close() error { return nil }

// Drain ends reading.
func (s *Sink) Drain() error {
	close(s.over)
	return nil
}

// NotifyResize does nothing: the size stays.
func (s *Sink) NotifyResize(func()) {}

// Read waits for the end.
func (s *Sink) Read([]byte) (int, error) {
	<-s.over
	return 0, io.EOF
}

// Write counts.
func (s *Sink) Write(b []byte) (int, error) {
	s.Written += len(b)
	return len(b), nil
}

// WindowSize is the terminal's size.
func (s *Sink) WindowSize() (tcell.WindowSize, error) {
	return tcell.WindowSize{Width: s.w, Height: s.h}, nil
}

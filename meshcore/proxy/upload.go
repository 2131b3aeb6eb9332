package proxy

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
	"github.com/mesh-lab/mesh-lab/meshcore/wire/h1"
)

// replayLimit is how much of a request body is read ahead of an upstream, and kept for another
// attempt.
const replayLimit = 64 << 10

// upload streams a request body that did not come with its head: its goroutine reads it from the
// downstream and writes it to the upstream that is attached.
//
//	buf: [ sent to sink | still to send ]   the whole body so far while keep, else only what waits
type upload struct {
	d    *downstream
	done chan struct{} // closed when the goroutine has ended

	state  atomic.Int32 // uploadX
	told   atomic.Bool  // the exchange knows the state
	lost   atomic.Bool  // the beginning of the body is gone: no further attempt
	last   atomic.Bool  // the end of the body has been read
	bytes  atomic.Int64 // of body received
	knows  bool         // the engine knows lost; the exchange's own
	ahead  int          // how much is read ahead of an upstream, and kept
	mu     sync.Mutex
	cond   sync.Cond // sink, writing or stopped has changed
	buf    []byte
	sent   int
	keep   bool
	fin    bool // buf goes to the end of the body
	sink   *upstream
	busy   bool // somebody writes to an upstream
	frozen bool // nothing more is to be written for now
	halted bool
}

// How an upload stands.
const (
	uploadRunning  int32 = iota
	uploadComplete       // all of the body has been read, and sent if an upstream was attached
	uploadGone           // the client closed or broke off
	uploadBad            // the body is malformed
	uploadStopped        // nobody wants the rest
)

// startUpload begins to stream the body. retryable says that it may be needed again, ahead how much
// of it is wanted before there is an upstream.
func (d *downstream) startUpload(retryable bool, ahead int) {
	w := d.w
	u := &upload{d: d, done: make(chan struct{}), keep: retryable,
		ahead: max(ahead, replayLimit)}
	u.cond.L = &u.mu
	u.buf = slices.Clone(w.body)
	u.bytes.Store(int64(len(w.body)))
	w.upload = u
	if !d.p.spawn(u.run) {
		u.state.Store(uploadGone)
		close(u.done)
	}
}

// run is the goroutine.
func (u *upload) run() {
	defer close(u.done)
	for {
		b, fin, err := u.d.srv.ReadBody()
		u.d.p.hold()
		if err != nil {
			u.end(failure(err))
			return
		}
		u.bytes.Add(int64(len(b)))
		u.d.since.Store(int64(u.d.p.opt.Clock.Now()))
		for _, m := range u.d.w.mirrors {
			m.feed(b, fin)
		}
		if fin {
			u.last.Store(true)
		}
		if !u.pass(b, fin) {
			u.end(uploadStopped)
			return
		}
		if fin {
			u.end(uploadComplete)
			return
		}
	}
}

func failure(err error) int32 {
	var bad *h1.Error
	switch {
	case errors.As(err, &bad):
		return uploadBad
	case isTimeout(err):
		return uploadStopped
	}
	return uploadGone
}

// end says how the upload ended and wakes the exchange, unless that is writing itself.
func (u *upload) end(state int32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.state.Store(state)
	u.cond.Broadcast()
	switch {
	case state == uploadGone:
		u.d.hangup()
	case state != uploadStopped && !u.busy:
		u.d.kick((*upstream).wakeRead)
	}
}

// pass sends a piece on, or keeps it until there is an upstream. false: stopped.
func (u *upload) pass(b []byte, fin bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fin = fin
	if u.sink == nil || u.busy || u.keep || len(u.buf) > u.sent {
		u.buf = append(u.buf, b...)
		b = nil
		if u.keep && len(u.buf) > u.ahead {
			u.keep = false
		}
		if u.sink == nil {
			u.d.nudge() // it may be collecting
		}
	}
	for {
		switch {
		case u.halted:
			return false
		case u.busy, u.frozen: // the exchange is writing what came before, or deciding
		case u.sink != nil:
			u.write(b)
			return !u.halted
		case u.lost.Load(): // the rest is of no use
		case fin || len(u.buf) < u.ahead:
			return true // read on, ahead of the upstream
		}
		u.cond.Wait()
	}
}

// write sends what waits, then b, to the sink. Caller must hold mu, which is free meanwhile.
func (u *upload) write(b []byte) {
	up, n, fin := u.sink, len(u.buf), u.fin
	piece := u.buf[u.sent:n]
	u.busy = true
	u.mu.Unlock()
	err := up.WriteBody(piece, fin && len(b) == 0)
	if err == nil && len(b) > 0 {
		err = up.WriteBody(b, fin)
	}
	if err == nil {
		err = up.Flush()
	}
	u.mu.Lock()
	u.busy = false
	u.sent = n
	if err != nil && u.sink == up {
		u.sink = nil // whoever reads the response will find out why
	}
	if !u.keep {
		u.lost.Store(true)
		u.buf, u.sent = append(u.buf[:0], u.buf[n:]...), 0
	}
	u.cond.Broadcast()
}

// attach sends the head and what has been received so far, and then has the rest sent, to an
// upstream.
func (u *upload) attach(up *upstream, h *wire.Head) (sent bool) {
	up.WriteHead(h, false) //nolint:errcheck // only gathers
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lost.Load() {
		return false
	}
	u.sink, u.sent = up, 0
	u.write(nil)
	return u.sink == up
}

// collected is what is there of the body, before there is an upstream, and says whether that is
// limit bytes or all.
func (u *upload) collected(limit int) (b []byte, enough bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.buf, u.fin || len(u.buf) >= limit
}

// freeze stops writing while the engine decides whether to try again, and says whether it can.
func (u *upload) freeze() (lost bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.frozen = true
	return u.lost.Load() || u.busy && !u.keep
}

// thaw goes on writing.
func (u *upload) thaw() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.frozen = false
	u.cond.Broadcast()
}

// detach takes the upstream away. Its connection must be closed, or the upload complete.
func (u *upload) detach() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sink, u.frozen = nil, false
	u.cond.Broadcast()
	for u.busy {
		u.cond.Wait()
	}
}

// stop ends the goroutine. The downstream can be read again if the body was received to its end.
func (u *upload) stop() (whole bool) {
	whole = u.last.Load()
	u.mu.Lock()
	u.halted = true
	u.cond.Broadcast()
	u.mu.Unlock()
	if !whole {
		u.d.conn.SetReadDeadline(past)
	}
	<-u.done
	return whole
}

// finish says whether the upstream got all of the body, waiting for the last write.
func (u *upload) finish() bool {
	if !u.last.Load() {
		return false
	}
	up := u.d.w.up
	up.conn.SetWriteDeadline(time.Now().Add(time.Second))
	up.deadline = true
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.state.Load() == uploadRunning && u.sink == up {
		u.cond.Wait()
	}
	return u.state.Load() == uploadComplete && u.sink == up
}

// hasNews says that take will return something.
func (u *upload) hasNews() bool {
	return u.state.Load() != uploadRunning && !u.told.Load()
}

// take returns a state that has not been taken yet, once; else uploadRunning.
func (u *upload) take() int32 {
	if s := u.state.Load(); s != uploadRunning && u.told.CompareAndSwap(false, true) {
		return s
	}
	return uploadRunning
}

// uploadNews tells the engine what became of the upload.
func (d *downstream) uploadNews(dir *engine.Directive) engine.Event {
	u := d.w.upload
	d.w.received = u.bytes.Load()
	if u.lost.Load() {
		d.bodyLost()
	}
	switch u.take() {
	case uploadComplete:
		now := d.report(engine.Event{Kind: engine.RequestComplete})
		dir.Deadline = now.Deadline
		d.watchBegin()
	case uploadBad:
		return engine.Event{Kind: engine.BadRequest}
	case uploadGone:
		d.gone.Store(true)
		return engine.Event{Kind: engine.ClientGone}
	}
	return engine.Event{}
}

// completed tells the engine that the whole request was received, if it was. The response to its
// last piece may be here before the upload has come back from writing it.
func (d *downstream) completed() {
	if u := d.w.upload; u != nil && u.last.Load() && u.told.CompareAndSwap(false, true) {
		d.report(engine.Event{Kind: engine.RequestComplete})
	}
}

// bodyLost tells the engine once that there can be no further attempt.
func (d *downstream) bodyLost() {
	if u := d.w.upload; !u.knows {
		u.knows = true
		d.w.x.BodyLost()
	}
}

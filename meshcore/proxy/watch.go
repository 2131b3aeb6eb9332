package proxy

import (
	"io"
	"time"
)

// watcher notices that clients hang up while their requests are being served. Envoy takes a
// half-close for that, too.
type watcher interface {
	add(d *downstream) error
	remove(d *downstream)
	close()
}

// watched is what a watcher keeps in a connection.
type watched struct {
	slot  int32 // epoll: number + 1
	alone bool  // by a goroutine of its own, while it waits
	busy  bool
	done  chan struct{}
}

// portable reads ahead in a goroutine while an exchange waits. What it reads belongs to the next
// request.
type portable struct{}

func (portable) add(d *downstream) error {
	d.watched.alone = true
	return nil
}
func (portable) remove(*downstream) {}
func (portable) close()             {}

// watchBegin is called before the exchange waits for an upstream, watchEnd after. While an upload
// reads the connection it will see the hang-up itself.
func (d *downstream) watchBegin() {
	t := &d.watched
	if !t.alone || t.busy || d.w.upload != nil && d.w.upload.state.Load() == uploadRunning ||
		d.w.req.Upgrade != nil {
		return
	}
	done := make(chan struct{})
	if !d.p.spawn(func() {
		defer close(done)
		for {
			err := d.srv.ReadAhead()
			switch {
			case err == nil:
				continue
			case err == io.ErrShortBuffer || isTimeout(err):
			default:
				d.hangup()
			}
			return
		}
	}) {
		return
	}
	t.busy, t.done = true, done
}

func (d *downstream) watchEnd() {
	t := &d.watched
	if !t.busy {
		return
	}
	d.conn.SetReadDeadline(past)
	<-t.done
	t.busy = false
	d.conn.SetReadDeadline(time.Time{})
}

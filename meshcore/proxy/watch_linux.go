package proxy

import (
	"os"
	"sync"
	"syscall"
)

// newWatcher returns the epoll watcher, or the portable one where epoll is not to be had.
func (p *Proxy) newWatcher() watcher {
	if p.opt.portable {
		return portable{}
	}
	w, err := newEpoll(p)
	if err != nil {
		p.log.Warn("epoll", "err", err)
		return portable{}
	}
	return w
}

// epoll watches every downstream socket for the peer's FIN or RST: a set of its own, which is in
// turn watched by Go's network poller. It costs one system call for a connection and nothing for
// a request.
type epoll struct {
	fd   int
	file *os.File
	raw  syscall.RawConn

	mu    sync.Mutex
	slots []slot
	free  []int32
}

// slot is one watched connection. The generation tells late events of an earlier user.
type slot struct {
	d          *downstream
	generation int32
}

func newEpoll(p *Proxy) (*epoll, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, err
	}
	e := &epoll{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if e.raw, err = e.file.SyscallConn(); err != nil {
		e.file.Close()
		return nil, err
	}
	p.spawn(e.run)
	return e, nil
}

// run waits for events until the set is closed.
func (e *epoll) run() {
	var events [64]syscall.EpollEvent
	for {
		n := 0
		err := e.raw.Read(func(fd uintptr) bool {
			var err error
			n, err = syscall.EpollWait(int(fd), events[:], 0)
			return n > 0 || err != nil && err != syscall.EINTR
		})
		if err != nil {
			return
		}
		for _, ev := range events[:max(n, 0)] {
			e.mu.Lock()
			s := e.slots[ev.Fd]
			e.mu.Unlock()
			if s.d != nil && s.generation == ev.Pad {
				s.d.hangup()
			}
		}
	}
}

// add watches a connection. One without descriptor is not watched.
func (e *epoll) add(d *downstream) error {
	sc, ok := d.conn.(syscall.Conn)
	if !ok {
		d.watched.alone = true
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	e.mu.Lock()
	var i int32
	if n := len(e.free); n > 0 {
		i, e.free = e.free[n-1], e.free[:n-1]
	} else {
		i = int32(len(e.slots))
		e.slots = append(e.slots, slot{})
	}
	e.slots[i].d = d
	generation := e.slots[i].generation
	e.mu.Unlock()
	d.watched.slot = i + 1
	var failed error
	err = raw.Control(func(fd uintptr) {
		const edge = 1 << 31 // EPOLLET
		failed = syscall.EpollCtl(e.fd, syscall.EPOLL_CTL_ADD, int(fd),
			&syscall.EpollEvent{Events: syscall.EPOLLRDHUP | edge, Fd: i, Pad: generation})
	})
	if err == nil {
		err = failed
	}
	return err
}

// remove forgets a connection; closing it takes it out of the set.
func (e *epoll) remove(d *downstream) {
	if d.watched.slot == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	i := d.watched.slot - 1
	e.slots[i].d = nil
	e.slots[i].generation++
	e.free = append(e.free, i)
	d.watched.slot = 0
}

func (e *epoll) close() { e.file.Close() }

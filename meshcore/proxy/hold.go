package proxy

// pause is a time in which a proxy does nothing.
type pause struct{ over chan struct{} }

// Pause has the proxy do nothing until Resume, as a process that is stopped (SIGSTOP): connections
// stay open and are taken, what has come waits, updates are not answered. Close may be called
// meanwhile.
func (p *Proxy) Pause() { p.paused.CompareAndSwap(nil, &pause{make(chan struct{})}) }

// Resume has what waits go on.
func (p *Proxy) Resume() {
	if h := p.paused.Swap(nil); h != nil {
		close(h.over)
	}
}

// hold waits while the proxy is paused. It stands where a goroutine has got something to act on.
func (p *Proxy) hold() {
	for h := p.paused.Load(); h != nil; h = p.paused.Load() {
		select {
		case <-h.over:
		case <-p.ctx.Done():
			return
		}
	}
}

// Open returns how many connections are open, of clients and to endpoints.
func (p *Proxy) Open() (down, up int) {
	p.mu.Lock()
	down = len(p.downs)
	pools := append([]*pool(nil), p.pools...)
	p.mu.Unlock()
	for _, q := range pools {
		q.mu.Lock()
		up += q.conns
		q.mu.Unlock()
	}
	return down, up
}

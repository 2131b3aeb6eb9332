package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// nameFaults are what look-ups in a Mesh's own DNS suffer. The zero value is nothing.
type nameFaults struct {
	mu      sync.Mutex
	list    []*nameFault
	changed chan struct{} // closed when list changes; nil: nobody waits
	found   map[string][]netip.Addr
}

// nameFault is one fault of look-ups.
type nameFault struct {
	m *Mesh

	// nameFaults.mu guards the rest.
	f           topology.Fault
	fired       int64
	first, last clock.Instant
	healed      bool
}

// resolverPatience is how long a pod's resolver waits for an answer: two tries of five seconds, as
// resolv.conf(5) has it.
const resolverPatience = 10 * time.Second

// BreakNames has look-ups of apps go wrong; for a World whose names are the Mesh's own. A proxy's
// own look-ups are its endpoints: of a wrong answer it is told at once, without one it keeps what
// it has found before, as Envoy does.
func (m *Mesh) BreakNames(ctx context.Context, f topology.Fault) (topology.Broken, error) {
	if err := namesAble(f); err != nil {
		return nil, err
	}
	b := &nameFault{m: m, f: f}
	n := &m.nameFaults
	n.mu.Lock()
	n.list = append(n.list, b)
	n.wake()
	n.mu.Unlock()
	if err := b.tell(ctx); err != nil {
		return nil, errors.Join(err, b.Heal(context.WithoutCancel(ctx)))
	}
	return b, nil
}

// namesAble says what is wrong with a fault of look-ups.
func namesAble(f topology.Fault) error {
	kinds := 0
	for _, is := range []bool{f.DNS.Silent, f.DNS.Fail, f.DNS.Wrong != ""} {
		if is {
			kinds++
		}
	}
	if kinds > 1 || kinds == 0 && f.DNS.Delay <= 0 || f.DNS.Delay < 0 {
		return errors.New("dns: want one of no answer, failure, or a wrong answer, or a delay")
	}
	if a, err := netip.ParseAddr(f.DNS.Wrong); f.DNS.Wrong != "" && (err != nil || !a.Is4()) {
		return fmt.Errorf("dns: answer %q: want an IPv4 address", f.DNS.Wrong)
	}
	return nil
}

// wake has those who wait look again. Caller must hold mu.
func (n *nameFaults) wake() {
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

// of returns the faults of a pod's look-ups of a name. Caller must hold mu.
func (n *nameFaults) of(pod, namespace, name string) []*nameFault {
	var out []*nameFault
	for _, b := range n.list {
		if !slices.Contains(b.f.Pods, pod) && len(b.f.Pods) > 0 {
			continue
		}
		same := len(b.f.Names) == 0
		for _, of := range b.f.Names {
			for _, c := range candidates(namespace, of) {
				same = same || slices.Contains(candidates(namespace, name), c)
			}
		}
		if same {
			out = append(out, b)
		}
	}
	return out
}

// fire counts a look-up. Caller must hold mu.
func (b *nameFault) fire(now clock.Instant) {
	if b.fired == 0 {
		b.first = now
	}
	b.fired++
	b.last = now
}

// ask looks a name up as a pod does, with all that its look-ups suffer.
func (m *Mesh) ask(ctx context.Context, from Client, name string) ([]netip.Addr, error) {
	truth := func() ([]netip.Addr, error) { return m.current().dns.lookup(from.Namespace, name) }
	if _, err := netip.ParseAddr(name); err == nil {
		return truth()
	}
	pod := topology.Outside
	if from.Pod != nil {
		pod = from.Pod.Spec().ID()
	}
	began, counted := m.o.Clock.Now(), map[*nameFault]bool{}
	ctx, cancel := context.WithTimeout(ctx, resolverPatience)
	defer cancel()
	n := &m.nameFaults
	for {
		n.mu.Lock()
		var delay time.Duration
		var dns topology.DNSFault
		for _, b := range n.of(pod, from.Namespace, name) {
			if delay += b.f.DNS.Delay; b.f.DNS != (topology.DNSFault{Delay: b.f.DNS.Delay}) {
				dns = b.f.DNS
			}
			if !counted[b] {
				counted[b] = true
				b.fire(m.o.Clock.Now())
			}
		}
		if n.changed == nil {
			n.changed = make(chan struct{})
		}
		changed := n.changed
		n.mu.Unlock()
		now := m.o.Clock.Now()
		if due := began.Add(delay); dns.Silent || due > now {
			if err := m.await(ctx, due, dns.Silent, changed); err != nil {
				return nil, &net.DNSError{Err: "i/o timeout", Name: name, IsTimeout: true,
					IsTemporary: true}
			}
			continue
		}
		switch {
		case dns.Fail:
			return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
		case dns.Wrong != "":
			return []netip.Addr{netip.MustParseAddr(dns.Wrong)}, nil // namesAble has seen it
		}
		return truth()
	}
}

// await waits until an instant, or for ever, or until faults change.
func (m *Mesh) await(
	ctx context.Context, due clock.Instant, ever bool, changed <-chan struct{},
) error {
	enough := make(chan struct{})
	if !ever {
		stop := m.o.Clock.AfterFunc(due.Sub(m.o.Clock.Now()), func() { close(enough) })
		defer stop()
	}
	select {
	case <-enough:
	case <-changed:
	case <-ctx.Done():
		return ctx.Err()
	case <-m.ended.Done():
		return errClosed
	}
	return nil
}

// locate is a proxy's own look-up of an endpoint's name.
func (m *Mesh) locate(dns *names, pod, namespace, host string) []netip.Addr {
	addrs, _ := dns.lookup(namespace, host) //nolint:errcheck // unknown: no endpoints
	if _, err := netip.ParseAddr(host); err == nil {
		return addrs
	}
	n := &m.nameFaults
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.of(pod, namespace, host) {
		switch {
		case b.f.DNS.Wrong != "":
			b.fire(m.o.Clock.Now())
			return []netip.Addr{netip.MustParseAddr(b.f.DNS.Wrong)}
		case b.f.DNS.Fail || b.f.DNS.Silent:
			return n.found[namespace+"/"+host]
		}
	}
	if n.found == nil {
		n.found = map[string][]netip.Addr{}
	}
	n.found[namespace+"/"+host] = addrs
	return addrs
}

// tell has proxies hear of what their own look-ups give now.
func (b *nameFault) tell(ctx context.Context) error {
	_, err := b.m.Again(ctx)
	if errors.Is(err, errClosed) {
		return nil
	}
	return err
}

// Change gives look-ups another way to fail.
func (b *nameFault) Change(ctx context.Context, f topology.Fault) error {
	if err := namesAble(f); err != nil {
		return err
	}
	n := &b.m.nameFaults
	n.mu.Lock()
	b.f.DNS = f.DNS
	n.wake()
	n.mu.Unlock()
	return b.tell(ctx)
}

// Heal has look-ups go as they should.
func (b *nameFault) Heal(ctx context.Context) error {
	n := &b.m.nameFaults
	n.mu.Lock()
	was := b.healed
	b.healed = true
	n.list = slices.DeleteFunc(n.list, func(o *nameFault) bool { return o == b })
	n.wake()
	n.mu.Unlock()
	if was {
		return nil
	}
	return b.tell(ctx)
}

// Receipt counts look-ups.
func (b *nameFault) Receipt(context.Context) (topology.Receipt, error) {
	b.m.nameFaults.mu.Lock()
	defer b.m.nameFaults.mu.Unlock()
	r := topology.Receipt{Fired: b.fired, First: b.first, Last: b.last}
	switch {
	case b.f.DNS.Silent:
		r.Unit = "look-ups not answered"
	case b.f.DNS.Fail:
		r.Unit = "look-ups failed"
	case b.f.DNS.Wrong != "":
		r.Unit = "look-ups answered wrongly"
	default:
		r.Unit = "look-ups delayed"
	}
	return r, nil
}

// NamesWhole says whether look-ups still suffer.
func (m *Mesh) NamesWhole() error {
	m.nameFaults.mu.Lock()
	defer m.nameFaults.mu.Unlock()
	if n := len(m.nameFaults.list); n > 0 {
		return fmt.Errorf("look-ups still suffer %d faults", n)
	}
	return nil
}

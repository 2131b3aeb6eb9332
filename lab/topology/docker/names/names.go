// Package names is the lab's DNS: it answers A questions from a table that the lab gives it, as
// cluster DNS does, and breaks answers where a fault says so. It asks nobody else: a name outside
// of the lab does not exist.
package names

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Table is what there is.
type Table struct {
	Addrs map[string][]netip.Addr `json:"addrs"`
	Alias map[string]string       `json:"alias,omitempty"` // ExternalName
}

// Fault is how answers go wrong.
type Fault struct {
	ID     string        `json:"id"`
	Pods   []netip.Addr  `json:"pods,omitempty"`  // who asks; none: all
	Names  []string      `json:"names,omitempty"` // or their first labels; none: all
	Silent bool          `json:"silent,omitempty"`
	Fail   bool          `json:"fail,omitempty"`
	Wrong  netip.Addr    `json:"wrong,omitzero"`
	Delay  time.Duration `json:"delay,omitempty"`
}

// Count is how often a fault has taken effect.
type Count struct {
	Answers uint64 `json:"answers"`
	First   int64  `json:"first,omitempty"` // of the clock that the Server was given
	Last    int64  `json:"last,omitempty"`
}

// Server answers. Its methods are safe for concurrent use.
type Server struct {
	now func() int64 // monotonic, nanoseconds

	mu     sync.Mutex
	table  Table
	faults []*broken
}

type broken struct {
	Fault
	count Count
}

// New returns a server that knows no name. now is the clock of receipts.
func New(now func() int64) *Server { return &Server{now: now} }

// Set replaces the table.
func (s *Server) Set(t Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table = t
}

// Break begins a fault.
func (s *Server) Break(f Fault) {
	for i, n := range f.Names {
		f.Names[i] = strings.ToLower(strings.TrimSuffix(n, "."))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &broken{Fault: f})
}

// Heal ends a fault, and returns what it did.
func (s *Server) Heal(id string) Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c Count
	s.faults = slices.DeleteFunc(s.faults, func(b *broken) bool {
		if b.ID == id {
			c = b.count
		}
		return b.ID == id
	})
	return c
}

// Count says what a fault has done so far.
func (s *Server) Count(id string) (Count, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.faults {
		if b.ID == id {
			return b.count, nil
		}
	}
	return Count{}, fmt.Errorf("no fault %q", id)
}

// Faults lists what is broken.
func (s *Server) Faults() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []string{}
	for _, b := range s.faults {
		out = append(out, b.ID)
	}
	return out
}

// Serve answers at an address, by UDP and TCP, until ctx ends.
func (s *Server) Serve(ctx context.Context, at netip.AddrPort) error {
	p, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp4", at.String())
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", at.String())
	if err != nil {
		p.Close()
		return err
	}
	return s.ServeOn(ctx, p, l)
}

// ServeOn answers on sockets.
func (s *Server) ServeOn(ctx context.Context, p net.PacketConn, l net.Listener) error {
	udp := &dns.Server{PacketConn: p, Handler: s}
	tcp := &dns.Server{Listener: l, Handler: s}
	failed := make(chan error, 2)
	go func() { failed <- udp.ActivateAndServe() }()
	go func() { failed <- tcp.ActivateAndServe() }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	p.Close()
	l.Close()
	return err
}

// ttl is what cluster DNS gives: names change with the configuration.
const ttl = 5

// ServeDNS answers one question.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		w.WriteMsg(m) //nolint:errcheck // who asked has gone
		return
	}
	question := q.Question[0]
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	addrs, known := s.lookup(name)
	if f := s.fault(w.RemoteAddr(), name, known); f != nil {
		time.Sleep(f.Delay)
		switch {
		case f.Silent:
			return
		case f.Fail:
			m.Rcode = dns.RcodeServerFailure
			w.WriteMsg(m) //nolint:errcheck // who asked has gone
			return
		case f.Wrong.IsValid():
			addrs, known = []netip.Addr{f.Wrong}, true
		}
	}
	if !known {
		m.Rcode = dns.RcodeNameError
	}
	if question.Qtype == dns.TypeA {
		for _, a := range addrs {
			if a.Is4() {
				m.Answer = append(m.Answer, &dns.A{A: a.AsSlice(), Hdr: dns.RR_Header{
					Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}})
			}
		}
	}
	if w.RemoteAddr().Network() == "udp" {
		m.Truncate(dns.MinMsgSize)
	}
	w.WriteMsg(m) //nolint:errcheck // who asked has gone
}

// lookup finds the addresses of a fully qualified name.
func (s *Server) lookup(name string) (addrs []netip.Addr, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 8 { // a chain of ExternalNames ends
		if to, ok := s.table.Alias[name]; ok {
			name = to
		}
	}
	addrs, known = s.table.Addrs[name]
	return addrs, known && len(addrs) > 0
}

// fault finds the fault that an answer suffers, and counts it. A name that there is not is what a
// resolver tries on the way to one that there is: it suffers nothing, unless it is meant.
func (s *Server) fault(from net.Addr, name string, known bool) *Fault {
	var asks netip.Addr
	if at, err := netip.ParseAddrPort(from.String()); err == nil {
		asks = at.Addr().Unmap()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.faults {
		if len(b.Pods) > 0 && !slices.Contains(b.Pods, asks) {
			continue
		}
		if len(b.Names) > 0 && !slices.ContainsFunc(b.Names, func(n string) bool {
			return n == name || strings.HasPrefix(name, n+".") && known
		}) || len(b.Names) == 0 && !known {
			continue
		}
		b.count.Answers++
		b.count.Last = s.now()
		if b.count.First == 0 {
			b.count.First = b.count.Last
		}
		return &b.Fault
	}
	return nil
}

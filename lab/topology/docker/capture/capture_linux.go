package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"github.com/mesh-lab/mesh-lab/meshcore/istio/intercept"
)

// The hooks that Istio and kube-proxy have their rules at; those of Services come second, so that
// what the sidecar takes keeps the address that the app wrote.
const (
	capturePriority = -100 // NF_IP_PRI_NAT_DST
	vipPriority     = -90
)

var (
	localhost = netip.MustParsePrefix("127.0.0.1/32")
	// passthrough is what the inbound side of a sidecar calls its own app from.
	passthrough = netip.MustParsePrefix("127.0.0.6/32")
)

// Install has a pod's connections taken as the rules say, in the place of earlier rules.
func Install(r *intercept.Rules) error {
	t, err := write(captureTable)
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	inbound(t, r)
	outbound(t, r)
	if err := t.end(); err != nil {
		return fmt.Errorf("capture: nftables: %w", err)
	}
	return nil
}

// Remove takes the rules away.
func Remove() error { return remove(captureTable) }

// inbound is ISTIO_INBOUND (run.go handleInboundPortsInclude).
func inbound(t table, r *intercept.Rules) {
	nat, hook := nftables.ChainTypeNAT, nftables.ChainHookPrerouting
	add := t.chain("prerouting", nat, hook, capturePriority)
	for _, i := range r.ExcludeInterfaces {
		add(comesBy(i).and(verdict(expr.VerdictReturn)))
	}
	for _, p := range []uint16{intercept.TunnelPort, AgentPort} {
		add(toPort(p).and(verdict(expr.VerdictReturn)))
	}
	if !r.Inbound.All {
		for _, p := range r.Inbound.List {
			add(toPort(p).and(redirect(intercept.InboundPort)))
		}
		return
	}
	for _, p := range r.ExcludeInbound {
		add(toPort(p).and(verdict(expr.VerdictReturn)))
	}
	add(redirect(intercept.InboundPort))
}

// outbound is ISTIO_OUTPUT (run.go Run), rule by rule.
func outbound(t table, r *intercept.Rules) {
	add := t.chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, capturePriority)
	leave := verdict(expr.VerdictReturn)
	add(marked(Mark).and(leave))
	for _, i := range r.ExcludeInterfaces {
		add(leavesBy(i).and(leave))
	}
	for _, p := range r.ExcludePorts {
		add(toPort(p).and(leave))
	}
	lo := leavesBy("lo")
	add(lo.and(in(source, passthrough), leave))
	for _, id := range []struct {
		key expr.MetaKey
		id  uint32
	}{{expr.MetaKeySKUID, intercept.ProxyUID}, {expr.MetaKeySKGID, intercept.ProxyGID}} {
		// app => sidecar (client) => sidecar (server) => app
		add(lo.and(out(destination, localhost), notToPort(intercept.TunnelPort),
			sentBy(id.key, id.id), redirect(intercept.InboundPort)))
		if !r.LoopbackTaken() { // app => app, by the pod's own address
			add(lo.and(notSentBy(id.key, id.id), leave))
		}
		add(sentBy(id.key, id.id).and(leave))
	}
	add(in(destination, localhost).and(leave))
	for _, p := range r.ExcludeOutbound {
		add(in(destination, p).and(leave))
	}
	for _, p := range r.OutboundPorts {
		add(toPort(p).and(redirect(intercept.OutboundPort)))
	}
	if r.Outbound.All {
		add(redirect(intercept.OutboundPort))
	}
	for _, p := range r.Outbound.List {
		add(in(destination, p).and(redirect(intercept.OutboundPort)))
	}
}

// SetVIPs has connections to Services end at one of their pods, at random, in the place of what
// was set before. Connections that are open stay where they are.
func SetVIPs(list []VIP) error {
	t, err := write(vipTable)
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	nat := t.chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, vipPriority)
	filter := t.chain("refuse", nftables.ChainTypeFilter, nftables.ChainHookOutput, 0)
	for _, v := range list {
		to := in(destination, whole(v.Addr)).and(toPort(v.Port))
		for i, end := range v.Ends {
			r := to
			if left := len(v.Ends) - i; left > 1 {
				r = r.and(chance(uint32(left)))
			}
			nat(r.and(dnat(end)))
		}
		if len(v.Ends) == 0 {
			filter(to.and(reset()))
		}
	}
	if err := t.end(); err != nil {
		return fmt.Errorf("services: nftables: %w", err)
	}
	return nil
}

// Break has a fault begin, or changes the one that has its ID, whose count begins again.
func Break(f Fault) error {
	if err := f.Check(); err != nil {
		return err
	}
	t, err := write(tableOf(f.ID))
	if err != nil {
		return fmt.Errorf("fault %q: %w", f.ID, err)
	}
	t.conn.AddObj(&nftables.CounterObj{Table: t.t, Name: hits})
	filter := nftables.ChainTypeFilter
	addIn := t.chain("input", filter, nftables.ChainHookInput, 0)
	addOut := t.chain("output", filter, nftables.ChainHookOutput, 0)
	for _, r := range f.Rules {
		add, peer, own := addIn, uint32(source), comesBy("lo")
		if r.Out {
			add, peer, own = addOut, destination, leavesBy("lo")
		}
		for _, m := range r.matches(peer, own) {
			add(m.and(count(), r.end()))
		}
	}
	if err := t.end(); err != nil {
		return fmt.Errorf("fault %q: nftables: %w", f.ID, err)
	}
	return nil
}

// matches returns the conditions of a rule: one list of them for each port and peer.
func (r FaultRule) matches(peer uint32, own rule) []rule {
	ports := []rule{{}}
	if r.Action == Refuse {
		ports[0] = opens().and(notToPort(AgentPort))
	}
	if len(r.Ports) > 0 {
		base := ports[0]
		ports = nil
		for _, p := range r.Ports {
			if r.Action == Refuse {
				ports = append(ports, base.and(toPort(p)))
			} else {
				ports = append(ports, openedTo(p))
			}
		}
	}
	var peers []rule
	for _, p := range r.Peers {
		peers = append(peers, in(peer, whole(p)))
	}
	switch {
	case len(peers) > 0:
	case r.Action == Refuse:
		peers = []rule{{}}
	default:
		other := append(rule{}, own...)
		other[len(other)-1] = negated(other[len(other)-1])
		peers = []rule{other.and(out(peer, Infra))}
	}
	var all []rule
	for _, p := range peers {
		for _, q := range ports {
			m := p.and(q)
			if r.Action == Lose {
				m = m.and(share(r.Share))
			}
			all = append(all, m)
		}
	}
	return all
}

// negated turns a comparison round.
func negated(e expr.Any) expr.Any {
	c := *e.(*expr.Cmp)
	c.Op = expr.CmpOpNeq
	return &c
}

func (r FaultRule) end() rule {
	if r.Action == Refuse {
		return reset()
	}
	return verdict(expr.VerdictDrop)
}

// holdPriority is after the kernel knows the connection of a packet, and before anything of it is
// translated (NF_IP_PRI_MANGLE).
const holdPriority = -150

// Hold has a fault begin whose packets a process of this namespace decides about: the kernel queues
// them under a number, and lets them pass where nobody is there to decide.
func Hold(h Held) error {
	// The kernel has one of the two: nft's own expression, or iptables' target.
	bypass := make([]byte, 8) // struct xt_NFQ_info_v3, as long as the kernel aligns it
	copy(bypass, binaryutil.NativeEndian.PutUint16(h.Queue))
	copy(bypass[2:], binaryutil.NativeEndian.PutUint16(1))
	copy(bypass[4:], binaryutil.NativeEndian.PutUint16(unix.NFT_QUEUE_FLAG_BYPASS))
	info := xt.Unknown(bypass)
	err := h.write(&expr.Queue{Num: h.Queue, Flag: expr.QueueFlagBypass})
	if errors.Is(err, unix.ENOENT) {
		err = h.write(&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info})
	}
	if err != nil {
		return fmt.Errorf("fault %q: nftables: queue packets: %w", h.ID, err)
	}
	return nil
}

func (h Held) write(queue expr.Any) error {
	t, err := write(tableOf(h.ID))
	if err != nil {
		return err
	}
	add := t.chain("prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting,
		holdPriority)
	base := tcp().and(in(destination, whole(h.Local)), direction(h.Back))
	ports, peers := []rule{{}}, []rule{}
	if len(h.Ports) > 0 {
		ports = nil
	}
	for _, p := range h.Ports {
		if h.Back {
			ports = append(ports, fromPort(p))
		} else {
			ports = append(ports, toPort(p))
		}
	}
	for _, p := range h.Peers {
		peers = append(peers, in(source, whole(p)))
	}
	if len(peers) == 0 {
		lo := comesBy("lo")
		lo[len(lo)-1] = negated(lo[len(lo)-1])
		peers = append(peers, lo.and(out(source, Infra)))
	}
	for _, p := range peers {
		for _, q := range ports {
			add(base.and(p, q, rule{queue}))
		}
	}
	return t.end()
}

// Heal ends a fault; one that is not there is healed.
func Heal(id string) error { return remove(tableOf(id)) }

func remove(name string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}
	c.AddTable(t)
	c.DelTable(t)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables: remove %s: %w", name, err)
	}
	return nil
}

// Counted returns what a fault has hit since Break.
func Counted(id string) (Count, error) {
	c, err := nftables.New()
	if err != nil {
		return Count{}, err
	}
	t := &nftables.Table{Name: tableOf(id), Family: nftables.TableFamilyIPv4}
	o, err := c.GetObject(&nftables.CounterObj{Table: t, Name: hits})
	if errors.Is(err, unix.ENOENT) {
		return Count{}, fmt.Errorf("fault %q is not there", id)
	}
	if err != nil {
		return Count{}, fmt.Errorf("fault %q: nftables: %w", id, err)
	}
	k, ok := o.(*nftables.CounterObj)
	if !ok {
		return Count{}, fmt.Errorf("fault %q: nftables: its counter is a %T", id, o)
	}
	return Count{k.Packets, k.Bytes}, nil
}

// Faults lists the faults that the kernel has, by ID.
func Faults() ([]string, error) {
	names, err := tables()
	var out []string
	for _, n := range names {
		if id, ok := strings.CutPrefix(n, faultPrefix); ok {
			out = append(out, id)
		}
	}
	return out, err
}

// tables lists our tables.
func tables() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	list, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	var out []string
	for _, t := range list {
		if strings.HasPrefix(t.Name, anyPrefix) {
			out = append(out, t.Name)
		}
	}
	return out, nil
}

// Package intercept says which connections of a pod its sidecar takes: the annotations that Istio's
// injector hands to istio-init, as rules. How a kernel is told is somebody else's business
// (lab/topology/docker/capture).
//
// Reference: Istio 1.31, tools/istio-iptables/pkg/capture/run.go (what the rules do),
// manifests/charts/istio-control/istio-discovery/files/injection-template.yaml (which annotation
// becomes which), pkg/kube/inject/validate.go (what is valid).
package intercept

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// The ports of a sidecar, and who it is, as Istio has them.
const (
	OutboundPort = 15001 // takes what the pod's app sends
	InboundPort  = 15006 // takes what is sent to the pod
	TunnelPort   = 15008 // HBONE: never redirected
	StatusPort   = 15020 // of Istio's agent
	ProxyUID     = 1337  // what this user or group sends is the sidecar's own
	ProxyGID     = 1337
)

// Rules say what a pod's sidecar takes. They are JSON for the process that installs them.
type Rules struct {
	// Inbound ports are taken, but those of ExcludeInbound when it is all of them: a list of ports
	// stands as it is (run.go handleInboundPortsInclude).
	Inbound        Ports    `json:"inbound"`
	ExcludeInbound []uint16 `json:"exclude_inbound,omitempty"`
	// OutboundPorts are taken wherever they lead, ExcludePorts never; what is left goes by address.
	OutboundPorts []uint16 `json:"outbound_ports,omitempty"`
	ExcludePorts  []uint16 `json:"exclude_ports,omitempty"`
	// Outbound addresses are taken, but those of ExcludeOutbound, which also OutboundPorts heed.
	Outbound        Ranges         `json:"outbound"`
	ExcludeOutbound []netip.Prefix `json:"exclude_outbound,omitempty"`
	// ExcludeInterfaces are the network interfaces that nothing is taken on, either way.
	ExcludeInterfaces []string `json:"exclude_interfaces,omitempty"`
}

// Ports are some ports, or all.
type Ports struct {
	All  bool     `json:"all,omitempty"`
	List []uint16 `json:"list,omitempty"`
}

// Ranges are some IPv4 ranges, or all addresses.
type Ranges struct {
	All  bool           `json:"all,omitempty"`
	List []netip.Prefix `json:"list,omitempty"`
}

// Default is what a pod without annotations has.
func Default() *Rules {
	return &Rules{
		Inbound: Ports{All: true}, ExcludeInbound: []uint16{15090, 15021, StatusPort},
		Outbound: Ranges{All: true},
	}
}

// TakesInbound says whether the sidecar takes connections from other pods to a port of its pod.
func (r *Rules) TakesInbound(port uint16) bool {
	if !r.Inbound.All {
		return slices.Contains(r.Inbound.List, port) && port != TunnelPort
	}
	return port != TunnelPort && !slices.Contains(r.ExcludeInbound, port)
}

// TakesOutbound says whether the sidecar takes the app's connections to an address that is not of
// its own pod.
func (r *Rules) TakesOutbound(to netip.AddrPort) bool {
	in := func(p netip.Prefix) bool { return p.Contains(to.Addr()) }
	switch {
	case slices.Contains(r.ExcludePorts, to.Port()):
		return false
	case slices.ContainsFunc(r.ExcludeOutbound, in):
		return false
	case slices.Contains(r.OutboundPorts, to.Port()):
		return true
	}
	return r.Outbound.All || slices.ContainsFunc(r.Outbound.List, in)
}

// LoopbackTaken says that 127.0.0.0/8 is among the ranges: then also what an app sends to its own
// pod's address passes the sidecar.
func (r *Rules) LoopbackTaken() bool {
	return slices.ContainsFunc(r.Outbound.List, func(p netip.Prefix) bool {
		return p.Addr().IsLoopback()
	})
}

const prefix = "traffic.sidecar.istio.io/"

// Names of the annotations that are carried out.
const (
	IncludeInboundPorts  = prefix + "includeInboundPorts"
	ExcludeInboundPorts  = prefix + "excludeInboundPorts"
	IncludeOutboundPorts = prefix + "includeOutboundPorts"
	ExcludeOutboundPorts = prefix + "excludeOutboundPorts"
	IncludeOutbound      = prefix + "includeOutboundIPRanges"
	ExcludeOutbound      = prefix + "excludeOutboundIPRanges"
	ExcludeInterfaces    = prefix + "excludeInterfaces"
	statusPortAnnotation = "status.sidecar.istio.io/port"
)

// refused are annotations that change what is taken, and how that is written which is carried out.
var refused = []struct{ name, unless, why string }{
	{"sidecar.istio.io/interceptionMode", "REDIRECT",
		"only REDIRECT is carried out: the kernel redirects, and the app sees 127.0.0.6"},
	{prefix + "kubevirtInterfaces", "", "the lab has no virtual machines in pods; remove it"},
	{"istio.io/reroute-virtual-interfaces", "",
		"the lab has no virtual machines in pods; remove it"},
}

// Of returns the rules of a pod that has a sidecar, and what is wrong with its annotations; with an
// error the rules are nil.
func Of(p *translate.Pod) (*Rules, []istio.Diagnostic) {
	b := builder{pod: p, rules: Default()}
	for _, x := range refused {
		if v, ok := p.Annotations[x.name]; ok && v != x.unless {
			b.problem(x.name, fmt.Errorf("%q is not carried out: %s", v, x.why))
		}
	}
	b.read()
	if len(b.diags) > 0 {
		return nil, b.diags
	}
	return b.rules, nil
}

// Check returns what Istio would refuse of a pod's annotations, too.
func Check(p *translate.Pod) []istio.Diagnostic {
	b := builder{pod: p, rules: Default()}
	b.read()
	return b.diags
}

// read takes all annotations that are carried out.
func (b *builder) read() {
	b.status()
	r := b.rules
	read(b, IncludeInboundPorts, &r.Inbound, readPorts)
	read(b, ExcludeInboundPorts, &r.ExcludeInbound, func(s string) ([]uint16, error) {
		list, err := portList(s)
		return unique(append(r.ExcludeInbound, list...)), err
	})
	ports := Ports{}
	read(b, IncludeOutboundPorts, &ports, readPorts)
	r.OutboundPorts = ports.List
	read(b, ExcludeOutboundPorts, &r.ExcludePorts, portList)
	read(b, IncludeOutbound, &r.Outbound, readRanges)
	read(b, ExcludeOutbound, &r.ExcludeOutbound, rangeList)
	read(b, ExcludeInterfaces, &r.ExcludeInterfaces, interfaces)
	if ports.All {
		r.Outbound = Ranges{All: true}
	}
}

// Changed says which annotations of a pod have its sidecar take other connections than all: for who
// can not do that.
func Changed(p *translate.Pod) []istio.Diagnostic {
	b := builder{pod: p, rules: Default()}
	for _, name := range []string{
		IncludeInboundPorts, ExcludeInboundPorts, IncludeOutboundPorts, ExcludeOutboundPorts,
		IncludeOutbound, ExcludeOutbound, ExcludeInterfaces,
	} {
		v, ok := p.Annotations[name]
		all := ""
		switch name {
		case IncludeInboundPorts, IncludeOutbound, IncludeOutboundPorts:
			all = "*"
		}
		if ok && v != all {
			b.problem(name, fmt.Errorf("%q is carried out with --topology docker only: elsewhere "+
				"a sidecar takes all connections of its pod", v))
		}
	}
	return b.diags
}

type builder struct {
	pod   *translate.Pod
	rules *Rules
	diags []istio.Diagnostic
}

// read takes one annotation, where the pod has it.
func read[T any](b *builder, name string, to *T, parse func(string) (T, error)) {
	text, ok := b.pod.Annotations[name]
	if !ok {
		return
	}
	v, err := parse(strings.TrimSpace(text))
	if err != nil {
		b.problem(name, err)
		return
	}
	*to = v
}

// status moves the port of Istio's agent, which is never taken; 0: there is none.
func (b *builder) status() {
	text, ok := b.pod.Annotations[statusPortAnnotation]
	if !ok {
		return
	}
	port, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil {
		b.problem(statusPortAnnotation, notPort(text))
		return
	}
	b.rules.ExcludeInbound = b.rules.ExcludeInbound[:2]
	if port != 0 {
		b.rules.ExcludeInbound = unique(append(b.rules.ExcludeInbound, uint16(port)))
	}
}

// problem says where an annotation is written.
func (b *builder) problem(name string, err error) {
	d := istio.Diagnostic{
		Object: "Pod " + b.pod.Namespace + "/" + b.pod.Name,
		Field:  "metadata.annotations[" + name + "]", Msg: err.Error(),
	}
	if o := b.pod.Object; o != nil {
		if o.Kind != "Pod" {
			d.Field = "spec.template." + d.Field
		}
		d.Object, d.Place = o.Ref(), o.At(d.Field)
	}
	b.diags = append(b.diags, d)
}

func readPorts(s string) (Ports, error) {
	if s == "*" {
		return Ports{All: true}, nil
	}
	list, err := portList(s)
	return Ports{List: list}, err
}

// portList reads "80, 443".
func portList(s string) ([]uint16, error) {
	if s == "" {
		return nil, nil
	}
	var out []uint16
	var errs []error
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		n, err := strconv.ParseUint(word, 10, 16)
		if err != nil {
			errs = append(errs, notPort(word))
		}
		out = append(out, uint16(n))
	}
	return unique(out), errors.Join(errs...)
}

func notPort(word string) error {
	return fmt.Errorf("%q is no port: want numbers from 0 to 65535, with commas between", word)
}

func readRanges(s string) (Ranges, error) {
	if s == "*" {
		return Ranges{All: true}, nil
	}
	list, err := rangeList(s)
	return Ranges{List: list}, err
}

// rangeList reads "10.0.0.0/8,192.0.2.1/32". IPv6 ranges are refused: the lab has no such address.
func rangeList(s string) ([]netip.Prefix, error) {
	if s == "" {
		return nil, nil
	}
	var out []netip.Prefix
	var errs []error
	for word := range strings.SplitSeq(s, ",") {
		p, err := netip.ParsePrefix(word)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf(
				"%q is no range: want ADDRESS/BITS, such as 10.0.0.0/8, with commas between", word))
		case !p.Addr().Is4():
			errs = append(errs, fmt.Errorf("%q: IPv6 is not carried out yet (only IPv4)", word))
		default:
			out = append(out, p.Masked())
		}
	}
	return out, errors.Join(errs...)
}

// longestInterface is what fits into IFNAMSIZ of linux/if.h with its final NUL.
const longestInterface = 15

// interfaces reads "eth1,eth2".
func interfaces(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	var out []string
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		if word == "" || len(word) > longestInterface || strings.ContainsAny(word, "/ \t\n:") ||
			word == "." || word == ".." {
			return nil, fmt.Errorf("%q is no network interface: want names of 1 to %d characters, "+
				"such as eth1, with commas between", word, longestInterface)
		}
		out = append(out, word)
	}
	return out, nil
}

// unique drops what is there already and keeps the order.
func unique(in []uint16) []uint16 {
	var out []uint16
	for _, p := range in {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

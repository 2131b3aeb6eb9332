package engine

import (
	"net/netip"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// A copy of a request goes nowhere when its cluster is where the client's connection was going:
// Envoy's asynchronous client has no such connection.
func TestCopyToOriginalDestination(t *testing.T) {
	captured := &Listener{bind: true, OriginalDst: true}
	x := &Exchange{chain: &Chain{listener: captured},
		ci: &ConnInfo{Local: netip.MustParseAddrPort("10.96.0.1:80")}}
	c := &Cluster{kind: clusterv3.Cluster_ORIGINAL_DST, hosts: map[Address]*Endpoint{},
		used: map[*Endpoint]bool{}}
	if ep := x.chooseCopy(c, 1); ep != nil {
		t.Errorf("the copy goes to %s", ep.host.Address)
	}
	if ep := x.choose(c, false); ep == nil || ep.host.Address != "10.96.0.1:80" {
		t.Errorf("the request itself goes to %+v", ep)
	}
}

// A client calls a gateway by its own address: nothing says where else it was going.
func TestNoOriginalDestination(t *testing.T) {
	c := &Cluster{kind: clusterv3.Cluster_ORIGINAL_DST, hosts: map[Address]*Endpoint{},
		used: map[*Endpoint]bool{}}
	for _, k := range []struct {
		listener *Listener
		goes     bool
	}{
		{&Listener{bind: true}, false},
		{&Listener{bind: true, handover: true}, true},
		{&Listener{bind: true, Proxy: true}, true},
		{&Listener{}, true},
	} {
		x := &Exchange{chain: &Chain{listener: k.listener},
			ci: &ConnInfo{Local: netip.MustParseAddrPort("10.96.0.1:80")}}
		if ep := x.choose(c, false); (ep != nil) != k.goes {
			t.Errorf("%+v: the request goes to %+v", k.listener, ep)
		}
	}
}

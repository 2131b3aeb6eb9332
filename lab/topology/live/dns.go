package live

import (
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// errNoSuchHost is what the lab's DNS answers to unknown names.
var errNoSuchHost = errors.New("no such host")

// clusterDomain is the DNS suffix of Services.
const clusterDomain = "cluster.local"

// names is the lab's DNS: Services by the search rules of Kubernetes, headless Services by the
// addresses of their ready pods, and the servers outside of the mesh.
type names struct {
	addrs map[string][]netip.Addr
	alias map[string]string // ExternalName
}

// newNames indexes a registry.
func newNames(r *translate.Registry) *names {
	d := &names{addrs: map[string][]netip.Addr{}, alias: map[string]string{}}
	for _, s := range r.Services {
		switch {
		case s.Spec.Spec.ExternalName != "":
			d.alias[s.Host] = strings.ToLower(strings.TrimSuffix(s.Spec.Spec.ExternalName, "."))
		case s.VIP.IsValid():
			d.addrs[s.Host] = []netip.Addr{s.VIP}
		default:
			d.headless(s, r)
		}
	}
	for _, p := range r.Pods {
		if p.Host != "" {
			h := strings.ToLower(p.Host)
			d.addrs[h] = append(d.addrs[h], p.IP)
		}
	}
	return d
}

// headless adds a headless Service: its name gives all ready pods, POD.SERVICE one of them, and
// HOSTNAME.SERVICE those whose subdomain is the Service.
func (d *names) headless(s *translate.Service, r *translate.Registry) {
	d.addrs[s.Host] = nil
	for _, p := range r.Selected(s) {
		if p.Ready || s.Spec.Spec.PublishNotReadyAddresses {
			d.addrs[s.Host] = append(d.addrs[s.Host], p.IP)
			d.addrs[p.Name+"."+s.Host] = []netip.Addr{p.IP}
			if p.Hostname != "" && p.Hostname != p.Name && p.Subdomain == s.Name {
				name := p.Hostname + "." + s.Host
				d.addrs[name] = append(d.addrs[name], p.IP)
			}
		}
	}
}

// lookup resolves a name as a pod of the namespace would (resolv.conf: ndots 5 and three search
// domains). A name outside of the lab is unknown: nothing leaves the machine.
func (d *names) lookup(namespace, name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	for _, c := range candidates(namespace, name) {
		for range 8 { // a chain of ExternalNames ends
			if to, ok := d.alias[c]; ok {
				c = to
			}
		}
		if a, ok := d.addrs[c]; ok && len(a) > 0 {
			return a, nil
		}
	}
	return nil, &net.DNSError{Err: errNoSuchHost.Error(), Name: name, IsNotFound: true}
}

// NameTable is what the lab's DNS has of a registry: addresses by name, and what ExternalNames
// stand for. It is for who answers pods that ask by themselves.
func NameTable(r *translate.Registry) (addrs map[string][]netip.Addr, alias map[string]string) {
	d := newNames(r)
	return d.addrs, d.alias
}

// candidates are the names that are asked for, in turn.
func candidates(namespace, name string) []string {
	name = strings.ToLower(name)
	out := []string{strings.TrimSuffix(name, ".")}
	if !strings.HasSuffix(name, ".") && strings.Count(name, ".") < 5 {
		svc := "svc." + clusterDomain
		out = append([]string{
			name + "." + namespace + "." + svc, name + "." + svc, name + "." + clusterDomain,
		}, out...)
	}
	return out
}

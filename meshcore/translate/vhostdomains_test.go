package translate

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestServiceDomains(t *testing.T) {
	const host = "shop.market.svc.cluster.local"
	for _, c := range []struct {
		name, namespace, vip string
		headless             bool
		aliases              []string
		want                 string
	}{
		{"own namespace", "market", "10.96.0.10", false, nil,
			host + " " + host + ". shop shop.market.svc shop.market 10.96.0.10"},
		{"another namespace", "harbor", "10.96.0.10", false, nil,
			host + " " + host + ". shop.market shop.market.svc 10.96.0.10"},
		{"IPv6", "harbor", "fd00::1", false, nil,
			host + " " + host + ". shop.market shop.market.svc [fd00::1]"},
		{"headless", "harbor", "", true, nil,
			host + " " + host + ". shop.market shop.market.svc" +
				" *." + host + " *." + host + ". *.shop.market *.shop.market.svc"},
		{"aliases", "harbor", "", false, []string{"till.market.svc.cluster.local", "shop.example.com"},
			host + " " + host + ". shop.market shop.market.svc" +
				" till.market.svc.cluster.local till.market.svc.cluster.local. till.market till.market.svc" +
				" shop.example.com shop.example.com."},
	} {
		s := &service{Service: &Service{Host: host}, headless: c.headless}
		if c.vip != "" {
			s.VIP = netip.MustParseAddr(c.vip)
		}
		got, _ := serviceDomains(s, c.aliases, c.namespace)
		if d := cmp.Diff(strings.Fields(c.want), got); d != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, d)
		}
	}
}

func TestServiceAliases(t *testing.T) {
	var services []*service
	for _, pair := range []string{
		"a b", "b c", "c", "d c", "loop1 loop2", "loop2 loop1", "self self", "out www.example.com",
	} {
		host, external, _ := strings.Cut(pair, " ")
		services = append(services, &service{Service: &Service{Host: host}, external: external})
	}
	want := map[string][]string{"c": {"a", "b", "d"}, "www.example.com": {"out"}}
	if d := cmp.Diff(want, serviceAliases(services)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestClaim: the first virtual host keeps a domain; a short form never takes a service's full name.
func TestClaim(t *testing.T) {
	c := domainClaims{taken: map[string]bool{}, hosts: map[string]bool{"b.c": true}}
	first := c.claim([]string{"a", "B", "b.c"}, []string{"b.c"})
	second := c.claim([]string{"b", "A", "b.c", "d"}, nil)
	if !cmp.Equal(first, []string{"a", "B"}) || !cmp.Equal(second, []string{"b.c", "d"}) {
		t.Errorf("got %v and %v", first, second)
	}
}

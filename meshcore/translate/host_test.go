package translate

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestFQDN(t *testing.T) {
	for _, test := range [][2]string{
		{"reviews", "reviews.books.svc.cluster.local"},
		{"reviews.other", "reviews.other"},
		{"*", "*"}, {"*.example.com", "*.example.com"}, {"10.0.0.1", "10.0.0.1"}, {"::1", "::1"},
	} {
		if got := fqdn(test[0], "books"); got != test[1] {
			t.Errorf("fqdn(%q) = %q, want %q", test[0], got, test[1])
		}
	}
}

func TestGatewayRef(t *testing.T) {
	for _, test := range [][2]string{
		{"mesh", "mesh"}, {"gate", "books/gate"}, {"./gate", "books/gate"},
		{"other/gate", "other/gate"}, {"gate.other", "other/gate"},
		{"gate.other.svc.cluster.local", "other/gate"},
	} {
		if got := gatewayRef(test[0], "books"); got != test[1] {
			t.Errorf("gatewayRef(%q) = %q, want %q", test[0], got, test[1])
		}
	}
}

func TestHostSets(t *testing.T) {
	tests := []struct {
		a, b            string
		subset, matches bool
	}{
		{"a.com", "a.com", true, true}, {"a.com", "b.com", false, false},
		{"a.com", "*.com", true, true}, {"*.com", "a.com", false, true},
		{"*.a.com", "*.com", true, true}, {"*.com", "*.a.com", false, true},
		{"a.com", "*", true, true}, {"*", "*", true, true}, {"a.com", "*a.com", true, true},
	}
	for _, test := range tests {
		if got := hostSubset(test.a, test.b); got != test.subset {
			t.Errorf("hostSubset(%q, %q) = %v", test.a, test.b, got)
		}
		if got := hostMatches(test.a, test.b); got != test.matches {
			t.Errorf("hostMatches(%q, %q) = %v", test.a, test.b, got)
		}
	}
	got := hostsIntersect([]string{"*.com", "x.org"}, []string{"a.com", "*.a.com", "*", "a.com"})
	if want := []string{"a.com", "*.a.com", "*.com", "x.org"}; !slices.Equal(got, want) {
		t.Errorf("hostsIntersect = %q, want %q", got, want)
	}
}

func TestMostSpecific(t *testing.T) {
	rules := map[string]int{"a.b.com": 1, "*.b.com": 2, "*.com": 3, "*": 4}
	for host, want := range map[string]int{
		"a.b.com": 1, "c.b.com": 2, "x.com": 3, "x.org": 4, "*.b.com": 2, "*.c.com": 3,
	} {
		if got, _ := mostSpecific(host, rules); got != want {
			t.Errorf("mostSpecific(%q) = %d, want %d", host, got, want)
		}
	}
	if _, ok := mostSpecific("a.org", map[string]int{"*.com": 1}); ok {
		t.Error("mostSpecific found a rule for another host")
	}
}

func TestPortProtocol(t *testing.T) {
	app := func(s string) *string { return &s }
	tests := []struct {
		port corev1.ServicePort
		want protocol
	}{
		{corev1.ServicePort{Name: "http"}, protoHTTP},
		{corev1.ServicePort{Name: "HTTP-web"}, protoHTTP},
		{corev1.ServicePort{Name: "https-web"}, protoHTTPS},
		{corev1.ServicePort{Name: "grpc-web-x"}, protoGRPCWeb},
		{corev1.ServicePort{Name: "grpc-x"}, protoGRPC},
		{corev1.ServicePort{Name: "web-http"}, protoDetect},
		{corev1.ServicePort{Port: 3306}, protoTCP},
		{corev1.ServicePort{Port: 3306, Name: "http"}, protoHTTP},
		{corev1.ServicePort{Name: "http", AppProtocol: app("tcp")}, protoTCP},
		{corev1.ServicePort{Name: "http", AppProtocol: app("custom")}, protoDetect},
		{corev1.ServicePort{AppProtocol: app("kubernetes.io/ws")}, protoHTTP},
		{corev1.ServicePort{Name: "http", Protocol: corev1.ProtocolUDP}, protoUDP},
	}
	for _, test := range tests {
		if got := portProtocol(&test.port); got != test.want {
			t.Errorf("%+v: %d, want %d", test.port, got, test.want)
		}
	}
}

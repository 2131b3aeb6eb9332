package probe

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

const extAuthz = "envoy.filters.http.ext_authz"

// authorizer is the other end of the filter's calls.
type authorizer interface {
	port() uint32
	sorted() // puts what is told in no order into one
	write(*strings.Builder)
}

// askedBed is the upstreams and authorizers of all cases.
type askedBed struct {
	cases []asked
	ups   []*upstream
	auth  []authorizer
}

func newAskedBed(t *testing.T, cases []asked) *askedBed {
	t.Helper()
	b := &askedBed{}
	for _, a := range cases {
		if strings.Contains(a.name, *only) {
			b.cases = append(b.cases, a)
		}
	}
	for i := range b.cases {
		a := &b.cases[i]
		b.ups = append(b.ups, upstreams(t, []probe{a.probe})[0])
		if a.check != nil {
			b.auth = append(b.auth, newChecker(t, a.check, a.checkTLS))
			continue
		}
		u := upstreams(t, []probe{a.authorizer})[0]
		u.marks = b.ups[i].marks
		b.auth = append(b.auth, u)
	}
	return b
}

// snapshot is a listener with the filter for each case.
func (b *askedBed) snapshot() *xds.Snapshot {
	s := xds.NewSnapshot()
	s.Clusters["refused"], s.Endpoints["refused"] = http2(cluster("refused")), endpoints("refused", 1)
	for i := range b.cases {
		a := b.cases[i]
		name, checker := fmt.Sprintf("case-%d", i), fmt.Sprintf("checker-%d", i)
		service := &extauthzv3.HttpService{ServerUri: &corev3.HttpUri{
			Uri: "http://checker", HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: checker},
			Timeout: durationpb.New(patience / 2)}}
		filter := &extauthzv3.ExtAuthz{TransportApiVersion: corev3.ApiVersion_V3,
			Services: &extauthzv3.ExtAuthz_HttpService{HttpService: service}}
		call := &corev3.GrpcService{Timeout: durationpb.New(patience / 2),
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.
				GrpcService_EnvoyGrpc{ClusterName: checker}}}
		if a.check != nil {
			filter.Services = &extauthzv3.ExtAuthz_GrpcService{GrpcService: call}
		}
		if a.set != nil {
			a.set(filter, service)
		}
		if a.setCall != nil {
			a.setCall(filter, call)
		}
		a.tune = func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = slices.Insert(m.HttpFilters, 0, &hcmv3.HttpFilter{Name: extAuthz,
				ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: typed(filter)}})
			if a.rules != nil {
				m.HttpFilters = slices.Insert(m.HttpFilters, 0, &hcmv3.HttpFilter{
					Name: "envoy.filters.http.rbac", ConfigType: &hcmv3.HttpFilter_TypedConfig{
						TypedConfig: typed(&httprbacv3.RBAC{ShadowRulesStatPrefix: "istio_ext_authz_",
							ShadowRules: &rbacv3.RBAC{Action: rbacv3.RBAC_DENY, Policies: a.rules}})}})
			}
			authzRoutes(m.GetRouteConfig(), name)
			if a.routes != nil {
				a.routes(m.GetRouteConfig())
			}
		}
		at := listenerAddr(i)
		s.Listeners[name] = listener(name, socket(at.Addr().String(), uint32(at.Port())), &a.probe)
		a.secureListener(s.Listeners[name])
		s.Clusters[name], s.Endpoints[name] = cluster(name), endpoints(name, b.ups[i].port())
		s.Clusters[checker], s.Endpoints[checker] = cluster(checker),
			endpoints(checker, b.auth[i].port())
		if a.check != nil {
			http2(s.Clusters[checker])
		}
		a.secureCluster(s.Clusters[checker])
	}
	return s
}

// authzRoutes changes the routes: the last virtual host leads nowhere, one path is not checked, one
// is for who was told by the authorizer.
func authzRoutes(r *routev3.RouteConfiguration, cluster string) {
	r.VirtualHosts = r.VirtualHosts[:2]
	off := route("disabled", "/disabled", cluster, 0)
	off.TypedPerFilterConfig = map[string]*anypb.Any{extAuthz: typed(&extauthzv3.ExtAuthzPerRoute{
		Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true}})}
	told := route("told", "/", cluster, 0)
	told.Match.Headers = []*routev3.HeaderMatcher{{Name: "x-redirect",
		HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}}
	told.RequestHeadersToAdd = []*corev3.HeaderValueOption{{
		Header: &corev3.HeaderValue{Key: "x-route", Value: "told"}}}
	r.VirtualHosts[0].Routes = append([]*routev3.Route{off, told}, r.VirtualHosts[0].Routes...)
	for _, v := range r.VirtualHosts {
		v.ResponseHeadersToAdd = []*corev3.HeaderValueOption{{
			Header: &corev3.HeaderValue{Key: "x-r", Value: "%RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%"}}}
	}
}

// play plays all cases; records are what the proxy tells of each.
func (b *askedBed) play(t *testing.T, addr func(i int) string) []string {
	t.Helper()
	out := make([]string, len(b.cases))
	var wg sync.WaitGroup
	for i := range b.cases {
		wg.Go(func() {
			u := b.ups[i]
			c := &client{addr: addr(i), marks: u.marks, served: u.connection,
				secure: b.cases[i].down}
			if err := c.play(b.cases[i].clientScript()); err != nil {
				t.Errorf("%s: %v", b.cases[i].name, err)
			}
			var w strings.Builder
			w.WriteString("client\n")
			w.WriteString(c.out.String())
			b.auth[i].sorted()
			w.WriteString("authorizer\n")
			b.auth[i].write(&w)
			u.write(&w)
			out[i] = w.String()
		})
	}
	wg.Wait()
	for i, text := range out {
		if strings.Contains(text, "NOTHING HAPPENS") {
			t.Errorf("%s: waits in vain:\n%s", b.cases[i].name, text)
		}
	}
	return out
}

// sorted puts the fields of what was seen in order: Envoy takes them out of a hash map.
func (u *upstream) sorted() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.busy > 0 {
		u.idle.Wait()
	}
	for _, a := range u.attempts {
		slices.Sort(a.m.fields)
	}
}

func static(s *xds.Snapshot) *bootstrapv3.Bootstrap {
	b := &bootstrapv3.Bootstrap{
		Admin:           &bootstrapv3.Admin{Address: socket("127.0.0.1", 0)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{},
	}
	for _, l := range s.Listeners {
		l.Address = socket("127.0.0.1", 0)
		b.StaticResources.Listeners = append(b.StaticResources.Listeners, l)
	}
	for name, m := range s.Clusters {
		c := proto.CloneOf(m)
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		c.EdsClusterConfig, c.LoadAssignment = nil, s.Endpoints[name]
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, c)
	}
	return b
}

// TestExtAuthzEnvoy has the real Envoy show what the golden file says.
func TestExtAuthzEnvoy(t *testing.T) { askedEnvoy(t, askedHTTP, "envoy-extauthz") }

func askedEnvoy(t *testing.T, cases []asked, file string) {
	binary := envoy.Binary(t).Path
	b := newAskedBed(t, cases)
	at := startEnvoy(t, binary, static(b.snapshot()))
	got := b.play(t, func(i int) string { return at[fmt.Sprintf("case-%d", i)] })
	b.compare(t, got, file, *update)
}

// TestExtAuthz has our proxy show what Envoy shows.
func TestExtAuthz(t *testing.T) { askedProxy(t, askedHTTP, "envoy-extauthz") }

func askedProxy(t *testing.T, cases []asked, file string) {
	b := newAskedBed(t, cases)
	c := clock.NewReal()
	p := proxy.New(proxy.Options{
		Engine:  engine.New(engine.Options{Node: "probe", Removed: proxy.Removed, Wall: c.Wall}),
		Network: world{}, Clock: c, Seed: 1, Sink: world{},
	})
	t.Cleanup(func() { p.Close() })
	if err := p.Update(t.Context(), b.snapshot()); err != nil {
		t.Fatal(err)
	}
	got := b.play(t, func(i int) string {
		return p.Addr(engine.Address{AddrPort: listenerAddr(i)}).String()
	})
	b.compare(t, got, file, false)
}

// compare compares with a golden file, or writes it.
func (b *askedBed) compare(t *testing.T, got []string, file string, write bool) {
	t.Helper()
	var names []string
	text := map[string]string{}
	for i, a := range b.cases {
		names = append(names, a.name)
		text[a.name] = got[i]
		if *only != "" {
			t.Logf("%s\n%s", a.name, got[i])
		}
	}
	if write && *only == "" {
		writeGolden(t, file, names, text)
		return
	}
	want := readGolden(t, file)
	if *only == "" && !slices.Equal(names, want.names) {
		t.Errorf("the golden file does not list the cases: run with -update:\n%s",
			gocmp.Diff(names, want.names))
	}
	for _, n := range names {
		if text[n] != want.text[n] {
			t.Errorf("%s: (-wanted +shown)\n%s", n, gocmp.Diff(strings.Split(want.text[n], "\n"),
				strings.Split(text[n], "\n")))
		}
	}
}

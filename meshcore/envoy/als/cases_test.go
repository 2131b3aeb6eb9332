package als

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// upstream starts a backend and returns its address.
type upstream func(serve func(*backend, net.Conn)) string

// sideCase is one way for a request to go.
type sideCase struct {
	name    string
	setup   func(c *config, up upstream)
	client  func(t *testing.T, c *net.TCPConn)
	records int // 1 by default
}

const (
	ok          = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nserved"
	unavailable = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nlost"
)

// simple is a cluster with one host that answers so.
func simple(list ...string) func(*config, upstream) {
	return func(c *config, up upstream) { c.addresses = []string{up(answers(list...))} }
}

// breaking is a cluster whose host breaks off.
func breaking(text string) func(*config, upstream) {
	return func(c *config, up upstream) {
		c.addresses = []string{up(func(_ *backend, c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, text)
		})}
	}
}

// hang reads and never answers.
func hang(_ *backend, c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// echo sends back what comes.
func echo(_ *backend, c net.Conn) { _, _ = io.Copy(c, c) }

// refused is an address where nobody listens, and nobody can while the test runs: it is bound.
func refused() string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		panic(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
}

func retry(n uint32, on string) *routev3.RetryPolicy {
	return &routev3.RetryPolicy{RetryOn: on, NumRetries: wrapperspb.UInt32(n),
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(time.Millisecond)}}
}

func fault(c *config, f *faultv3.HTTPFault) {
	c.route.TypedPerFilterConfig = map[string]*anypb.Any{"envoy.filters.http.fault": pack(f)}
}

var hundred = &typev3.FractionalPercent{Numerator: 100}

func delay(d time.Duration) *commonfaultv3.FaultDelay {
	return &commonfaultv3.FaultDelay{Percentage: hundred,
		FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(d)}}
}

func abort(status uint32) *faultv3.FaultAbort {
	return &faultv3.FaultAbort{Percentage: hundred,
		ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: status}}
}

// limits is a circuit breaker.
func limits(connections, pending, requests uint32) *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections:     wrapperspb.UInt32(connections),
		MaxPendingRequests: wrapperspb.UInt32(pending), MaxRequests: wrapperspb.UInt32(requests)}}}
}

// leave sends a request and goes as soon as the backend has it.
func leave(ready chan struct{}, text string) func(t *testing.T, c *net.TCPConn) {
	return func(t *testing.T, c *net.TCPConn) {
		t.Helper()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ready:
		case <-time.After(10 * time.Second):
			t.Error("nothing came to the backend")
		}
	}
}

// silent tells that a request is there, and never answers.
func silent(ready chan struct{}) func(*backend, net.Conn) {
	return func(_ *backend, c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err == nil {
			ready <- struct{}{}
		}
		_, _ = io.Copy(io.Discard, r)
	}
}

var leaving = make(chan struct{}, 4)

var cases = []sideCase{
	{name: "plain", setup: simple(ok), client: get("/a?b=c", "x-user: me", "x-multi: 1", "x-multi: 2")},
	{name: "body", setup: simple(ok), client: send(request("POST", "/a", "content-length: 3") + "abc")},
	{name: "head", setup: simple("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n"),
		client: send(request("HEAD", "/a", "x-user:"))},
	{name: "gRPC status", setup: simple(strings.Replace(ok, "\r\n", "\r\ngrpc-status: 14\r\n", 1)),
		client: get("/a")},
	{name: "strange method", setup: simple(ok), client: send(request("PROPFIND", "/a"))},
	{name: "no ID", setup: simple(ok), client: send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")},
	{name: "inbound", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.listener.TrafficDirection = corev3.TrafficDirection_INBOUND
		c.hcm.ForwardClientCertDetails = 0
	}, client: get("/a", "x-envoy-original-path: /other")},
	{name: "not found", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.route.Match.PathSpecifier = &routev3.RouteMatch_Path{Path: "/only"}
	}, client: get("/a")},
	{name: "no host", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.vhost.Domains = []string{"other"}
	}, client: get("/a")},
	{name: "no cluster", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "unknown"}
	}, client: get("/a")},
	{name: "refused", setup: func(c *config, _ upstream) { c.addresses = []string{refused()} },
		client: get("/a")},
	{name: "no endpoints", setup: func(c *config, _ upstream) {}, client: get("/a")},
	{name: "reset", setup: simple(""), client: get("/a")},
	{name: "retried", setup: func(c *config, up upstream) {
		simple(unavailable, unavailable, ok)(c, up)
		c.action.RetryPolicy = retry(3, "5xx")
	}, client: get("/a")},
	{name: "retried with count", setup: func(c *config, up upstream) {
		simple(unavailable, "", ok)(c, up)
		c.action.RetryPolicy = retry(3, "5xx")
		c.vhost.IncludeRequestAttemptCount = true
		c.vhost.IncludeAttemptCountInResponse = true
	}, client: get("/a")},
	{name: "retries exhausted", setup: func(c *config, up upstream) {
		simple(unavailable)(c, up)
		c.action.RetryPolicy = retry(2, "5xx")
	}, client: get("/a")},
	{name: "retries refused", setup: func(c *config, up upstream) {
		c.addresses = []string{refused()}
		c.action.RetryPolicy = retry(2, "connect-failure")
	}, client: get("/a")},
	{name: "retries not possible", setup: func(c *config, up upstream) {
		simple(unavailable)(c, up)
		c.action.RetryPolicy = retry(2, "5xx")
		c.cluster.CircuitBreakers = &clusterv3.CircuitBreakers{
			Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxRetries: wrapperspb.UInt32(0)}}}
	}, client: get("/a")},
	{name: "timeout", setup: func(c *config, up upstream) {
		c.addresses = []string{up(hang)}
		c.action.Timeout = durationpb.New(100 * time.Millisecond)
	}, client: get("/a")},
	{name: "timeout per try", setup: func(c *config, up upstream) {
		c.addresses = []string{up(hang)}
		c.action.RetryPolicy = retry(2, "5xx")
		c.action.RetryPolicy.PerTryTimeout = durationpb.New(50 * time.Millisecond)
	}, client: get("/a")},
	{name: "abort", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		fault(c, &faultv3.HTTPFault{Abort: abort(418)})
	}, client: get("/a")},
	{name: "delay", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		fault(c, &faultv3.HTTPFault{Delay: delay(30 * time.Millisecond)})
	}, client: get("/a")},
	{name: "delay and abort", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		fault(c, &faultv3.HTTPFault{Delay: delay(30 * time.Millisecond), Abort: abort(503)})
	}, client: get("/a")},
	{name: "direct response", setup: func(c *config, up upstream) {
		c.route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: 200, Body: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: "hello"}}}}
	}, client: get("/a")},
	{name: "redirect", setup: func(c *config, up upstream) {
		c.route.Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{
			HostRedirect: "elsewhere"}}
	}, client: get("/a")},
	{name: "mirror", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.mirror = []string{up(answers(ok))}
		c.action.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{
			{Cluster: c.name + "-mirror"}}
	}, client: get("/a")},
	{name: "mirror of a body", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.mirror = []string{up(answers(unavailable))}
		c.action.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{
			{Cluster: c.name + "-mirror"}}
	}, client: send(request("POST", "/a", "content-length: 3") + "abc")},
	{name: "mirror to nobody", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.action.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{
			{Cluster: c.name + "-mirror"}}
	}, client: get("/a")},
	{name: "mirror refused", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.mirror = []string{refused()}
		c.action.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{
			{Cluster: c.name + "-mirror"}}
	}, client: get("/a")},
	{name: "overflow", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.cluster.CircuitBreakers = limits(1, 0, 1)
	}, client: get("/a")},
	{name: "overflow of requests", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.cluster.CircuitBreakers = limits(1, 1, 0)
	}, client: get("/a")},
	{name: "overflow of connections", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.cluster.CircuitBreakers = limits(0, 1, 1)
	}, client: get("/a")},
	{name: "client leaves", setup: func(c *config, up upstream) {
		c.addresses = []string{up(silent(leaving))}
	}, client: leave(leaving, request("GET", "/a"))},
	{name: "client leaves during a delay", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		fault(c, &faultv3.HTTPFault{Delay: delay(5 * time.Second)})
	}, client: func(t *testing.T, c *net.TCPConn) { _, _ = io.WriteString(c, request("GET", "/a")) }},
	{name: "websocket", setup: func(c *config, up upstream) {
		c.addresses = []string{up(func(_ *backend, c net.Conn) {
			r := bufio.NewReader(c)
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"+
				"upgrade: websocket\r\n\r\n")
			b := make([]byte, 4)
			_, _ = io.ReadFull(r, b)
			_, _ = c.Write(b)
		})}
	}, client: func(t *testing.T, c *net.TCPConn) {
		_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n"+
			"upgrade: websocket\r\nx-request-id: ws\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(c, "ping")
		_, _ = io.Copy(io.Discard, c)
	}},
	{name: "websocket left by the client", setup: func(c *config, up upstream) {
		c.addresses = []string{up(func(_ *backend, c net.Conn) {
			r := bufio.NewReader(c)
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"+
				"upgrade: websocket\r\n\r\n")
			_, _ = io.Copy(c, r)
		})}
	}, client: func(t *testing.T, c *net.TCPConn) {
		_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n"+
			"upgrade: websocket\r\nx-request-id: ws\r\n\r\n")
		r := bufio.NewReader(c)
		if _, err := http.ReadResponse(r, nil); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(c, "ping")
		_, _ = io.ReadFull(r, make([]byte, 4))
	}},
	{name: "header timeout", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.hcm.RequestHeadersTimeout = durationpb.New(100 * time.Millisecond)
	}, client: send("GET /a HTTP/1.1\r\nhost: a\r\n")},
	{name: "stream idle", setup: func(c *config, up upstream) {
		c.addresses = []string{up(hang)}
		c.hcm.StreamIdleTimeout = durationpb.New(100 * time.Millisecond)
	}, client: get("/a")},
	{name: "max stream duration", setup: func(c *config, up upstream) {
		c.addresses = []string{up(hang)}
		c.hcm.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{
			MaxStreamDuration: durationpb.New(100 * time.Millisecond)}
	}, client: get("/a")},
	{name: "max upstream duration", setup: func(c *config, up upstream) {
		c.addresses = []string{up(hang)}
		c.cluster.TypedExtensionProtocolOptions = map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(&httpv3.HttpProtocolOptions{
				CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
					MaxStreamDuration: durationpb.New(100 * time.Millisecond)},
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{},
					}},
			})}
	}, client: get("/a")},
	{name: "malformed", setup: simple(ok), client: send("GET /a HTTP/1.1\r\nhost a\r\n\r\n")},
	{name: "malformed length", setup: simple(ok),
		client: send("GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n")},
	{name: "malformed chunk", setup: simple(ok),
		client: send("POST /a HTTP/1.1\r\nhost: a\r\nx-request-id: bad\r\n" +
			"transfer-encoding: chunked\r\n\r\nzz\r\n")},
	{name: "no host header", setup: simple(ok), client: send("GET /a HTTP/1.1\r\nx-request-id: a\r\n\r\n")},
	{name: "HTTP/1.0", setup: simple(ok), client: send("GET /a HTTP/1.0\r\nhost: a\r\n\r\n")},
	{name: "absolute path", setup: simple(ok), client: send("GET http://b/a HTTP/1.1\r\nhost: a\r\n" +
		"x-request-id: a\r\nconnection: close\r\n\r\n")},
	{name: "fragment", setup: simple(ok), client: get("/a#b")},
	{name: "normalized", setup: simple(ok), client: get("/a/../b")},
	{name: "path rewrite", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.route.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/old"}
		c.action.PrefixRewrite = "/new"
	}, client: get("/old/x?q=1")},
	{name: "host rewrite", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{
			HostRewriteLiteral: "inner"}
		c.route.RequestHeadersToAdd = []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: "x-user", Value: "changed"},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}}
		c.route.RequestHeadersToRemove = []string{"user-agent", "x-request-id"}
	}, client: get("/a", "x-user: me")},
	{name: "forwarded for", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.listener.TrafficDirection = corev3.TrafficDirection_INBOUND
	}, client: get("/a", "x-forwarded-for: 10.1.2.3")},
	{name: "keep-alive", setup: simple(ok), records: 2, client: func(t *testing.T, c *net.TCPConn) {
		_, _ = io.WriteString(c, "GET /1 HTTP/1.1\r\nhost: a\r\nx-request-id: same\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		send("GET /2 HTTP/1.1\r\nhost: a\r\nx-request-id: same\r\nconnection: close\r\n\r\n")(t, c)
	}},
	{name: "cut body", setup: breaking("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort"),
		client: get("/a")},
	{name: "response of no protocol", setup: simple("nonsense\r\n\r\n"), client: get("/a")},

	{name: "TCP", setup: func(c *config, up upstream) {
		c.hcm, c.addresses = nil, []string{up(echo)}
	}, client: func(t *testing.T, c *net.TCPConn) {
		_, _ = io.WriteString(c, "hello")
		_, _ = io.ReadFull(c, make([]byte, 5))
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}},
	{name: "TCP refused", setup: func(c *config, up upstream) {
		c.hcm, c.addresses = nil, []string{refused()}
	}, client: send("hello")},
	{name: "TCP refused twice", setup: func(c *config, up upstream) {
		c.hcm, c.addresses = nil, []string{refused()}
		c.tcp.MaxConnectAttempts = wrapperspb.UInt32(2)
	}, client: send("hello")},
	{name: "TCP to nobody", setup: func(c *config, up upstream) { c.hcm = nil }, client: send("hello")},
	{name: "TCP no cluster", setup: func(c *config, up upstream) {
		c.hcm = nil
		c.tcp.ClusterSpecifier = &tcpproxyv3.TcpProxy_Cluster{Cluster: "unknown"}
	}, client: send("hello")},
	{name: "TCP reset", setup: func(c *config, up upstream) {
		c.hcm, c.addresses = nil, []string{up(func(_ *backend, c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 5))
			_ = c.(*net.TCPConn).SetLinger(0)
		})}
	}, client: send("hello")},
	{name: "TCP to an upstream that ends", setup: func(c *config, up upstream) {
		c.hcm, c.addresses = nil, []string{up(func(_ *backend, c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 5))
			_, _ = io.WriteString(c, "bye")
		})}
	}, client: send("hello")},
	{name: "TCP client resets", setup: func(c *config, up upstream) {
		c.hcm, c.addresses = nil, []string{up(echo)}
	}, client: func(t *testing.T, c *net.TCPConn) {
		_, _ = io.WriteString(c, "hello")
		_, _ = io.ReadFull(c, make([]byte, 5))
		_ = c.SetLinger(0)
	}},
	{name: "TCP overflow", setup: func(c *config, up upstream) {
		c.hcm, c.addresses = nil, []string{up(echo)}
		c.cluster.CircuitBreakers = limits(0, 1, 1)
	}, client: send("hello")},
	{name: "TCP idle", setup: func(c *config, up upstream) {
		c.hcm, c.addresses = nil, []string{up(echo)}
		c.tcp.IdleTimeout = durationpb.New(100 * time.Millisecond)
	}, client: send("hello")},
	{name: "TCP for a while", setup: func(c *config, up upstream) {
		c.hcm, c.addresses = nil, []string{up(echo)}
		c.tcp.MaxDownstreamConnectionDuration = durationpb.New(100 * time.Millisecond)
	}, client: send("hello")},
	{name: "no chain", setup: func(c *config, up upstream) {
		simple(ok)(c, up)
		c.listener.FilterChains[0].FilterChainMatch = &listenerv3.FilterChainMatch{
			DestinationPort: wrapperspb.UInt32(1)}
	}, client: get("/a")},
}

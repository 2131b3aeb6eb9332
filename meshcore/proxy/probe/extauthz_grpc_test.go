package probe

import (
	stdbytes "bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

// checker is an authorizer that speaks gRPC, and notes what it is asked.
type checker struct {
	authv3.UnimplementedAuthorizationServer
	l      net.Listener
	answer func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error)

	mu    sync.Mutex
	calls []string
}

func newChecker(t *testing.T,
	answer func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error),
	secure *tls.Config) *checker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{l: l, answer: answer}
	var opts []grpc.ServerOption
	if secure != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(secure)))
	}
	s := grpc.NewServer(opts...)
	authv3.RegisterAuthorizationServer(s, c)
	go s.Serve(l) //nolint:errcheck // until it is stopped
	t.Cleanup(s.Stop)
	return c
}

func (c *checker) port() uint32 { return uint32(c.l.Addr().(*net.TCPAddr).Port) }

// Check notes the call and answers it.
func (c *checker) Check(ctx context.Context, m *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if m.GetAttributes().GetRequest().GetHttp().GetPath() == "/next" {
		return c.answer(ctx, m)
	}
	var b strings.Builder
	if _, ok := ctx.Deadline(); ok {
		b.WriteString("  with a grpc-timeout\n")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	for _, k := range slices.Sorted(maps.Keys(md)) {
		fmt.Fprintf(&b, "  %s: %s\n", k, strings.Join(md[k], " | "))
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var sorted any
	if err := json.Unmarshal(text, &sorted); err != nil {
		return nil, err
	}
	var out stdbytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("  ", " ")
	if err := e.Encode(sorted); err != nil {
		return nil, err
	}
	b.WriteString("  " + out.String())
	c.mu.Lock()
	c.calls = append(c.calls, maskCall(b.String()))
	c.mu.Unlock()
	return c.answer(ctx, m)
}

var callMasks = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"`), `"<uuid>"`},
	{regexp.MustCompile(`-----BEGIN[^"]*`), "<PEM>"},
	{regexp.MustCompile(`"id": "\d+"`), `"id": "<number>"`},
	{regexp.MustCompile(`"time": "[-0-9T:.]+Z"`), `"time": "<time>"`},
	{regexp.MustCompile(`"10\.96\.\d+\.\d+"`), `"127.0.0.1"`}, // of our listener
	{regexp.MustCompile(`"portValue": \d+`), `"portValue": <port>`},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), `127.0.0.1:<port>`},
	{regexp.MustCompile(`(?m)^  x-forwarded-for: .*`), `  x-forwarded-for: <own address>`},
	{regexp.MustCompile(`x{200,}`), `<many x>`},
}

func maskCall(s string) string {
	for _, m := range callMasks {
		s = m.find.ReplaceAllString(s, m.put)
	}
	return s
}

func (c *checker) sorted() {}

func (c *checker) write(out *strings.Builder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.calls) == 0 {
		out.WriteString("  not asked\n")
	}
	for _, call := range c.calls {
		out.WriteString(call)
	}
}

// http2 makes a cluster speak HTTP/2.
func http2(c *clusterv3.Cluster) *clusterv3.Cluster {
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
			&upstreamsv3.HttpProtocolOptions{UpstreamProtocolOptions: &upstreamsv3.
				HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &upstreamsv3.
				HttpProtocolOptions_ExplicitHttpConfig{ProtocolConfig: &upstreamsv3.
				HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}}}}}),
	}
	return c
}

// TestExtAuthzGRPCEnvoy has the real Envoy show what the golden file says.
func TestExtAuthzGRPCEnvoy(t *testing.T) {
	askedEnvoy(t, askedGRPC(), "envoy-extauthz-grpc")
}

// TestExtAuthzGRPC has our proxy show what Envoy shows.
func TestExtAuthzGRPC(t *testing.T) { askedProxy(t, askedGRPC(), "envoy-extauthz-grpc") }

package extauthz_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/extauthz"
)

// serve runs the app as a pod does.
func serve(t *testing.T) string {
	t.Helper()
	h, err := extauthz.Handler(app.Env{})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestHTTP(t *testing.T) {
	at := serve(t)
	for _, c := range []struct {
		ask    string
		status int
		result string
		body   string
	}{
		{"allow", 200, "allowed", ""},
		{"deny", 403, "denied",
			"denied by ext_authz for not found header `x-ext-authz: allow` in the request"},
		{"", 403, "denied",
			"denied by ext_authz for not found header `x-ext-authz: allow` in the request"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+at+"/a?b=c",
			strings.NewReader("what"))
		if err != nil {
			t.Fatal(err)
		}
		if c.ask != "" {
			req.Header.Set("x-ext-authz", c.ask)
		}
		req.Header.Set("x-ext-authz-additional-header-override", "mine")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		received := resp.Header.Get("x-ext-authz-check-received")
		if resp.StatusCode != c.status || string(body) != c.body ||
			resp.Header.Get("x-ext-authz-check-result") != c.result ||
			resp.Header.Get("x-ext-authz-additional-header-override") != "mine" ||
			!strings.HasPrefix(received, "POST "+at+"/a?b=c, headers: map[") ||
			!strings.HasSuffix(received, ", body: [what]") {
			t.Errorf("%q: %s %v %q", c.ask, resp.Status, resp.Header, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestGRPC(t *testing.T) {
	at := serve(t)
	conn, err := grpc.NewClient("passthrough:///"+at,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, c := range []struct {
		name, principal string
		headers         map[string]string
		allowed         bool
	}{
		{name: "asks", headers: map[string]string{"x-ext-authz": "allow"}, allowed: true},
		{name: "asks for no", headers: map[string]string{"x-ext-authz": "deny"},
			principal: "spiffe://cluster.local/ns/foo/sa/a"},
		{name: "the account", principal: "spiffe://cluster.local/ns/foo/sa/a", allowed: true},
		{name: "another account", principal: "spiffe://cluster.local/ns/foo/sa/b"},
		{name: "nothing"},
	} {
		resp, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{
			Attributes: &authv3.AttributeContext{
				Source: &authv3.AttributeContext_Peer{Principal: c.principal},
				Request: &authv3.AttributeContext_Request{
					Http: &authv3.AttributeContext_HttpRequest{Headers: c.headers}}}})
		if err != nil {
			t.Fatal(c.name, err)
		}
		headers, code, want := resp.GetOkResponse().GetHeaders(), resp.GetStatus().GetCode(), int32(0)
		result := "allowed"
		if !c.allowed {
			headers, want, result = resp.GetDeniedResponse().GetHeaders(), 7, "denied"
			if resp.GetDeniedResponse().GetStatus().GetCode() != 403 {
				t.Errorf("%s: %v", c.name, resp)
			}
		}
		got := map[string]string{}
		for _, h := range headers {
			got[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		}
		if code != want || got["x-ext-authz-check-result"] != result || len(got) != 3 ||
			got["x-ext-authz-additional-header-override"] != "grpc-additional-header-override-value" {
			t.Errorf("%s: %v", c.name, resp)
		}
	}
}

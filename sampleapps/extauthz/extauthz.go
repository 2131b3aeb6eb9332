// Package extauthz is Istio's sample authorizer: it allows a request that says so itself. It
// answers over HTTP (port 8000) and as envoy.service.auth.v3.Authorization over gRPC (port 9000);
// here each port takes both, told apart by the request.
package extauthz

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// What clients and policies see; the names and texts are those of Istio samples/extauthz.
const (
	askHeader      = "x-ext-authz" // of the request: "allow" allows it
	resultHeader   = "x-ext-authz-check-result"
	receivedHeader = "x-ext-authz-check-received"
	overrideHeader = "x-ext-authz-additional-header-override"

	grpcOverride = "grpc-additional-header-override-value"
	denial       = "denied by ext_authz for not found header `x-ext-authz: allow` in the request"
)

// longest is how much of what was received an answer tells: a proxy takes heads of 60 KiB.
const longest = 60000

// Handler makes the app. The variable ALLOW_SERVICE_ACCOUNT ("a") is the service account whose
// requests gRPC checks allow when they do not say what they want.
func Handler(env app.Env) (http.Handler, error) {
	s := &service{account: env.Var("ALLOW_SERVICE_ACCOUNT", "a"), grpc: grpc.NewServer()}
	authv3.RegisterAuthorizationServer(s.grpc, s)
	return s, nil
}

type service struct {
	authv3.UnimplementedAuthorizationServer
	account string
	grpc    *grpc.Server
}

// ServeHTTP answers a check of either kind.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("content-type"), "application/grpc") {
		s.grpc.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the proxy has given up
	}
	h := w.Header()
	h.Set(overrideHeader, r.Header.Get(overrideHeader))
	h.Set(receivedHeader, fmt.Sprintf("%s %s%s, headers: %v, body: [%s]", r.Method, r.Host, r.URL,
		r.Header, short(string(body))))
	if r.Header.Get(askHeader) == "allow" {
		h.Set(resultHeader, "allowed")
		return
	}
	h.Set(resultHeader, "denied")
	w.WriteHeader(http.StatusForbidden)
	io.WriteString(w, denial) //nolint:errcheck // the proxy may have given up
}

func short(s string) string {
	if len(s) > longest {
		return "<too-long>"
	}
	return s
}

// Check answers a check by gRPC.
func (s *service) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	about := r.GetAttributes()
	wish, said := about.GetRequest().GetHttp().GetHeaders()[askHeader]
	allow := wish == "allow"
	if !said {
		allow = strings.HasSuffix(about.GetSource().GetPrincipal(), "/sa/"+s.account)
	}
	result := "denied"
	if allow {
		result = "allowed"
	}
	var headers []*corev3.HeaderValueOption
	for _, h := range [][2]string{{resultHeader, result},
		{receivedHeader, short(about.String())}, {overrideHeader, grpcOverride}} {
		headers = append(headers, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: h[0], Value: h[1]}})
	}
	if allow {
		return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.OK)},
			HttpResponse: &authv3.CheckResponse_OkResponse{
				OkResponse: &authv3.OkHttpResponse{Headers: headers}}}, nil
	}
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.
			DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden},
			Body: denial, Headers: headers}}}, nil
}

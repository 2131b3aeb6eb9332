package engine

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mesh-lab/mesh-lab/meshcore/transport"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// askGRPC makes the call of a gRPC authorizer (filters/common/ext_authz/ext_authz_grpc_impl.cc
// check): one message, framed.
func (x *Exchange) askGRPC(c *Call) {
	a := x.authz.asking
	about := x.networkAttributes
	if x.hcm != nil {
		about = x.attributes
	}
	message, err := proto.MarshalOptions{Deterministic: true}.Marshal(
		&authv3.CheckRequest{Attributes: about(a)})
	if err != nil {
		panic("engine: " + err.Error()) // texts are valid UTF-8
	}
	c.Body = binary.BigEndian.AppendUint32(make([]byte, 1, 5+len(message)), uint32(len(message)))
	c.Body = append(c.Body, message...)
	h := &wire.Head{Minor: 1, ContentLength: -1, Scheme: bytesOf("http"),
		Method: bytesOf("POST"), Target: bytesOf("/envoy.service.auth.v3.Authorization/Check")}
	h.Authority = h.Bytes(a.service.authority)
	h.Add("te", "trailers")
	if t := a.service.timeout; t > 0 {
		h.Add("grpc-timeout", strconv.FormatInt(t.Milliseconds(), 10)+"m")
	}
	h.Add("content-type", "application/grpc")
	appendHeader(h, "x-forwarded-for", []byte(x.e.ip(x.ci).String()), requestInline)
	ownCall(h, a.service.timeout)
	c.Head = h
}

// attributes tells an authorizer of the request (check_request_utils.cc createHttpCheck).
func (x *Exchange) attributes(a *extAuthz) *authv3.AttributeContext {
	out := x.peers(a)
	out.Request = &authv3.AttributeContext_Request{Http: x.httpAttributes(a),
		Time: timestamppb.New(x.e.opt.Wall(x.start))}
	out.ContextExtensions = x.authz.context
	out.MetadataContext = metadataContext(a.context, x.dynamic.fields)
	out.RouteMetadataContext = metadataContext(a.routeContext, func(ns string) *structpb.Struct {
		return x.route.metadata.GetFilterMetadata()[ns]
	})
	if v, ok := x.head.Get("x-envoy-downstream-service-cluster"); ok {
		out.Source.Service = validText(v)
	}
	return out
}

// metadataContext is some namespaces of metadata.
func metadataContext(names []string, of func(string) *structpb.Struct) *corev3.Metadata {
	out := &corev3.Metadata{}
	for _, n := range names {
		if s := of(n); s != nil {
			if out.FilterMetadata == nil {
				out.FilterMetadata = map[string]*structpb.Struct{}
			}
			out.FilterMetadata[n] = s
		}
	}
	return out
}

// peers tells of the connection.
func (x *Exchange) peers(a *extAuthz) *authv3.AttributeContext {
	ci, tls := x.ci, x.ci.TLS
	out := &authv3.AttributeContext{Source: peer(ci.Remote, peerOf(tls)),
		Destination: peer(ci.Local, localOf(tls))}
	if p := peerOf(tls); a.certificate && p != nil {
		out.Source.Certificate = p.PEM
	}
	if a.session {
		out.TlsSession = &authv3.AttributeContext_TLSSession{Sni: ci.SNI}
	}
	return out
}

func (x *Exchange) httpAttributes(a *extAuthz) *authv3.AttributeContext_HttpRequest {
	h := x.head
	out := &authv3.AttributeContext_HttpRequest{
		Id:     strconv.FormatUint(draw(x.rnd, drawStream, 0), 10),
		Method: validText(h.Method), Path: validText(h.Target), Host: validText(h.Authority),
		Scheme: validText(h.Scheme), Size: int64(len(x.authz.buffered)),
		Protocol: x.Record.Protocol, Headers: x.checkHeaders(a)}
	if b, _ := x.bodyOf(); x.told() {
		if a.bytes {
			out.RawBody = b
		} else {
			out.Body = validText(b)
		}
	}
	return out
}

func peerOf(s *transport.State) *transport.Certificate {
	if s == nil {
		return nil
	}
	return s.Peer
}

func localOf(s *transport.State) *transport.Certificate {
	if s == nil {
		return nil
	}
	return s.Local
}

// peer is one side of the connection (setAttrContextPeer).
func peer(at netip.AddrPort, c *transport.Certificate) *authv3.AttributeContext_Peer {
	out := &authv3.AttributeContext_Peer{}
	if at.IsValid() {
		out.Address = &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: at.Addr().String(),
				PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())}}}}
	}
	if c != nil {
		out.Principal = validText([]byte((&transport.State{Peer: c}).Principal()))
	}
	return out
}

// validText is a value as a protobuf string can hold it: a "!" for each byte that is no UTF-8
// (protobuf/utility.cc sanitizeUtf8String).
func validText(v []byte) string {
	if utf8.Valid(v) {
		return string(v)
	}
	var out strings.Builder
	for len(v) > 0 {
		r, n := utf8.DecodeRune(v)
		if r == utf8.RuneError && n == 1 {
			out.WriteByte('!')
		} else {
			out.Write(v[:n])
		}
		v = v[n:]
	}
	return out.String()
}

// judgeGRPC reads the answer of a gRPC authorizer (onSuccess, onFailure).
func (x *Exchange) judgeGRPC(ev Event) *judgement {
	m, ok := grpcAnswer(ev)
	if !ok {
		return &judgement{}
	}
	v := &judgement{metadata: m.GetDynamicMetadata()}
	//nolint:staticcheck // the deprecated field has the last word
	if d := m.GetOkResponse().GetDynamicMetadata(); d != nil {
		v.metadata = d
	}
	if len(v.metadata.GetFields()) == 0 {
		v.metadata = nil
	}
	if m.GetStatus().GetCode() != 0 {
		v.denial(m)
		return v
	}
	v.outcome = authzAllowed
	ok2 := m.GetOkResponse()
	v.request = requestMutations(ok2.GetHeaders())
	for _, n := range ok2.GetHeadersToRemove() {
		if n = lowerASCII(n); removable(n) {
			v.request = append(v.request, mutation{op: mutateRemove, name: n})
		}
	}
	v.response = responseMutations(ok2.GetResponseHeadersToAdd())
	for _, q := range ok2.GetQueryParametersToSet() {
		v.query.set = append(v.query.set, [2]string{q.GetKey(), q.GetValue()})
	}
	v.query.remove = ok2.GetQueryParametersToRemove()
	return v
}

// grpcAnswer unwraps the one message of a successful call.
func grpcAnswer(ev Event) (*authv3.CheckResponse, bool) {
	status, has := []byte(nil), false
	if ev.Trailers != nil {
		status, has = ev.Trailers.Get("grpc-status")
	}
	if !has {
		status, _ = ev.Head.Get("grpc-status")
	}
	b := ev.Body
	if ev.Head.Status != 200 || string(status) != "0" || len(b) < 5 || b[0] != 0 ||
		int64(binary.BigEndian.Uint32(b[1:])) != int64(len(b)-5) {
		return nil, false
	}
	m := &authv3.CheckResponse{}
	return m, proto.Unmarshal(b[5:], m) == nil
}

func (v *judgement) denial(m *authv3.CheckResponse) {
	v.outcome, v.status = authzDenied, 403
	d := m.GetDeniedResponse()
	if e := m.GetErrorResponse(); e != nil {
		v.outcome, v.status, d = authzError, 0, e
	}
	if code := d.GetStatus().GetCode(); code > 0 {
		v.status = int(code)
	}
	v.body = []byte(d.GetBody())
	for _, o := range d.GetHeaders() {
		if !o.GetAppend().GetValue() { //nolint:staticcheck // appended ones are dropped
			v.reply = append(v.reply, mutationOf(mutateAdd, o))
		}
	}
}

func mutationOf(op mutationOp, o *corev3.HeaderValueOption) mutation {
	return mutation{op, lowerASCII(o.GetHeader().GetKey()), o.GetHeader().GetValue()}
}

// requestMutations sets every header, whatever its append_action says, save those with append: they
// are appended to what is there, last.
func requestMutations(list []*corev3.HeaderValueOption) []mutation {
	var set, appended []mutation
	for _, o := range list {
		if o.GetAppend().GetValue() { //nolint:staticcheck // the deprecated field acts
			appended = append(appended, mutationOf(mutateAppend, o))
		} else {
			set = append(set, mutationOf(mutateSet, o))
		}
	}
	return append(set, appended...)
}

// responseMutations does what append, else append_action says, by kind.
func responseMutations(list []*corev3.HeaderValueOption) []mutation {
	var kinds [4][]mutation
	for _, o := range list {
		action := o.GetAppendAction()
		if a := o.GetAppend(); a != nil { //nolint:staticcheck // the deprecated field acts
			if action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD; a.GetValue() {
				action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
			}
		}
		i, op := 0, mutateAdd
		switch action {
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
			i, op = 1, mutateSet
		case corev3.HeaderValueOption_ADD_IF_ABSENT:
			i, op = 2, mutateAbsent
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			i, op = 3, mutateReplace
		}
		kinds[i] = append(kinds[i], mutationOf(op, o))
	}
	return slices.Concat(kinds[:]...)
}

// queryChange is what an authorizer does to the query.
type queryChange struct {
	set    [][2]string
	remove []string
}

func (q *queryChange) any() bool { return len(q.set)+len(q.remove) > 0 }

// apply changes the query of a path. Values are not decoded; what comes out is sorted by key
// (http/utility.cc QueryParamsMulti).
func (q *queryChange) apply(target string) string {
	path, query, _ := strings.Cut(target, "?")
	params := map[string][]string{}
	for part := range strings.SplitSeq(query, "&") {
		if k, v, _ := strings.Cut(part, "="); k != "" || v != "" {
			params[k] = append(params[k], v)
		}
	}
	for _, s := range q.set {
		params[s[0]] = []string{s[1]}
	}
	for _, k := range q.remove {
		delete(params, k)
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(params)) {
		for _, v := range params[k] {
			out = append(out, k+"="+v)
		}
	}
	if len(out) == 0 {
		return path
	}
	return path + "?" + strings.Join(out, "&")
}

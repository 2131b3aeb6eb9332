package engine

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/formatter"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// requestHead is the request's head as it went upstream; nil if it was never understood.
func (x *Exchange) requestHead() *wire.Head {
	if x.log.unread {
		return nil
	}
	return x.head
}

func (x *Exchange) responseHead() *wire.Head { return x.resp }

// headerSyntax is that of all operators that name headers.
const headerSyntax = formatter.Requires | formatter.Length

// httpOperators tell of heads (source/common/formatter/http_specific_formatter.cc).
var httpOperators = map[string]operator{
	"REQ":               headerOperator((*Exchange).requestHead),
	"REQUEST_HEADER":    headerOperator((*Exchange).requestHead),
	"STREAM_INFO_REQ":   headerOperator((*Exchange).requestHead),
	"RESP":              headerOperator((*Exchange).responseHead),
	"RESPONSE_HEADER":   headerOperator((*Exchange).responseHead),
	"REQ_WITHOUT_QUERY": {syntax: headerSyntax, make: withoutQuery},
	// Envoy drops trailers of HTTP/1.1 unless enable_trailers is set, which is refused.
	"TRAILER":          headerOperator(func(*Exchange) *wire.Head { return nil }),
	"RESPONSE_TRAILER": headerOperator(func(*Exchange) *wire.Head { return nil }),
	// Only a local_reply_config sees the body; access logs always have an empty one.
	"LOCAL_REPLY_BODY": atEnd(constant("")),
	"GRPC_STATUS":      atEnd(operator{syntax: formatter.Optional, make: grpcStatus}),
	"GRPC_STATUS_NUMBER": atEnd(operator{make: func(formatter.Command) (eval, error) {
		return grpcStatus(formatter.Command{Arg: "NUMBER"})
	}}),
	"REQUEST_HEADERS_BYTES": atEnd(count(func(x *Exchange) int64 {
		return headSize(x.requestHead(), ":method", ":path", ":authority", ":scheme")
	})),
	"RESPONSE_HEADERS_BYTES": atEnd(count(func(x *Exchange) int64 {
		return headSize(x.resp, ":status")
	})),
	"RESPONSE_TRAILERS_BYTES": atEnd(count(func(*Exchange) int64 { return 0 })),
	"PATH":                    {syntax: formatter.Optional | formatter.Length, make: pathOperator},
	"QUERY_PARAM":             {syntax: headerSyntax, make: queryParam},
	"QUERY_PARAMS":            {syntax: formatter.Optional | formatter.Length, make: queryParams},
}

// headerNames reads X?Y (substitution_format_utility.cc parseSubcommandHeaders).
func headerNames(arg string) (names [2]string, err error) {
	list := strings.Split(arg, "?")
	if len(list) > 2 {
		return names, formatter.Refusal("More than 1 alternative header specified in token: " + arg)
	}
	for i, n := range list {
		if notHeader.MatchString(n) {
			return names, formatter.Refusal(
				"Invalid header configuration. Format string contains invalid characters.")
		}
		names[i] = lowerASCII(n)
	}
	return names, nil
}

// notHeader finds what is in no header name; pseudo-headers begin with a colon.
var notHeader = regexp.MustCompile(`[^:!#$%&'*+\-.^_` + "`" + `|~0-9A-Za-z]`)

// find returns the first value of the first of two headers that there is.
func find(h *wire.Head, names [2]string) ([]byte, bool) {
	if h == nil {
		return nil, false
	}
	v, ok := lookup(h, names[0])
	if !ok && names[1] != "" {
		v, ok = lookup(h, names[1])
	}
	return v, ok
}

func lookup(h *wire.Head, name string) ([]byte, bool) {
	switch {
	case name == "":
		return nil, false
	case name == "host":
		return h.Authority, h.Authority != nil
	case name == "connection" && h.Status != 0 && h.Close:
		return []byte("close"), true
	case name == "upgrade":
		return h.Upgrade, h.Upgrade != nil
	case name == ":status":
		return number(h, int64(h.Status)), h.Status != 0
	case name[0] == ':':
		return match.Pseudo(h, name)
	}
	return h.Get(name)
}

// headerOperator is REQ(X?Y):Z and its kind.
func headerOperator(of func(*Exchange) *wire.Head) operator {
	return operator{syntax: headerSyntax, make: func(c formatter.Command) (eval, error) {
		names, err := headerNames(c.Arg)
		return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
			v, ok := find(of(x), names)
			if !ok {
				return out, formatter.None
			}
			n := len(out)
			return formatter.Truncate(append(out, v...), n, c.Max), formatter.Text
		}, err
	}}
}

// withoutQuery is REQ_WITHOUT_QUERY(X?Y):Z (source/extensions/formatter/req_without_query).
func withoutQuery(c formatter.Command) (eval, error) {
	names, err := headerNames(c.Arg)
	return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		v, ok := find(x.requestHead(), names)
		if !ok {
			return out, formatter.None
		}
		n := len(out)
		v, _, _ = bytes.Cut(v, []byte("?"))
		return formatter.Truncate(append(out, v...), n, c.Max), formatter.Text
	}, err
}

// pathOperator is PATH(X:Y):Z (http_specific_formatter.cc PathFormatter).
func pathOperator(c formatter.Command) (eval, error) {
	part := strings.Split(c.Arg+":", ":")
	query, source := part[0] != "NQ", part[1]
	if part[0] != "" && part[0] != "WQ" && part[0] != "NQ" {
		return nil, formatter.Refusal(
			"Invalid PATH option: '" + part[0] + "', only 'WQ'/'NQ' are allowed")
	}
	names := [2]string{"x-envoy-original-path", ":path"}
	switch source {
	case "", "ORIG_OR_PATH":
	case "ORIG":
		names[1] = ""
	case "PATH":
		names = [2]string{":path"}
	default:
		return nil, formatter.Refusal("Invalid PATH option: '" + source +
			"', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed")
	}
	return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		v, ok := find(x.requestHead(), names)
		if !ok {
			return out, formatter.None
		}
		if !query {
			v, _, _ = bytes.Cut(v, []byte("?"))
		}
		n := len(out)
		return formatter.Truncate(append(out, v...), n, c.Max), formatter.Text
	}, nil
}

// queryOf is what is behind the first question mark of the path as it went upstream.
func queryOf(x *Exchange) ([]byte, bool) {
	h := x.requestHead()
	if h == nil {
		return nil, false
	}
	_, q, ok := bytes.Cut(h.Target, []byte("?"))
	return q, ok
}

// queryParam is QUERY_PARAM(X):Z: the first value of that name, both decoded
// (http/utility.cc QueryParamsMulti::parseAndDecodeQueryString).
func queryParam(c formatter.Command) (eval, error) {
	return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		query, _ := queryOf(x)
		for len(query) > 0 {
			var pair []byte
			pair, query, _ = bytes.Cut(query, []byte("&"))
			key, value, _ := bytes.Cut(pair, []byte("="))
			n := len(out)
			out = percentDecode(out, key)
			same := string(out[n:]) == c.Arg
			if out = out[:n]; same {
				return formatter.Truncate(percentDecode(out, value), n, c.Max), formatter.Text
			}
		}
		return out, formatter.None
	}, nil
}

// queryParams is QUERY_PARAMS(X):Z: the query as it is. Decoding it is not carried out.
func queryParams(c formatter.Command) (eval, error) {
	switch c.Arg {
	case "", "ORIG":
	case "DECODED":
		return nil, fmt.Errorf("command operator %%QUERY_PARAMS(DECODED)%% %s", notCarried)
	default:
		return nil, formatter.Refusal("Invalid QUERY_PARAMS option: '" + c.Arg +
			"', only 'ORIG'/'DECODED' are allowed")
	}
	return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		q, ok := queryOf(x)
		if !ok {
			return out, formatter.None
		}
		n := len(out)
		return formatter.Truncate(append(out, q...), n, c.Max), formatter.Text
	}, nil
}

// percentDecode appends b with its escapes resolved (http/utility.cc PercentEncoding::decode): a
// percent sign that begins none stays.
func percentDecode(out, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if v, err := strconv.ParseUint(string(b[i+1:i+3]), 16, 8); err == nil {
				out = append(out, byte(v))
				i += 2
				continue
			}
		}
		out = append(out, b[i])
	}
	return out
}

// headSize is HeaderMap::byteSize: names and values, without what is between them.
func headSize(h *wire.Head, pseudo ...string) int64 {
	if h == nil {
		return 0
	}
	n := 0
	for _, name := range pseudo {
		if v, ok := lookup(h, name); ok {
			n += len(name) + len(v)
		}
	}
	if h.Status != 0 && h.Close {
		n += len("connection") + len("close")
	}
	if h.Upgrade != nil {
		n += len("upgrade") + len(h.Upgrade) + len("connection") + len("upgrade")
	}
	for i := range h.Fields {
		n += len(h.Fields[i].Name) + len(h.Fields[i].Value)
	}
	return int64(n)
}

// The names of gRPC's codes, as grpc/status.cc and absl::StatusCodeToString write them.
var (
	grpcCamel = strings.Fields(`OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound
		AlreadyExists PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange
		Unimplemented Internal Unavailable DataLoss Unauthenticated`)
	grpcSnake = strings.Fields(`OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND
		ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED
		OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED`)
)

// grpcStatus is GRPC_STATUS(X): that of the response's headers, else what its status stands for;
// nothing for requests that are no gRPC (grpc/common.cc getGrpcStatus).
func grpcStatus(c formatter.Command) (eval, error) {
	names := grpcCamel
	switch c.Arg {
	case "", "CAMEL_STRING":
	case "SNAKE_STRING":
		names = grpcSnake
	case "NUMBER":
		names = nil
	default:
		return nil, formatter.Refusal(
			"GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: " + c.Arg)
	}
	return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		if !x.grpc || x.resp == nil {
			return out, formatter.None
		}
		code := httpToGRPC(x.resp.Status)
		if v, ok := x.resp.Get("grpc-status"); ok {
			n, ok := unsigned(v)
			if code = int(n); !ok {
				code = -1 // InvalidCode
			}
		}
		if code >= 0 && code < len(names) {
			return append(out, names[code]...), formatter.Text
		}
		kind := formatter.Text
		if names == nil {
			kind = formatter.Number
		}
		return strconv.AppendInt(out, int64(code), 10), kind
	}, nil
}

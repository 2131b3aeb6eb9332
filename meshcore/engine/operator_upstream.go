package engine

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/formatter"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// upstreamOperators tell of the upstream: of the latest attempt, unless they say otherwise.
var upstreamOperators = map[string]operator{
	"UPSTREAM_CLUSTER":     text(observableCluster),
	"UPSTREAM_CLUSTER_RAW": text(func(x *Exchange) string { return x.Record.Cluster }),
	"UPSTREAM_HOST":        text(upstreamHost),
	// Hosts have no names of their own here: hostname is for TLS and health checks.
	"UPSTREAM_HOST_NAME": text(upstreamHost),
	"UPSTREAM_HOST_NAME_WITHOUT_PORT": text(func(x *Exchange) string {
		return withoutPort(upstreamHost(x))
	}),
	"UPSTREAM_PROTOCOL": text(func(x *Exchange) string {
		if x.hcm == nil || !x.log.conn.Local.IsValid() {
			return ""
		}
		return "HTTP/1.1"
	}),
	"UPSTREAM_REQUEST_ATTEMPT_COUNT": atEnd(count(func(x *Exchange) int64 {
		return int64(x.attempt)
	})),
	"UPSTREAM_CONNECTION_ID": count(func(x *Exchange) int64 {
		return int64(x.log.conn.ID)
	}),
	"UPSTREAM_LOCAL_ADDRESS":               address(upstreamLocal),
	"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":  host(upstreamLocal),
	"UPSTREAM_LOCAL_PORT":                  port(upstreamLocal),
	"UPSTREAM_REMOTE_ADDRESS":              address(upstreamRemote),
	"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": host(upstreamRemote),
	"UPSTREAM_REMOTE_PORT":                 port(upstreamRemote),
	"UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID": alone(
		func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
			if !upstreamRemote(x).IsValid() {
				return out, formatter.None
			}
			return out, formatter.Text
		}),
	"UPSTREAM_TRANSPORT_FAILURE_REASON": alone(
		func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
			return underscored(x.log.failure, out)
		}),
	"UPSTREAM_HOSTS_ATTEMPTED":                   atEnd(attempted((*reached).address)),
	"UPSTREAM_HOST_NAMES_ATTEMPTED":              atEnd(attempted((*reached).address)),
	"UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT":      atEnd(attempted((*reached).bare)),
	"UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT": atEnd(attempted((*reached).bare)),
	"UPSTREAM_CONNECTION_IDS_ATTEMPTED": atEnd(attempted(func(r *reached, out []byte) []byte {
		if r.connection == 0 {
			return out
		}
		return strconv.AppendUint(out, r.connection, 10)
	})),
}

// reached is an upstream that an attempt got a stream on.
type reached struct {
	host       string
	connection uint64
}

func (r *reached) address(out []byte) []byte { return append(out, r.host...) }
func (r *reached) bare(out []byte) []byte    { return append(out, withoutPort(r.host)...) }

// attempted lists the upstreams that were reached, in order.
func attempted(each func(r *reached, out []byte) []byte) operator {
	return alone(func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		n := len(out)
		for i := range x.log.reached {
			start := len(out)
			if len(out) > n {
				out = append(out, ',')
			}
			before := len(out)
			if out = each(&x.log.reached[i], out); len(out) == before {
				out = out[:start]
			}
		}
		if len(out) == n {
			return out, formatter.None
		}
		return out, formatter.Text
	})
}

// upstreamHost is the chosen host's address: in headers of responses the one that answered.
func upstreamHost(x *Exchange) string {
	switch {
	case x.log.ended:
		return x.Record.Upstream
	case x.answered != nil:
		return x.answered.host.Address
	}
	return ""
}

// withoutPort is http/header_utility.cc stripPortFromHost for addresses.
func withoutPort(at string) string {
	if i := strings.LastIndexByte(at, ':'); i >= 0 {
		return at[:i]
	}
	return at
}

// observableCluster is the cluster's alt_stat_name where it has one (stream_info_formatter.cc:
// observabilityName).
func observableCluster(x *Exchange) string {
	if c := clusterOf(x); c != nil && c.shown != "" {
		return c.shown
	}
	return x.Record.Cluster
}

// clusterOf is the cluster that the route leads to, also when the request did not come that far.
func clusterOf(x *Exchange) *Cluster {
	if x.cluster == nil && x.target != nil && x.Record.Cluster != "" {
		return x.target.cluster.Load()
	}
	return x.cluster
}

func upstreamLocal(x *Exchange) netip.AddrPort { return x.log.conn.Local }

// upstreamRemote is there only with a connection.
func upstreamRemote(x *Exchange) netip.AddrPort {
	if x.log.endpoint == nil || !x.log.conn.Local.IsValid() {
		return netip.AddrPort{}
	}
	return x.log.endpoint.Addr.AddrPort
}

// byteOperators count. HTTP/1.1 compresses no headers.
var byteOperators = map[string]operator{
	"BYTES_RECEIVED": atEnd(count(func(x *Exchange) int64 { return x.Record.BytesReceived })),
	"BYTES_SENT":     atEnd(count(func(x *Exchange) int64 { return x.Record.BytesSent })),
	// HTTP/3 only.
	"BYTES_RETRANSMITTED":   atEnd(count(func(*Exchange) int64 { return 0 })),
	"PACKETS_RETRANSMITTED": atEnd(count(func(*Exchange) int64 { return 0 })),

	"DOWNSTREAM_WIRE_BYTES_RECEIVED":   wireBytes(downstream, received),
	"DOWNSTREAM_WIRE_BYTES_SENT":       wireBytes(downstream, sent),
	"DOWNSTREAM_HEADER_BYTES_RECEIVED": wireBytes(downstream, headersReceived),
	"DOWNSTREAM_HEADER_BYTES_SENT":     wireBytes(downstream, headersSent),
	"UPSTREAM_WIRE_BYTES_RECEIVED":     wireBytes(upstream, received),
	"UPSTREAM_WIRE_BYTES_SENT":         wireBytes(upstream, sent),
	"UPSTREAM_HEADER_BYTES_RECEIVED":   wireBytes(upstream, headersReceived),
	"UPSTREAM_HEADER_BYTES_SENT":       wireBytes(upstream, headersSent),

	"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": wireBytes(downstream, decompressed),
	"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT":     wireBytes(downstream, headersSent),
	"UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED":   wireBytes(upstream, decompressed),
	"UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT":       wireBytes(upstream, headersSent),
}

func wireBytes(side func(*Exchange) *wire.Traffic, of func(*wire.Traffic) int64) operator {
	return atEnd(count(func(x *Exchange) int64 { return of(side(x)) }))
}

func downstream(x *Exchange) *wire.Traffic { return &x.Downstream }
func upstream(x *Exchange) *wire.Traffic   { return &x.Upstream }

func received(w *wire.Traffic) int64        { return w.Received }
func sent(w *wire.Traffic) int64            { return w.Sent }
func headersReceived(w *wire.Traffic) int64 { return w.HeadersReceived }
func headersSent(w *wire.Traffic) int64     { return w.HeadersSent }
func decompressed(w *wire.Traffic) int64    { return w.Decompressed }

// metadataOperators tell the metadata of what the request met. Nothing that is carried out writes
// filter state.
var metadataOperators = map[string]operator{
	"METADATA":         {syntax: formatter.Optional | formatter.Length, make: metadataOfType},
	"DYNAMIC_METADATA": {syntax: headerSyntax, make: metadataOf(dynamicOf)},
	"CLUSTER_METADATA": {syntax: formatter.Requires,
		make: metadataOf(static(clusterMetadata))},
	"UPSTREAM_METADATA":     {syntax: formatter.Requires, make: metadataOf(static(hostMetadata))},
	"FILTER_STATE":          {syntax: formatter.Optional | formatter.Length, make: filterState},
	"UPSTREAM_FILTER_STATE": {syntax: formatter.Optional | formatter.Length, make: filterState},
}

// metadataSource returns one namespace of some metadata.
type metadataSource func(x *Exchange, namespace string) *structpb.Struct

func dynamicOf(x *Exchange, namespace string) *structpb.Struct {
	return x.dynamic.fields(namespace)
}

// static is the metadata of a part of the configuration.
func static(of func(*Exchange) *corev3.Metadata) metadataSource {
	return func(x *Exchange, namespace string) *structpb.Struct {
		return of(x).GetFilterMetadata()[namespace]
	}
}

func clusterMetadata(x *Exchange) *corev3.Metadata {
	if c := clusterOf(x); c != nil {
		return c.metadata
	}
	return nil
}

func hostMetadata(x *Exchange) *corev3.Metadata {
	if x.log.endpoint == nil {
		return nil
	}
	return x.log.endpoint.metadata.Load()
}

// metadataTypes are the TYPEs of METADATA (source/common/formatter/metadata_formatter.cc).
var metadataTypes = map[string]metadataSource{
	"DYNAMIC": dynamicOf, "CLUSTER": static(clusterMetadata), "UPSTREAM_HOST": static(hostMetadata),
	"ROUTE": static(func(x *Exchange) *corev3.Metadata {
		if x.route == nil {
			return nil
		}
		return x.route.metadata
	}),
	"VIRTUAL_HOST": static(func(x *Exchange) *corev3.Metadata {
		if x.log.vhost == nil {
			return nil
		}
		return x.log.vhost.metadata
	}),
	"LISTENER": static(func(x *Exchange) *corev3.Metadata { return x.listener.metadata }),
	"LISTENER_FILTER_CHAIN": static(func(x *Exchange) *corev3.Metadata {
		if x.chain == nil {
			return nil
		}
		return x.chain.metadata
	}),
}

func metadataOfType(c formatter.Command) (eval, error) {
	kind, path, _ := strings.Cut(c.Arg, ":")
	of, ok := metadataTypes[kind]
	if !ok {
		return nil, formatter.Refusal(kind + " is not supported type of metadata")
	}
	return metadataOf(of)(formatter.Command{Name: c.Name, Arg: path, Max: c.Max})
}

// metadataOf is NAMESPACE:KEY*:Z: strings as they are, all else as JSON
// (stream_info_formatter.cc MetadataFormatter).
func metadataOf(of metadataSource) func(formatter.Command) (eval, error) {
	return func(c formatter.Command) (eval, error) {
		path := strings.Split(c.Arg, ":")
		return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
			s := of(x, path[0])
			if s == nil {
				return out, formatter.None
			}
			n := len(out)
			if len(path) == 1 {
				return formatter.AppendStruct(out, s), formatter.JSON
			}
			v := structpb.NewStructValue(s)
			for _, key := range path[1:] {
				v = v.GetStructValue().GetFields()[key]
			}
			switch k := v.GetKind().(type) {
			case nil, *structpb.Value_NullValue:
				return out, formatter.None
			case *structpb.Value_StringValue:
				return formatter.Truncate(append(out, k.StringValue...), n, c.Max), formatter.Text
			}
			return formatter.AppendValue(out, v), formatter.JSON
		}, nil
	}
}

// filterState is FILTER_STATE(KEY:HOW:FIELD):Z (FilterStateFormatter::create). What filters would
// write that are left out here is refused.
func filterState(c formatter.Command) (eval, error) {
	part := strings.Split(c.Arg+"::", ":")
	key, how, field := part[0], part[1], part[2]
	switch {
	case key == "":
		return nil, formatter.Refusal("Invalid filter state configuration, key cannot be empty.")
	case how != "" && how != "PLAIN" && how != "TYPED" && how != "FIELD":
		return nil, formatter.Refusal(
			"Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.")
	case (how == "FIELD") != (field != ""):
		return nil, formatter.Refusal(
			"Invalid filter state serialize type, FIELD should be used with the field name.")
	}
	for _, p := range []string{"envoy.", "wasm.", "io.istio.", "istio.", "upstream_peer",
		"downstream_peer"} {
		if strings.HasPrefix(key, p) {
			return nil, fmt.Errorf("command operator %%%s(%s)%% %s: the filters that write it are "+
				"left out", c.Name, key, notCarried)
		}
	}
	return nothing, nil
}

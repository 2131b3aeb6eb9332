package als

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// batch is a message of n requests with one attempt each, with all that Envoy says of them.
func batch(tb testing.TB, n int) []byte {
	at := func(ip string, port uint32) *corev3.Address {
		return &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: ip,
				PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}}}
	}
	var list []*datav3.HTTPAccessLogEntry
	for i := range n {
		id := fmt.Sprintf("c1885fc1-7990-4b12-adb3-%012d", i)
		e := entry{id: id, path: "/recommendation", connection: 1 + i%8, start: i, takes: 1, attempts: 1,
			status: 200}
		up := e
		up.up = true
		for _, e := range []entry{up, e} {
			e := e.proto()
			c := e.CommonProperties
			c.DownstreamRemoteAddress, c.DownstreamDirectRemoteAddress = at("10.244.0.1", 40000), at("127.0.0.1", 40000)
			c.DownstreamLocalAddress, c.UpstreamRemoteAddress = at("10.96.0.1", 80), at("10.244.0.7", 8080)
			c.UpstreamLocalAddress = at("10.244.0.1", 41000)
			c.UpstreamCluster = "outbound|80||recommendation.default.svc.cluster.local"
			c.RouteName = "default"
			c.TimeToFirstUpstreamRxByte = durationpb.New(time.Millisecond)
			c.TimeToLastRxByte = durationpb.New(time.Millisecond)
			c.TimeToFirstUpstreamTxByte = durationpb.New(time.Millisecond)
			c.TimeToLastUpstreamTxByte = durationpb.New(time.Millisecond)
			c.TimeToLastUpstreamRxByte = durationpb.New(time.Millisecond)
			c.TimeToFirstDownstreamTxByte = durationpb.New(time.Millisecond)
			c.TimeToLastDownstreamTxByte = durationpb.New(time.Millisecond)
			c.StreamId = id
			c.DownstreamWireBytesSent, c.DownstreamWireBytesReceived = 149, 149
			t, _ := tagOf(c)
			t[tagConfig] = "/apis/networking.istio.io/v1/namespaces/default/virtual-service/recommendation"
			t[tagCluster], t[tagWorkload] = c.UpstreamCluster, "recommendation-v1;default;recommendation;v1;K"
			if c.AccessLogType == datav3.AccessLogType_DownstreamEnd {
				t[tagRest] = id + "\n/recommendation\nrecommendation:8080\nfortio\n"
			}
			c.CustomTags = map[string]string{namespace: strings.Join(t[:], "\n")}
			e.Request.Authority, e.Request.UserAgent = "recommendation:8080", "fortio"
			e.Response.ResponseCodeDetails = "via_upstream"
			list = append(list, e)
		}
	}
	m := message()
	m.GetHttpLogs().LogEntry = list
	data, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

type nowhere struct{ n int }

func (s *nowhere) Record(r *observe.Request) { s.n++ }

// BenchmarkRecord is the cost of a request's record: two entries, received as bytes.
func BenchmarkRecord(b *testing.B) {
	const n = 50
	data := batch(b, n)
	var sink nowhere
	node := New(Options{Clock: &manual{}, Sink: &sink}).node("a")
	m := new(alsv3.StreamAccessLogsMessage)
	b.ReportAllocs()
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; i < b.N; i += n {
			if err := proto.Unmarshal(data, m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; i < b.N; i += n {
			if err := proto.Unmarshal(data, m); err != nil {
				b.Fatal(err)
			}
			node.take(m)
		}
	})
	if sink.n == 0 || node.held > 0 || len(node.waiting) > 0 {
		b.Errorf("%d records, %d held, %d wait", sink.n, node.held, len(node.waiting))
	}
}

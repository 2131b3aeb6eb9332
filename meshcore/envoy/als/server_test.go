package als

import (
	"io"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// stream is a proxy that reports some messages.
type stream struct {
	grpc.ServerStream
	messages []*alsv3.StreamAccessLogsMessage
}

func (s *stream) RecvMsg(m any) error {
	if len(s.messages) == 0 {
		return io.EOF
	}
	proto.Reset(m.(proto.Message))
	proto.Merge(m.(proto.Message), s.messages[0])
	s.messages = s.messages[1:]
	return nil
}

func (s *stream) Recv() (*alsv3.StreamAccessLogsMessage, error) { return nil, io.EOF }

func (s *stream) SendAndClose(*alsv3.StreamAccessLogsResponse) error { return nil }

// TestStream: a proxy says once who it is; strangers, and those who do not say it, are refused.
func TestStream(t *testing.T) {
	identifier := func(id string) *alsv3.StreamAccessLogsMessage {
		m := message(entry{status: 404})
		m.Identifier = &alsv3.StreamAccessLogsMessage_Identifier{Node: &corev3.Node{Id: id}}
		return m
	}
	var got texts
	s := New(Options{Clock: &manual{}, Sink: &got, Node: func(id string) (Proxy, bool) {
		return Proxy{Name: "name of " + id}, id == "a"
	}})
	for _, c := range []struct {
		messages []*alsv3.StreamAccessLogsMessage
		code     codes.Code
	}{
		{[]*alsv3.StreamAccessLogsMessage{identifier("a"), message(entry{status: 503})}, codes.OK},
		{[]*alsv3.StreamAccessLogsMessage{identifier("b")}, codes.NotFound},
		{[]*alsv3.StreamAccessLogsMessage{message(entry{})}, codes.InvalidArgument},
	} {
		if err := s.StreamAccessLogs(&stream{messages: c.messages}); status.Code(err) != c.code {
			t.Errorf("%v, want %s", err, c.code)
		}
	}
	if s.Received("name of a") != 2 || len(got) != 2 {
		t.Errorf("received %d: %q", s.Received("name of a"), got)
	}
}

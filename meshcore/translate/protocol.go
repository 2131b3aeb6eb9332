package translate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// protocol is what a port carries, as its name or appProtocol declares it. Istio
// pkg/config/protocol/instance.go.
type protocol int

// The protocols. Any other declaration, and none, is protoDetect: the proxy looks at the first
// bytes.
const (
	protoDetect protocol = iota
	protoTCP
	protoTLS
	protoHTTPS
	protoMongo
	protoMySQL
	protoRedis
	protoHTTP
	protoHTTPProxy
	protoHTTP2
	protoGRPC
	protoGRPCWeb
	protoUDP
)

var protocols = map[string]protocol{
	"tcp": protoTCP, "udp": protoUDP, "tls": protoTLS, "https": protoHTTPS,
	"http": protoHTTP, "http_proxy": protoHTTPProxy, "http2": protoHTTP2,
	"grpc": protoGRPC, "grpc-web": protoGRPCWeb,
	"mongo": protoMongo, "mysql": protoMySQL, "redis": protoRedis,
}

func parseProtocol(s string) protocol { return protocols[strings.ToLower(s)] }

// isHTTP: declared to be HTTP of some kind.
func (p protocol) isHTTP() bool {
	return p == protoHTTP || p == protoHTTPProxy || p.isHTTP2()
}

// isHTTP2: declared to be HTTP/2 from the first byte.
func (p protocol) isHTTP2() bool { return p == protoHTTP2 || p == protoGRPC || p == protoGRPCWeb }

// isTLS: declared to be TLS, with HTTP in it or not.
func (p protocol) isTLS() bool { return p == protoTLS || p == protoHTTPS }

// maybeHTTP: HTTP, or found to be HTTP by looking.
func (p protocol) maybeHTTP() bool { return p.isHTTP() || p == protoDetect }

// portProtocol reads the declaration of a Service's port: appProtocol wins over the name's prefix;
// and an undeclared port with a well-known server-first protocol is TCP, since looking would wait
// for ever. Istio pkg/config/kube/conversion.go ConvertProtocol.
func portProtocol(p *corev1.ServicePort) protocol {
	if p.Protocol == corev1.ProtocolUDP {
		return protoUDP
	}
	name := p.Name
	if p.AppProtocol != nil {
		switch *p.AppProtocol {
		case "kubernetes.io/h2c":
			return protoHTTP2
		case "kubernetes.io/ws":
			return protoHTTP
		case "kubernetes.io/wss":
			return protoHTTPS
		}
		name = *p.AppProtocol
	}
	if len(name) >= len("grpc-web") && strings.EqualFold(name[:len("grpc-web")], "grpc-web") {
		return protoGRPCWeb
	}
	name, _, _ = strings.Cut(name, "-")
	if proto, ok := protocols[strings.ToLower(name)]; ok {
		return proto
	}
	switch p.Port {
	case 25, 53, 3306, 27017: // SMTP, DNS, MySQL, MongoDB
		return protoTCP
	}
	return protoDetect
}

// SpeaksHTTP says whether a sidecar looks for requests of HTTP/1.1 at a Service's port: it is
// declared so, or nothing is declared.
func SpeaksHTTP(p *corev1.ServicePort) bool {
	switch portProtocol(p) {
	case protoHTTP, protoDetect:
		return true
	}
	return false
}

// Package topology is the one seam between the runner and the world: a Driver brings a mesh up, a
// Mesh is changed, asked and taken down. What only some topologies can do is a small interface of
// its own, asked for by type assertion.
package topology

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// ErrEnvoy is why real Envoys can not be started, have died or do not report: the environment's
// fault, not the input's.
var ErrEnvoy = errors.New("the real Envoy")

// Driver brings meshes up.
type Driver interface {
	Up(ctx context.Context, s Spec) (Mesh, error)
}

// Spec says what to bring up.
type Spec struct {
	Config       *istio.Config
	Seed         uint64
	UnknownImage string // app to run for images that are not known; empty: refuse them
	Log          *slog.Logger
	KeepHeaders  []string // request headers to keep in records, lower-case
	// AccessLog takes the lines that proxies write to /dev/stdout, /dev/stderr or a file, as
	// meshConfig says; pod is POD.NAMESPACE. line is borrowed, and it is called from many
	// goroutines. nil: they are lost.
	AccessLog func(pod string, line []byte)
	// OwnLog hears of services of the user's own.
	OwnLog OwnLog
	// FixedPorts publishes gateways on their own port numbers where these are free, so that a
	// person finds them there; otherwise any free port will do.
	FixedPorts bool
	// Exact has each proxy enumerate what it would draw: weights, faults and mirrors come out to
	// the request.
	Exact bool
	// CertificateTTL is how long the certificates of workloads are valid; they are renewed when
	// half of it is over. 0: Istio's 24 hours.
	CertificateTTL time.Duration
}

// OwnLog takes what services of the user's own write, line by line, and what the lab says of them,
// in lines that begin with "mesh-lab: ".
type OwnLog struct {
	// Take gets a line, borrowed and without its end; from is POD.NAMESPACE/CONTAINER. It is called
	// from many goroutines. nil: nobody hears anything.
	Take func(from string, line []byte)
	// All has everything that they write taken; otherwise the last lines of one that has crashed.
	All bool
}

// OwnService is a pod whose service is the user's own.
type OwnService struct {
	Pod       string // POD.NAMESPACE
	What      string // the command line, or the addresses
	Forward   bool   // it runs elsewhere already
	Ports     []OwnPort
	Proxy     string // HOST:PORT of its HTTP proxy
	Upstreams []OwnUpstream
	Problem   error // why it is not ready; nil: it is
}

// OwnPort is where a port of the pod really is: Address is empty where nothing runs.
type OwnPort struct {
	Port    int
	Address string
}

// OwnUpstream is a local port that leads from a service to an upstream.
type OwnUpstream struct {
	Address string // as the service would write it in a cluster: reviews:9080
	Local   string // http://127.0.0.1:PORT, or 127.0.0.1:PORT where not HTTP is spoken
}

// Mesh is a running mesh. Its methods are safe for concurrent use.
type Mesh interface {
	Clock() clock.Clock
	// Apply makes c the configuration and returns when every proxy has ACKed it, or with the first
	// NACK. Pods appear and vanish with it.
	Apply(ctx context.Context, c *istio.Config) (Applied, error)
	Config() *istio.Config
	Registry() *translate.Registry
	// Dial opens a connection as the workload's app would: through its sidecar, to a name or
	// address and port as the app writes them. From is a pod ID, or Outside.
	Dial(ctx context.Context, from, address string) (net.Conn, error)
	// Capture returns a local socket address ("unix" or "tcp") whose connections are from's
	// connections to address, captured by its sidecar; for load generators that dial by themselves.
	// release closes it.
	Capture(from, address string) (network, addr string, release func(), err error)
	Gateways() []GatewayAddress
	Proxies() []ProxyStatus
	Snapshot(node string) (*xds.Snapshot, error)
	// Recorder collects records; Settle waits until every exchange that has ended is in it.
	Recorder() *observe.Recorder
	Settle(ctx context.Context) error
	Close(ctx context.Context) error
}

// Outside is the From of a client that is not in the mesh; its address is OutsideAddr.
const Outside = "outside"

// OutsideAddr is the address that a client from outside is seen with.
var OutsideAddr = netip.MustParseAddr("203.0.113.50")

// Applied says how a configuration arrived.
type Applied struct {
	Proxies  int // that were changed and have ACKed
	Total    int
	Took     time.Duration
	Warnings []istio.Diagnostic // of the translation of all that is configured
	// Withheld are the proxies that a fault of the control plane keeps it from, POD.NAMESPACE.
	Withheld []string
}

// GatewayAddress is where a gateway listens for the user's own clients.
type GatewayAddress struct {
	Gateway string // POD.NAMESPACE
	Port    int    // the Service's port
	Address string // 127.0.0.1:PORT
}

// ProxyStatus is what one proxy was given and what it ACKed, by type (CDS, EDS, LDS, RDS).
type ProxyStatus struct {
	Node  string
	Types map[string]TypeStatus
}

// TypeStatus is the state of one resource type at one proxy.
type TypeStatus struct {
	Sent, Acked string // versions
	Nack        string // last refusal, empty when the last version was accepted
}

// Exactness is what a mesh enumerates instead of drawing it.
type Exactness struct {
	Enumerated []string // what is enumerated, and by which header a request may ask for a draw
	Random     []string // what stays random, beside the choice of a pod
	Altered    []string // what was changed in the configuration of the proxies for it
}

// Optional powers, asked for by type assertion.
type (
	// Killer stops and starts pods.
	Killer interface {
		Kill(ctx context.Context, pod string) error
		Restart(ctx context.Context, pod string) error
	}
	// Executor sends a request to a pod's own app on localhost, as kubectl exec ... curl would.
	Executor interface {
		Exec(ctx context.Context, pod string, r *http.Request) (*http.Response, error)
	}
	// Exact tells what a mesh does that was asked to be exact.
	Exact interface {
		Exactness() Exactness
	}
	// Rotator issues the certificates of all workloads anew and returns when every proxy has ACKed
	// its own; proxies is how many did.
	Rotator interface {
		RotateCertificates(ctx context.Context) (proxies int, err error)
	}
	// Issuer makes client certificates of the mesh's authority for who calls from outside, valid
	// for as long as a workload's.
	Issuer interface {
		Issue(namespace, serviceAccount string) (tls.Certificate, error)
	}
	// Owner tells of the services of the user's own.
	Owner interface {
		OwnServices() []OwnService
	}
	// ControlPlane takes the control plane away and back.
	ControlPlane interface {
		StopControlPlane(ctx context.Context) error
		StartControlPlane(ctx context.Context) error
	}
)

// Explainer is the optional power to say what proxies carry out, and what they decide.
type Explainer interface {
	// Carried is what the data plane of a node carries out, with logical addresses: its Snapshot,
	// in the words of any Envoy.
	Carried(node string) (*xds.Snapshot, error)
	// Carrying has f called each time that proxies have changed to something else, until stop is:
	// from is when they began to. f must not change the mesh, which waits for it.
	Carrying(f func(from clock.Instant)) (stop func())
	// Trace has f get what proxies decide from now on, until stop is called. f is called from many
	// goroutines. Real Envoys tell nothing.
	Trace(f func(*trace.Trace)) (stop func())
}

package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/lab/chaos"
	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Server answers for one mesh.
type Server struct {
	mesh topology.Mesh
	info Info
	http http.Server
	down func() // asks the lab's owner to end it

	ended context.Context // interrupts the calls under way
	end   context.CancelFunc

	chaos   *chaos.Ledger // what is broken
	looking atomic.Bool   // watchFaults is under way

	change sync.Mutex // one change of the configuration at a time

	mu    sync.Mutex
	loads map[string]func() // ends a load early, by its ID
	gone  []net.Conn        // of clients that wait for the end
}

// NewServer returns a server for a mesh. down is called when a client asks the lab to end; nil when
// it can not.
func NewServer(m topology.Mesh, info Info, down func()) *Server {
	seed, _ := strconv.ParseUint(info.Seed, 16, 64) // 0 will do
	s := &Server{
		mesh: m, info: info, down: down, loads: map[string]func(){},
		chaos: chaos.New(chaos.BreakerOf(m), m.Clock(), m.Recorder(), seed),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /info", s.handleInfo)
	mux.HandleFunc("POST /apply", s.handleApply)
	mux.HandleFunc("POST /delete", s.handleDelete)
	mux.HandleFunc("GET /objects", s.handleObjects)
	mux.HandleFunc("GET /proxies", s.handleProxies)
	mux.HandleFunc("GET /snapshot", s.handleSnapshot)
	mux.HandleFunc("POST /request", s.handleRequest)
	mux.HandleFunc("POST /why", s.handleWhy)
	mux.HandleFunc("GET /graph", s.handleGraph)
	mux.HandleFunc("POST /load", s.handleLoad)
	mux.HandleFunc("GET /watch", s.handleWatch)
	mux.HandleFunc("POST /break", s.handleBreak)
	mux.HandleFunc("POST /heal", s.handleHeal)
	mux.HandleFunc("GET /faults", s.handleFaults)
	mux.HandleFunc("POST /stop", s.handleStop)
	mux.HandleFunc("POST /down", s.handleDown)
	s.ended, s.end = context.WithCancel(context.Background())
	s.http = http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return s.ended },
	}
	return s
}

// Serve answers on a listener until Close.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close stops answering.
func (s *Server) Close() error {
	s.end()
	return s.http.Close()
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("content-type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the client went away
}

func refuse(w http.ResponseWriter, err error, invalid bool) {
	w.Header().Set("content-type", "application/json")
	w.WriteHeader(http.StatusUnprocessableEntity)
	json.NewEncoder(w).Encode(problem{err.Error(), invalid}) //nolint:errcheck // as above
}

// decode reads a call's body.
func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		refuse(w, err, true)
		return false
	}
	return true
}

func (s *Server) handleInfo(w http.ResponseWriter, _ *http.Request) {
	i := s.info
	for _, p := range s.mesh.Registry().Pods {
		if !slices.Contains(i.Workloads, p.Workload) {
			i.Workloads = append(i.Workloads, p.Workload)
		}
	}
	i.Proxies, i.Gateways = len(s.mesh.Proxies()), s.mesh.Gateways()
	answer(w, i)
}

func (s *Server) handleApply(w http.ResponseWriter, r *http.Request) {
	s.become(w, r, "configured", istio.Merge)
}

func (s *Server) handleDelete(w http.ResponseWriter, r *http.Request) {
	s.become(w, r, "deleted", istio.Remove)
}

// become reads files, merges them into the configuration, and applies the outcome.
func (s *Server) become(
	w http.ResponseWriter, r *http.Request, verb string,
	merge func(base, add *istio.Config) *istio.Config,
) {
	var c change
	if !decode(w, r, &c) {
		return
	}
	in := make([]istio.File, 0, len(c.Files))
	for _, f := range c.Files {
		in = append(in, istio.File{Name: f.Name, Data: f.Data})
	}
	add, diags := istio.Read(in, istio.ReadOptions{
		Base: s.mesh.Config(), Namespace: c.Namespace,
	})
	var out Applied
	var problems []string
	for _, d := range diags {
		if d.Severity == istio.Error {
			problems = append(problems, d.String())
		} else if verb == "configured" {
			out.Warnings = append(out.Warnings, d.String())
		}
	}
	if len(problems) > 0 {
		refuse(w, errors.New(strings.Join(problems, "\n")), true)
		return
	}
	s.change.Lock()
	defer s.change.Unlock()
	base := s.mesh.Config()
	if verb == "deleted" {
		if err := known(base, add); err != nil {
			refuse(w, err, true)
			return
		}
	}
	began := s.mesh.Clock().Now()
	a, err := s.mesh.Apply(r.Context(), merge(base, add))
	if err != nil {
		refuse(w, err, !errors.Is(err, topology.ErrEnvoy))
		return
	}
	out.Proxies, out.Total, out.Took = a.Proxies, a.Total, a.Took
	if verb == "configured" {
		out.warn(add, istio.CrossCheck(s.mesh.Config()), a.Warnings)
	}
	for _, o := range add.Objects {
		v := verb
		if verb == "configured" && !has(base, o) {
			v = "created"
		}
		out.Objects = append(out.Objects,
			fmt.Sprintf("%s/%s %s", Resource(o.APIVersion, o.Kind), o.Name, v))
	}
	kind := map[string]string{"configured": "apply", "deleted": "delete"}[verb]
	for _, o := range add.Objects {
		s.mesh.Recorder().Change(observe.Change{At: began, Kind: kind, What: o.Ref()})
	}
	answer(w, out)
}

// warn adds what there is to say about what was applied, each once. Some of it is found by two
// checks, and the first says it better.
func (a *Applied) warn(add *istio.Config, checks ...[]istio.Diagnostic) {
	type field struct {
		place istio.Place
		name  string
	}
	applied := map[string]bool{}
	for _, o := range add.Objects {
		applied[o.Ref()] = true
	}
	said := map[field]bool{}
	for _, d := range slices.Concat(checks...) {
		at := field{d.Place, d.Field}
		if said[at] || d.Severity == istio.Error || !applied[d.Object] {
			continue
		}
		said[at] = true
		a.Warnings = append(a.Warnings, d.String())
	}
}

// Resource is how kubectl names an object's resource: virtualservice.networking.istio.io.
func Resource(apiVersion, kind string) string {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return strings.ToLower(kind)
	}
	return strings.ToLower(kind) + "." + group
}

func has(c *istio.Config, o *istio.Object) bool {
	return slices.ContainsFunc(c.Objects, func(x *istio.Object) bool {
		return x.Kind == o.Kind && x.Namespace == o.Namespace && x.Name == o.Name
	})
}

// known refuses to delete what is not there.
func known(base, del *istio.Config) error {
	var errs []error
	for _, o := range del.Objects {
		if !has(base, o) {
			errs = append(errs, fmt.Errorf("%s is not in the lab", o.Ref()))
		}
	}
	return errors.Join(errs...)
}

func (s *Server) handleProxies(w http.ResponseWriter, _ *http.Request) {
	answer(w, s.mesh.Proxies())
}

func (s *Server) handleSnapshot(w http.ResponseWriter, r *http.Request) {
	p, err := request.Pod(s.mesh.Registry(), r.URL.Query().Get("workload"))
	if err != nil {
		refuse(w, err, true)
		return
	}
	snap, err := s.mesh.Snapshot(p.ID())
	if err != nil {
		refuse(w, err, true)
		return
	}
	out, err := snapshotJSON(snap)
	if err != nil {
		refuse(w, err, false)
		return
	}
	answer(w, out)
}

// snapshotJSON writes a snapshot's resources, sorted by name and without private keys.
func snapshotJSON(s *xds.Snapshot) (map[string][]json.RawMessage, error) {
	out := map[string][]json.RawMessage{}
	for kind, all := range map[string][]proto.Message{
		"listeners": sorted(s.Listeners), "routes": sorted(s.Routes),
		"clusters": sorted(s.Clusters), "endpoints": sorted(s.Endpoints),
		"secrets": sorted(withWarming(s)),
	} {
		out[kind] = []json.RawMessage{}
		for _, m := range all {
			b, err := protojson.Marshal(xds.Redact(m))
			if err != nil {
				return nil, err
			}
			out[kind] = append(out[kind], b)
		}
	}
	return out, nil
}

// withWarming returns the secrets of a snapshot and, with nothing but their names, those that it
// asks for in vain: Envoy's dump shows them so.
func withWarming(s *xds.Snapshot) map[string]*tlsv3.Secret {
	out := maps.Clone(s.Secrets)
	for _, m := range append(sorted(s.Clusters), sorted(s.Listeners)...) {
		for _, socket := range xds.TransportSockets(m) {
			_, common, err := xds.TLSContext(socket)
			if err != nil {
				continue // no proxy would have taken it
			}
			for _, c := range xds.SecretConfigs(common) {
				if out[c.GetName()] == nil {
					out[c.GetName()] = &tlsv3.Secret{Name: c.GetName()}
				}
			}
		}
	}
	return out
}

func sorted[M proto.Message](m map[string]M) []proto.Message {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	out := make([]proto.Message, 0, len(m))
	for _, n := range names {
		out = append(out, m[n])
	}
	return out
}

func (s *Server) handleRequest(w http.ResponseWriter, r *http.Request) {
	var spec request.Spec
	if !decode(w, r, &spec) {
		return
	}
	f, _ := w.(http.Flusher)
	enc := json.NewEncoder(w)
	began := false
	err := request.Send(r.Context(), s.mesh, spec, func(res request.Result) error {
		began = true
		if err := enc.Encode(res); err != nil {
			return err
		}
		if f != nil {
			f.Flush()
		}
		return nil
	})
	switch {
	case err == nil:
	case !began:
		refuse(w, err, !errors.Is(err, topology.ErrEnvoy))
	default:
		_ = enc.Encode(map[string]string{"problem": err.Error()}) // fails when the client went away
	}
}

// handleDown asks the owner to end the lab. The answer ends when it has: with Gone, or with the
// process.
func (s *Server) handleDown(w http.ResponseWriter, _ *http.Request) {
	if s.down == nil {
		refuse(w, errors.New("this lab ends with its command"), true)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, err, false)
		return
	}
	//nolint:errcheck // the client may have gone away
	io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
	s.mu.Lock()
	s.gone = append(s.gone, conn)
	s.mu.Unlock()
	s.down()
}

// Gone tells those who asked for the end of the lab that nothing is left of it.
func (s *Server) Gone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.gone {
		c.Close()
	}
	s.gone = nil
}

// shutdown is how long a server waits for calls under way.
const shutdown = 5 * time.Second

// Shutdown interrupts the calls under way, lets them answer with what they have, and then stops
// answering.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end()
	ctx, cancel := context.WithTimeout(ctx, shutdown)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

package plane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"google.golang.org/grpc"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// answer is what a Set came to.
type answer struct {
	Result control.Result     `json:"result"`
	Nack   *control.NackError `json:"nack,omitempty"`
	Error  string             `json:"error,omitempty"`
}

// Server is the control plane's process.
type Server struct {
	clock  *clock.Real
	server *control.Server
	token  string

	mu     sync.Mutex
	kept   []observe.Push            // that nobody has been told of
	listen chan struct{}             // closed with the next push
	bad    map[int]*control.Troubled // by the lab's number
}

// New returns one that has nothing to give yet. Who knows the token may tell it.
func New(token string) *Server {
	s := &Server{clock: clock.NewReal(), token: token, listen: make(chan struct{}),
		bad: map[int]*control.Troubled{}}
	s.server = control.New(control.Options{Clock: s.clock, Sink: s})
	return s
}

// Push keeps a record until the lab has it.
func (s *Server) Push(p observe.Push) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, p)
	close(s.listen)
	s.listen = make(chan struct{})
}

// Serve serves ADS and the lab until ctx ends.
func (s *Server) Serve(ctx context.Context, ads, lab net.Listener) error {
	g := grpc.NewServer(control.GRPCOptions()...)
	s.server.Register(g)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /set", s.set)
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("GET /now", s.now)
	mux.HandleFunc("GET /pushes", s.pushes)
	mux.HandleFunc("POST /trouble/{verb}", s.troubles)
	h := &http.Server{Handler: s.known(mux)}
	failed := make(chan error, 2)
	go func() { failed <- g.Serve(ads) }()
	go func() { failed <- h.Serve(lab) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	g.Stop()
	h.Close()
	return err
}

// known refuses who does not know the token.
func (s *Server) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+s.token {
			http.Error(w, "the lab's own", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// set gives proxies their snapshots, as long as the lab waits for the answer.
func (s *Server) set(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return // the lab has gone
	}
	var a answer
	snaps, err := decode(text)
	if err == nil {
		var aside []control.Option
		if names := r.URL.Query().Get("aside"); names != "" {
			aside = append(aside, control.Aside(strings.Split(names, ",")...))
		}
		a.Result, err = s.server.Set(r.Context(), snaps, aside...)
	}
	if err != nil && !errors.As(err, &a.Nack) {
		a.Error = err.Error()
	}
	tell(w, a)
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) { tell(w, s.server.Status()) }

func (s *Server) now(w http.ResponseWriter, _ *http.Request) { tell(w, s.clock.Now()) }

// pushes tells of pushes as they are answered, one a line, until the lab hangs up.
func (s *Server) pushes(w http.ResponseWriter, r *http.Request) {
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	for {
		s.mu.Lock()
		kept, next := s.kept, s.listen
		s.kept = nil
		s.mu.Unlock()
		for _, p := range kept {
			if out.Encode(p) != nil {
				return
			}
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case <-next:
		case <-r.Context().Done():
			return
		}
	}
}

func tell(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(what); err != nil {
		panic(fmt.Sprintf("plane: %v", err)) // of plain values; or the lab has gone, which ends it
	}
}

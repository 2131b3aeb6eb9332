package own

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Options are what a service is given.
type Options struct {
	Spec  *Spec
	Clock clock.Clock // of the restarts
	Log   *slog.Logger
	// Env returns the environment of a command that is about to start.
	Env func() []string
	// Line takes what a command writes. nil: only the end of what one that crashed has written is
	// told, by Say.
	Line func(line []byte)
	// Say takes what is to be said of the service. nil: nobody hears it.
	Say func(line []byte)
	// Open is told whether something listens; it must not wait.
	Open func(bool)
	// Ready is told whether the service is ready, and returns when all that depends on it is so.
	Ready func(ctx context.Context, ready bool) error
}

// Service is a running service of the user's own.
type Service struct {
	o      Options
	prober *http.Client
	ctx    context.Context // ends with Stop
	end    context.CancelFunc
	begin  sync.Once
	done   chan struct{}

	// Settled is closed when the service is ready for the first time, or is known not to be: a
	// command has crashed, or nothing answers at the address of a forward.
	Settled <-chan struct{}
	settle  func()

	told bool // what Ready has been told last; of the one who asks

	mu      sync.Mutex
	ports   map[uint16]uint16 // where a command listens, by the container's ports
	out     *output
	problem error
	group   *group          // of the command, while it runs
	stopped bool            // it is to be stopped
	stopBy  context.Context // once it is being stopped: until when in order
}

// New prepares a service. The error is the environment's: the program or its folder is not there.
func New(o Options) (*Service, error) {
	if o.Spec.Command != "" {
		if _, err := o.Spec.Find(); err != nil {
			return nil, err
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	settled := make(chan struct{})
	s := &Service{
		o: o, done: make(chan struct{}), Settled: settled,
		settle:  sync.OnceFunc(func() { close(settled) }),
		problem: errors.New("it is starting"),
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.prober = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: &http.Transport{
			DisableKeepAlives: true,
			//nolint:gosec // a probe trusts whatever is there (pkg/probe/http/http.go)
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return s.Dial(ctx, s.probed())
			},
		},
	}
	return s, nil
}

// Start starts the command, and the probes. It may be called again.
func (s *Service) Start() {
	s.begin.Do(func() {
		go func() {
			defer close(s.done)
			if s.o.Spec.Command != "" {
				s.keepRunning()
			} else {
				s.watch(s.ctx)
			}
		}()
	})
}

// Stop ends the command: with SIGTERM, and with SIGKILL when it has not ended with ctx.
func (s *Service) Stop(ctx context.Context) {
	s.begin.Do(func() { close(s.done) }) // it never began
	s.mu.Lock()
	if s.stopBy == nil {
		s.stopBy = ctx
	}
	s.mu.Unlock()
	s.end()
	<-s.done
	s.prober.CloseIdleConnections()
}

// Stopped has the processes of a command stop (SIGSTOP) or go on, those of its next start too. It
// does not outlive us all the same.
func (s *Service) Stopped(stop bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = stop
	if s.group == nil {
		return nil
	}
	return s.group.stopped(stop)
}

// Problem says why the service is not ready; nil when it is.
func (s *Service) Problem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

// Said returns the last lines that a command has written.
func (s *Service) Said() [][]byte {
	s.mu.Lock()
	out := s.out
	s.mu.Unlock()
	if out == nil {
		return nil
	}
	return out.tail()
}

// errRefused is what a port where nothing listens answers.
var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

// Address returns where the service is for one of the container's ports; empty where it is not.
func (s *Service) Address(port uint16) string {
	if s.o.Spec.Command == "" {
		return cmp.Or(s.o.Spec.Forward[port], s.o.Spec.Forward[0])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.ports[port]; ok {
		return net.JoinHostPort("localhost", strconv.Itoa(int(at)))
	}
	return ""
}

// Dial connects to the service at one of the container's ports.
func (s *Service) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	at := s.Address(port)
	if at == "" {
		return nil, errRefused
	}
	return dialLocal(ctx, at)
}

// dialLocal connects to an address. Which of this machine's own two addresses a program listens on
// that was told "localhost" is its language's choice.
func dialLocal(ctx context.Context, at string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	if host != "localhost" {
		return d.DialContext(ctx, "tcp", at)
	}
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if errors.Is(err, syscall.ECONNREFUSED) {
		if six, err6 := d.DialContext(ctx, "tcp", net.JoinHostPort("::1", port)); err6 == nil {
			return six, nil
		}
	}
	return c, err
}

// The ports that services get, below those that systems give to whoever asks for any: those that
// commands are told to listen on, and above them those that we hold ourselves.
const (
	firstPort = 20_000
	portRange = 6_000
)

// given numbers the ports that commands have got: a command binds its port later than it gets it,
// and must not find another there. Processes begin at places of their own.
var given atomic.Uint64

// commandPort returns a port that nobody has now, or has had for long.
func commandPort() (net.Listener, error) {
	for range 200 {
		n := uint64(os.Getpid())*101 + given.Add(1)
		if l, err := listenAt(firstPort + n%portRange); err == nil {
			return l, nil
		}
	}
	return listenAt(0)
}

// FreePort returns a port of 127.0.0.1 that nobody has, by preference the one that a number stands
// for.
func FreePort(preferred uint64) (net.Listener, error) {
	for i := range uint64(200) {
		l, err := listenAt(firstPort + portRange + (preferred+i*i)%portRange)
		if err == nil {
			return l, nil
		}
	}
	return listenAt(0)
}

func listenAt(port uint64) (net.Listener, error) {
	return net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.FormatUint(port, 10)))
}

// allot chooses the ports of a command that is about to start.
func (s *Service) allot() error {
	ports := map[uint16]uint16{}
	for _, p := range s.o.Spec.Ports {
		l, err := commandPort()
		if err != nil {
			return err
		}
		ports[p] = uint16(l.Addr().(*net.TCPAddr).Port)
		defer l.Close() // when all are chosen
	}
	s.mu.Lock()
	s.ports = ports
	s.mu.Unlock()
	return nil
}

func (s *Service) portEnv() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return portVariables(s.o.Spec.Ports, s.ports)
}

// The pauses between a crash and the next start: they double, and begin again after a run that was
// long enough.
const (
	firstPause  = time.Second
	longestRest = 30 * time.Second
	longRun     = time.Minute
)

// keepRunning starts the command again whenever it ends.
func (s *Service) keepRunning() {
	for pause := firstPause; s.ctx.Err() == nil; pause = min(2*pause, longestRest) {
		began := s.o.Clock.Now()
		err := s.once()
		if err == nil {
			err = errors.New("exit status 0") // a service has no end
		}
		s.mu.Lock()
		s.ports = nil
		s.mu.Unlock()
		s.o.Open(false)
		if s.ctx.Err() != nil {
			return
		}
		if s.o.Clock.Now().Sub(began) >= longRun {
			pause = firstPause
		}
		s.crashed(err, pause)
		s.become(s.ctx, false, err)
		s.settle()
		s.wait(s.ctx, pause)
	}
}

// wait returns after d, or when ctx ends.
func (s *Service) wait(ctx context.Context, d time.Duration) {
	over := make(chan struct{})
	stop := s.o.Clock.AfterFunc(d, func() { close(over) })
	defer stop()
	select {
	case <-over:
	case <-ctx.Done():
	}
}

// once runs the command until it ends, and says how it did.
func (s *Service) once() error {
	if err := s.allot(); err != nil {
		return err
	}
	c, err := s.command()
	if err != nil {
		return err
	}
	g, err := newGroup()
	if err != nil {
		return err
	}
	defer g.kill()
	g.add(c)
	out, w, err := newOutput(s.o.Line)
	if err != nil {
		return err
	}
	c.Stdout, c.Stderr = w, w
	err = c.Start()
	w.Close()
	if err != nil {
		out.end()
		return err
	}
	s.mu.Lock()
	s.out, s.group = out, g
	if s.stopped {
		g.stopped(true)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.group = nil
		s.mu.Unlock()
	}()
	s.o.Log.Info("command started", "pid", c.Process.Pid, "command", c.Args)
	return s.attend(c, g, out)
}

// command makes the process of the command line.
func (s *Service) command() (*exec.Cmd, error) {
	env := slices.Concat(s.o.Env(), s.portEnv())
	words, err := s.o.Spec.words(func(name string) string { return lookup(env, name) })
	if err != nil {
		return nil, err
	}
	if len(words) == 0 {
		return nil, annotation(CommandAnnotation, "%q comes to nothing", s.o.Spec.Command)
	}
	path, err := s.o.Spec.find(words[0])
	if err != nil {
		return nil, err
	}
	c := exec.Command(path, words[1:]...)
	c.Args[0], c.Dir, c.Env = words[0], s.o.Spec.Dir, env
	return c, nil
}

// attend watches a command until it ends, or ends it.
func (s *Service) attend(c *exec.Cmd, g *group, out *output) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	watched := make(chan struct{})
	go func() { defer close(watched); s.watch(ctx) }()
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-s.ctx.Done():
		err = s.terminate(c.Process.Pid, g, ended)
	}
	cancel()
	<-watched
	g.kill() // what it has left behind
	out.end()
	return err
}

// grace is how long a command may take to end in order.
const grace = 4 * time.Second

// terminate ends a command in order, if it does so in time.
func (s *Service) terminate(command int, g *group, ended <-chan error) error {
	s.mu.Lock()
	ctx, cancel := context.WithTimeout(s.stopBy, grace)
	s.mu.Unlock()
	defer cancel()
	if ctx.Err() == nil {
		g.terminate(command)
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	g.killApart(command)
	g.kill()
	return <-ended
}

// crashed says that a command has ended, with its last words where nobody has heard them.
func (s *Service) crashed(how error, pause time.Duration) {
	if s.o.Line == nil && s.o.Say != nil {
		for _, line := range s.Said() {
			s.o.Say(line)
		}
	}
	s.Say("%s: %v; it starts again in %s", s.o.Spec.Command, how, pause)
}

// Say says something of the service.
func (s *Service) Say(format string, args ...any) {
	if s.o.Say != nil {
		s.o.Say(fmt.Appendf(nil, "mesh-lab: "+format, args...))
	}
}

// watch asks whether the service is ready until ctx ends, or until that can not change any more.
func (s *Service) watch(ctx context.Context) {
	p := s.o.Spec.Probe
	good, bad := 0, 0
	for s.wait(ctx, p.after); ctx.Err() == nil; {
		err := s.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			good, bad = good+1, 0
			s.o.Open(true)
			if good >= p.successes && s.become(ctx, true, nil) {
				s.Say("ready: %s", s.o.Spec.What())
			}
		default:
			good, bad = 0, bad+1
			if s.o.Spec.Command == "" && errors.Is(err, syscall.ECONNREFUSED) {
				s.o.Open(false)
			}
			if (bad >= p.failures || !s.told) && s.become(ctx, false, err) {
				s.Say("not ready: %s: %v", s.o.Spec.What(), err)
			}
			if s.o.Spec.Command == "" {
				s.settle()
			}
		}
		if s.told && !p.always {
			return
		}
		pause := p.period
		if !s.told {
			pause = min(pause, eager)
		}
		s.wait(ctx, pause)
	}
}

// become tells whether the service is ready, if that is news, and notes why it is not. What could
// not be told is told the next time.
func (s *Service) become(ctx context.Context, ready bool, why error) (news bool) {
	if s.told != ready {
		if err := s.o.Ready(ctx, ready); err != nil {
			if ctx.Err() == nil {
				s.o.Log.Warn("the mesh could not be told", "ready", ready, "err", err)
			}
			return false
		}
		s.told, news = ready, true
	}
	s.mu.Lock()
	s.problem = why
	s.mu.Unlock()
	if ready {
		s.settle()
	}
	return news
}

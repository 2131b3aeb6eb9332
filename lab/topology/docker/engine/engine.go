// Package engine is Docker as the lab needs it: images of the binary that runs, a network and
// containers for each lab, all labelled with who owns them, and the removal of what dead owners
// have left.
//
//	Connect ─▶ Engine ─ Image ─▶ tag
//	              └── NewLab ─▶ Lab ─ Start ─▶ Container ─ Kill, Pause, Limit, Logs
//	Sweep: whose owner is dead goes
//
// Containers and networks are made with testcontainers-go; what it lacks is Docker's own client.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// UnusableError is a Docker that can not be used. Its text says what to do.
type UnusableError struct {
	Why string // what is the matter
	Do  string // what to do about it
	Err error  // what Docker or the system said; may be nil
}

// Error says what is the matter, and what to do.
func (e *UnusableError) Error() string {
	s := "Docker: " + e.Why
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s + "; " + e.Do
}

// Unwrap is what Docker or the system said.
func (e *UnusableError) Unwrap() error { return e.Err }

// oldest is the oldest API that has what the lab uses: Docker 20.10.
const oldest = "1.41"

// connectPatience bounds how long Docker may take to say who it is.
const connectPatience = 30 * time.Second

// Engine is a connection to Docker.
type Engine struct {
	client   *client.Client
	provider *testcontainers.DockerProvider
	owner    owner
	log      *slog.Logger

	mu     sync.Mutex
	images map[string]Image // that Ensure has been asked for, by name

	Version string // of the server
	API     string // that is spoken with it
	OS      string // of the machine that containers run on
	Arch    string // of that machine, as Go names it
	Notes   []string
}

// Connect finds Docker as its own command line does. When it can not be used, the error is an
// *UnusableError.
func Connect(ctx context.Context, log *slog.Logger) (*Engine, error) {
	tclog.SetDefault(tclog.NewNoopLogger()) // it prints who it is on every connection
	e := &Engine{log: log, images: map[string]Image{}}
	var err error
	if e.owner, err = self(); err != nil {
		return nil, err
	}
	short, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	if err = named(short); err == nil {
		cancel()
		e.Notes = prepareReaper(ctx)
		short, cancel = context.WithTimeout(ctx, connectPatience)
		defer cancel()
		e.provider, err = provider()
	}
	if err == nil {
		e.client = e.provider.Client().(*testcontainers.DockerClient).Client
		err = e.ask(short)
	}
	if err == nil || ctx.Err() != nil {
		return e, errors.Join(err, ctx.Err())
	}
	var unusable *UnusableError
	if errors.As(err, &unusable) {
		return nil, err
	}
	return nil, diagnose(err)
}

// named asks the Docker that DOCKER_HOST names, where it names one: testcontainers would go on to
// look elsewhere.
func named(ctx context.Context) error {
	if os.Getenv("DOCKER_HOST") == "" {
		return nil
	}
	c, err := client.New(client.FromEnv)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	return err
}

// provider makes testcontainers' own connection. It panics where there is no Docker at all.
func provider() (p *testcontainers.DockerProvider, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return testcontainers.NewDockerProvider(testcontainers.WithLogger(tclog.NewNoopLogger()))
}

// ask learns what Docker it is, and whether it will do.
func (e *Engine) ask(ctx context.Context) error {
	ping, err := e.client.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	if err != nil {
		return err
	}
	v, err := e.client.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return err
	}
	e.Version, e.API, e.OS, e.Arch = v.Version, ping.APIVersion, v.Os, v.Arch
	switch {
	case versions.LessThan(ping.APIVersion, oldest):
		return &UnusableError{Why: fmt.Sprintf("its version %s is too old", v.Version),
			Do: "the lab needs 20.10 or later"}
	case v.Os != "linux":
		return &UnusableError{Why: "it runs containers of " + v.Os,
			Do: "switch it to Linux containers"}
	}
	return remote(e.client.DaemonHost())
}

// remote refuses a Docker on another machine: gateways are published on the loopback of the machine
// that Docker runs on, where nobody here would find them.
func remote(host string) error {
	u, err := url.Parse(host)
	if err != nil || u.Scheme == "unix" || u.Scheme == "npipe" {
		return nil
	}
	if name := u.Hostname(); u.Scheme == "tcp" && (name == "localhost" || name == "127.0.0.1") {
		return nil
	}
	return &UnusableError{Why: "it is on another machine (" + host + ")",
		Do: "a lab is published on this machine's loopback alone: unset DOCKER_HOST, " +
			"or run mesh-lab there"}
}

// diagnose says what to do about a Docker that does not answer.
func diagnose(err error) *UnusableError {
	u := &UnusableError{Err: err, Why: "it does not answer",
		Do: "start it (`systemctl start docker`, or Docker Desktop), " +
			"or leave out --topology docker: the embedded topology needs none"}
	switch {
	case errors.Is(err, os.ErrPermission):
		u.Why = "this user may not use it"
		u.Do = "`sudo usermod -aG docker $USER` and log in anew, or use rootless Docker"
	case errors.Is(err, os.ErrNotExist):
		u.Why = "it is not installed, or not running"
		u.Do = "install it (https://docs.docker.com/engine/install/) or start it; " +
			"`mesh-lab doctor` says what it finds, and the embedded topology needs none"
	}
	return u
}

// Close ends the connection.
func (e *Engine) Close() error { return e.provider.Close() }

// reaperImage is what testcontainers' reaper runs from.
var reaperImage = testcontainers.ReaperDefaultImage

// reaperPatience bounds how long the reaper's image may take to come: it is a few megabytes.
var reaperPatience = 20 * time.Second

// reaperVariable says whether testcontainers may start its reaper, which removes what belongs to a
// process that has ended. It is read once, with the first connection.
const reaperVariable = "TESTCONTAINERS_RYUK_DISABLED"

// prepareReaper has the reaper started where it can be, and says why it is not where that is not
// wanted: then what a killed mesh-lab leaves goes with the next start or `down --all`.
func prepareReaper(ctx context.Context) (notes []string) {
	if os.Getenv(reaperVariable) != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reaperPatience)
	defer cancel()
	why := reaperMissing(ctx)
	if why == nil {
		return nil
	}
	os.Setenv(reaperVariable, "true") //nolint:errcheck // the name is valid
	return []string{fmt.Sprintf("testcontainers' reaper can not run (%v): what a killed "+
		"mesh-lab leaves goes with the next start or `mesh-lab down --all` (%s=true leaves "+
		"the reaper out)", why, reaperVariable)}
}

// reaperMissing says why the reaper can not be started.
func reaperMissing(ctx context.Context) error {
	c, err := client.New(client.FromEnv)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return err
	}
	if _, err := os.Stat("/.dockerenv"); err == nil &&
		os.Getenv("TESTCONTAINERS_HOST_OVERRIDE") == "" {
		return errors.New("this is a container itself, which the reaper can not watch")
	}
	if _, err := c.ImageInspect(ctx, reaperImage); err == nil {
		return nil
	}
	r, err := c.ImagePull(ctx, reaperImage, client.ImagePullOptions{})
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	_, err = c.ImageInspect(ctx, reaperImage)
	return err
}

package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
)

// Lab is a network, and the containers on it.
type Lab struct {
	ID      string // in labels and names
	e       *Engine
	network *testcontainers.DockerNetwork
	watched chan struct{} // closed when events are not heard any more
	unwatch context.CancelFunc

	mu     sync.Mutex
	all    map[string]*Container // by ID
	closed bool
	used   map[string]int // names of containers
}

// NewLab makes a network for a lab. Close removes it, and everything on it.
func (e *Engine) NewLab(ctx context.Context) (*Lab, error) {
	b := make([]byte, 4)
	rand.Read(b) //nolint:errcheck // it never fails
	l := &Lab{ID: hex.EncodeToString(b), e: e, all: map[string]*Container{}, used: map[string]int{},
		watched: make(chan struct{})}
	making, done := unbroken(ctx)
	defer done()
	n, err := network.New(making, network.WithLabels(l.labels("", "network")),
		network.CustomizeNetworkOption(func(o *client.NetworkCreateOptions) error {
			o.Driver, o.Attachable = "bridge", false
			o.Options = map[string]string{"com.docker.network.bridge.name": "ml-" + l.ID}
			return nil
		}))
	if err != nil {
		return nil, fmt.Errorf("docker: make a network: %w", err)
	}
	l.network = n
	if ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), l.removeNetwork(making))
	}
	watch, cancel := context.WithCancel(context.Background())
	l.unwatch = cancel
	heard := e.client.Events(watch, client.EventsListOptions{
		Filters: make(client.Filters).Add("label", LabLabel+"="+l.ID).Add("type", "container"),
	})
	go l.watch(watch, heard)
	return l, nil
}

// makePatience bounds how long Docker may take to make something.
const makePatience = time.Minute

// unbroken is for what Docker makes: who breaks that off does not learn what has been made all the
// same.
func unbroken(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), makePatience)
}

// labels are those of one thing of the lab.
func (l *Lab) labels(pod, part string) map[string]string {
	return map[string]string{
		LabLabel: l.ID, OwnerLabel: l.e.owner.label(), PodLabel: pod, PartLabel: part,
	}
}

// watch hands what Docker tells of containers on to them.
func (l *Lab) watch(ctx context.Context, heard client.EventsResult) {
	defer close(l.watched)
	for {
		select {
		case m := <-heard.Messages:
			l.mu.Lock()
			c := l.all[m.Actor.ID]
			l.mu.Unlock()
			if c != nil {
				c.heard(m)
			}
		case err := <-heard.Err:
			if ctx.Err() == nil && err != nil {
				l.e.log.Warn("docker tells nothing of containers any more", "err", err)
			}
			return
		}
	}
}

// Spec says what a container is to be.
type Spec struct {
	Pod, Part  string // labels, and its name
	Image      string
	Entrypoint []string // empty: the image's
	Cmd        []string
	Env        map[string]string
	User       string // UID:GID; empty: the image's
	Dir        string // where it works; empty: the image's
	Join       *Container
	NetAdmin   bool              // may change its network; nothing else
	Publish    []Published       // ports on 127.0.0.1
	Sysctls    map[string]string // of its network
	Keep       bool              // what the image says of capabilities stays: the user's own
	// Line takes what it writes, line by line, without the end; of standard error when stderr. It
	// is called by one goroutine.
	Line func(line []byte, stderr bool)
}

// Published is a port of a container on 127.0.0.1.
type Published struct {
	Port uint16
	At   uint16 // 0: any that is free
}

// unfit is what Docker does not allow in names.
var unfit = regexp.MustCompile(`[^a-zA-Z0-9_.-]+`)

// name is a container's: who looks at `docker ps` finds it.
func (l *Lab) name(s Spec) string {
	name := "mesh-lab-" + l.ID
	if s.Pod != "" {
		name += "-" + unfit.ReplaceAllString(s.Pod, "-")
	}
	name += "-" + s.Part
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used[name]++
	if n := l.used[name]; n > 1 { // a pod that was started again
		name += fmt.Sprintf("-%d", n)
	}
	return name
}

// errClosed is what a lab that has ended answers.
var errClosed = errors.New("docker: the lab is down")

// imageTries is how often a container is started whose image is not there.
const imageTries = 3

// Start makes a container and starts it. On failure nothing is left behind.
func (l *Lab) Start(ctx context.Context, s Spec) (c *Container, err error) {
	for range imageTries {
		if c, err = l.start(ctx, s); err == nil || !l.e.again(ctx, s.Image) {
			break
		}
	}
	return c, err
}

func (l *Lab) start(ctx context.Context, s Spec) (*Container, error) {
	name := l.name(s)
	fail := func(err error) error {
		what := s.Part
		if s.Pod != "" {
			what += " of " + s.Pod
		}
		return fmt.Errorf("docker: start the %s: %w", what, err)
	}
	if ctx.Err() != nil {
		return nil, fail(ctx.Err())
	}
	making, done := unbroken(ctx)
	made, err := l.e.provider.CreateContainer(making, l.request(name, s))
	done()
	c := &Container{lab: l, spec: s, ended: make(chan struct{})}
	if d, ok := made.(*testcontainers.DockerContainer); ok && d != nil {
		c.ID, c.made = d.GetContainerID(), d
	}
	if err != nil {
		return nil, errors.Join(fail(err), c.Remove(context.WithoutCancel(ctx)))
	}
	l.mu.Lock()
	closed := l.closed
	l.all[c.ID] = c
	l.mu.Unlock()
	if closed {
		return nil, errors.Join(errClosed, c.Remove(context.WithoutCancel(ctx)))
	}
	if err := made.Start(ctx); err != nil {
		return nil, errors.Join(fail(err), c.Remove(context.WithoutCancel(ctx)))
	}
	c.follow()
	return c, nil
}

// request is what testcontainers is asked for.
func (l *Lab) request(name string, s Spec) testcontainers.ContainerRequest {
	return testcontainers.ContainerRequest{
		Name: name, Image: s.Image, Entrypoint: s.Entrypoint, Cmd: s.Cmd, Env: s.Env,
		Labels: l.labels(s.Pod, s.Part), Networks: l.networks(s), ExposedPorts: exposed(s.Publish),
		ConfigModifier: func(c *container.Config) {
			c.User, c.WorkingDir = s.User, s.Dir
			c.Hostname = hostname(s)
			zero := 0
			c.StopTimeout = &zero
		},
		HostConfigModifier: func(h *container.HostConfig) {
			if s.Join != nil {
				h.NetworkMode = container.NetworkMode("container:" + s.Join.ID)
			}
			if !s.Keep {
				h.CapDrop = []string{"ALL"}
				h.SecurityOpt = []string{"no-new-privileges"}
			}
			if s.NetAdmin {
				h.CapAdd = []string{"NET_ADMIN", "NET_RAW"}
			}
			h.PortBindings = bindings(s.Publish)
			h.Sysctls = s.Sysctls
			h.LogConfig = container.LogConfig{Type: "json-file",
				Config: map[string]string{"max-size": "10m", "max-file": "1"}}
		},
	}
}

// networks are those to join; none where it shares another's.
func (l *Lab) networks(s Spec) []string {
	if s.Join != nil {
		return nil
	}
	return []string{l.network.Name}
}

// longestHostname is what Linux allows.
const longestHostname = 63

// hostname is the pod's name, as in a cluster; one that shares another's network has its name.
func hostname(s Spec) string {
	if s.Join != nil {
		return ""
	}
	name := s.Pod
	if name == "" {
		name = s.Part
	}
	for i, c := range name {
		if c == '.' {
			name = name[:i]
			break
		}
	}
	return name[:min(len(name), longestHostname)]
}

// Close removes all containers and the network. It may be called twice.
func (l *Lab) Close(ctx context.Context) error {
	l.mu.Lock()
	done := l.closed
	l.closed = true
	all := slices.Collect(maps.Values(l.all))
	l.mu.Unlock()
	if done {
		return nil
	}
	ids := make([]string, len(all))
	for i, c := range all {
		c.closing()
		ids[i] = c.ID
	}
	err := l.e.removeContainers(ctx, ids)
	l.unwatch()
	<-l.watched
	for _, c := range all {
		c.unfollow()
	}
	return errors.Join(err, l.removeNetwork(ctx))
}

// Removing a container may still be under way when Docker says that it is gone.
const (
	networkTries = 100
	networkPause = 100 * time.Millisecond
)

func (l *Lab) removeNetwork(ctx context.Context) error {
	var err error
	for range networkTries {
		_, err = l.e.client.NetworkRemove(ctx, l.network.ID, client.NetworkRemoveOptions{})
		if err == nil || cerrdefs.IsNotFound(err) {
			return nil
		}
		select {
		case <-time.After(networkPause):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
	return fmt.Errorf("docker: remove network %s: %w", l.network.Name, err)
}

// Running lists the states of the lab's containers, by ID, as Docker has them: "running", "paused",
// "exited".
func (l *Lab) Running(ctx context.Context) (map[*Container]string, error) {
	list, err := l.e.client.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", LabLabel+"="+l.ID),
	})
	if err != nil {
		return nil, fmt.Errorf("docker: list containers: %w", err)
	}
	out := map[*Container]string{}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range list.Items {
		if known := l.all[c.ID]; known != nil {
			out[known] = string(c.State)
		}
	}
	return out, nil
}

// exit reads an event of a container's end.
func exit(m events.Message) (Exit, bool) {
	if m.Action != events.ActionDie {
		return Exit{}, false
	}
	return Exit{At: time.Unix(0, m.TimeNano), Status: m.Actor.Attributes["exitCode"]}, true
}

package live

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/jwks"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// A control plane that has not got an issuer's keys tries again so often, before it waits for the
// next refresh. Istio pilot/pkg/model/jwks_resolver.go networkFetchRetryCountOnRefreshFlow.
const (
	keyTries      = 7
	keyRetryPause = time.Second
)

// keyring is how the lab's control plane comes by the keys of token issuers. Its fields but the
// store are for who holds apply.
type keyring struct {
	*jwks.Store
	tries int         // since the last time that nothing was missing
	stop  func() bool // of what is planned
}

func (m *Mesh) newKeyring() keyring {
	return keyring{Store: jwks.New(jwks.Client(m.dialForKeys)), stop: func() bool { return false }}
}

// controlPlaneNamespace is where istiod runs, and resolves names.
const controlPlaneNamespace = "istio-system"

// dialForKeys connects the control plane, which has no sidecar, to what the lab has, or to this
// machine. Nothing leaves the machine.
func (m *Mesh) dialForKeys(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	self := Client{Addr: topology.OutsideAddr, Namespace: controlPlaneNamespace}
	to, err := m.resolve(ctx, self, address)
	if err != nil {
		return nil, fmt.Errorf("%w: keys come from the lab's own Services and hosts, or from "+
			"this machine", err)
	}
	return m.world.Dial(ctx, self, to)
}

// FetchKeys fetches the keys that a configuration asks for, and says what it has got and what it
// could not.
func (m *Mesh) FetchKeys(
	ctx context.Context, c *istio.Config,
) (translate.Keys, []istio.Diagnostic) {
	m.fetchKeys(ctx, c)
	return m.keys.Keys(), m.keys.Problems(translate.KeyRequests(c))
}

// fetchKeys fetches what a configuration needs and what is not there.
func (m *Mesh) fetchKeys(ctx context.Context, c *istio.Config) (changed bool) {
	return m.keys.Fetch(ctx, translate.KeyRequests(c), m.wall())
}

func (m *Mesh) wall() time.Time { return m.o.Clock.Wall(m.o.Clock.Now()) }

// pushKeys fetches the keys that were missing when the state in effect was made, for now its pods
// run, and tells proxies of those that came. Caller must hold apply.
func (m *Mesh) pushKeys(ctx context.Context) (control.Result, error) {
	if !m.fetchKeys(ctx, m.current().config) {
		return control.Result{}, nil
	}
	return m.pushAgain(ctx)
}

// pushAgain makes the state in effect anew, with the keys that there are, and pushes it.
func (m *Mesh) pushAgain(ctx context.Context) (control.Result, error) {
	now := m.current()
	next, err := m.plan(ctx, now.config, now.reg)
	if err != nil {
		return control.Result{}, err
	}
	m.set(next)
	return m.push(ctx, next)
}

// Again makes the state in effect anew and pushes it, where a World has it moved; withheld are the
// proxies that could not be told.
func (m *Mesh) Again(ctx context.Context) (withheld []string, err error) {
	ctx, release, err := m.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	res, err := m.pushAgain(ctx)
	return res.Withheld, err
}

// planKeys has keys fetched again: missing ones soon, else when next says. Caller must hold apply.
func (m *Mesh) planKeys(next time.Duration) {
	m.keys.stop()
	requests := translate.KeyRequests(m.current().config)
	if len(requests) == 0 {
		return
	}
	if problems := m.keys.Problems(requests); len(problems) == 0 {
		m.keys.tries = 0
	} else if m.keys.tries < keyTries {
		for _, d := range problems {
			m.o.Log.Warn("an issuer's keys are missing", "why", d.String())
		}
		m.keys.tries++
		next = keyRetryPause
	}
	m.keys.stop = m.o.Clock.AfterFunc(next, m.KeysDue)
}

// KeysDue has the keys of token issuers fetched again, as is done every 20 minutes: what is
// missing, or else everything.
func (m *Mesh) KeysDue() {
	ctx, release, err := m.take(m.ended)
	if err != nil {
		return // the lab has ended
	}
	defer release()
	next := jwks.Interval
	changed := m.fetchKeys(ctx, m.current().config)
	if m.keys.tries == 0 || m.keys.tries >= keyTries {
		var again bool
		again, next = m.keys.Refresh(ctx, m.wall())
		changed = changed || again
	}
	if changed {
		ctx, cancel := context.WithTimeout(ctx, renewalPatience)
		defer cancel()
		if _, err := m.pushAgain(ctx); err != nil && m.ended.Err() == nil {
			m.o.Log.Warn("token issuers have new keys, but not all proxies have them", "err", err)
		}
	}
	m.planKeys(next)
}

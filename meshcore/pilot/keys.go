package pilot

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/jwks"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// Keys that could not be fetched are tried again so often before the next refresh. Istio
// pilot/pkg/model/jwks_resolver.go.
const (
	keyTries      = 7
	keyRetryPause = time.Second
)

// keyTimer says when to fetch the keys of token issuers again.
type keyTimer struct {
	*time.Timer
	due   bool      // it went off
	tries int       // since the last time that nothing was missing
	at    time.Time // of the next refresh
}

func newKeyTimer() *keyTimer {
	return &keyTimer{Timer: time.NewTimer(jwks.Interval), at: time.Now().Add(jwks.Interval)}
}

// fetchKeys fetches the keys that are missing, and all of them when a refresh is due. It warns of
// what could not be fetched.
func (p *Pilot) fetchKeys(ctx context.Context, k *keyTimer) {
	p.mu.Lock()
	requests := translate.KeyRequests(p.config)
	p.mu.Unlock()
	if len(requests) == 0 && !k.due {
		return
	}
	p.keys.Fetch(ctx, requests, time.Now())
	if now := time.Now(); k.due && !now.Before(k.at) {
		_, next := p.keys.Refresh(ctx, now)
		k.at = now.Add(next)
	}
	k.due = false
	problems := p.keys.Problems(requests)
	switch {
	case len(problems) == 0:
		k.tries = 0
		k.Reset(time.Until(k.at))
	case k.tries < keyTries:
		k.tries++
		k.Reset(keyRetryPause)
	default:
		k.Reset(time.Until(k.at))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range problems {
		if text := d.String(); !p.warned[text] {
			p.warned[text] = true
			p.log.Warn("an issuer's keys are missing", "why", text)
		}
	}
}

// dialForKeys connects to servers of keys, but for addresses of the link, where clouds tell
// machines their secrets.
func dialForKeys(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err == nil && at.Addr().Unmap().IsLinkLocalUnicast() {
			return fmt.Errorf("%s is link-local: no keys are fetched from there", at.Addr())
		}
		return err
	}}
	return d.DialContext(ctx, network, address)
}

package subscribe

import (
	"maps"
	"time"
)

// arrival is what a stream has brought: a response, one of a type that was not asked for (nil), or
// its end.
type arrival struct {
	response *response
	err      error
}

// receive reads a stream beside the client, until its end; end waits for it.
func receive(t transport) (arrivals <-chan arrival, end func()) {
	c := make(chan arrival)
	ended := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			r, ok, err := t.recv()
			if !ok {
				r = nil
			}
			select {
			case c <- arrival{r, err}:
			case <-stop:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return c, func() { close(stop); <-ended }
}

// late returns what tells when the first secret that is waited for has been waited for long enough
// (source/extensions/config_subscription/grpc initial_fetch_timeout); nil when there is none.
func (c *Client) late() (<-chan time.Time, func()) {
	now := time.Now()
	since := map[string]time.Time{}
	var first time.Time
	for name, patience := range c.awaited() {
		at, ok := c.since[name]
		if !ok {
			at = now
		}
		since[name] = at
		if end := at.Add(patience); first.IsZero() || end.Before(first) {
			first = end
		}
	}
	c.since = since
	if first.IsZero() {
		return nil, func() {}
	}
	t := time.NewTimer(first.Sub(now))
	return t.C, func() { t.Stop() }
}

// awaited returns the secrets that something waits for, but not for ever, and for how long.
func (c *Client) awaited() map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, above := range sds.above() {
		if !c.waiting[above] {
			continue
		}
		for _, h := range c.accepted[above] {
			for name, patience := range h.patience {
				if _, ok := c.accepted[sds][name]; !ok && patience > 0 {
					out[name] = patience
				}
			}
		}
	}
	return out
}

// giveUp goes on without the secrets that have been waited for long enough.
func (c *Client) giveUp(t transport, now time.Time) error {
	table := maps.Clone(c.accepted[sds])
	if table == nil {
		table = map[string]held{}
	}
	for name, patience := range c.awaited() {
		if !now.Before(c.since[name].Add(patience)) {
			c.Log.Warn("goes on without a secret", "node", c.Node.GetId(), "secret", name)
			table[name] = held{resource: &resource{name: name}}
		}
	}
	if err := c.become(sds, table); err != nil {
		c.Log.Warn("refused", "node", c.Node.GetId(), "err", err)
	}
	return c.follow(t)
}

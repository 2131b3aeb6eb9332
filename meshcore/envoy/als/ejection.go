package als

import (
	"fmt"
	"net/netip"
	"time"

	clusterdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Ejections reads a proxy's outlier event log (cluster_manager.outlier_detection.event_log_path).
type Ejections struct {
	Proxy   string                              // of the changes
	Instant func(time.Time) clock.Instant       // of a wall time
	Place   func(netip.AddrPort) netip.AddrPort // as in Options
}

// Change makes a line of the log the change that it tells. It is false for what changes nothing: an
// ejection that is not enforced.
func (j Ejections) Change(line []byte) (c observe.Change, ok bool, err error) {
	e := &clusterdatav3.OutlierDetectionEvent{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line, e); err != nil {
		return c, false, fmt.Errorf("outlier event %q: %w", line, err)
	}
	c.By, c.At = j.Proxy, j.Instant(e.GetTimestamp().AsTime())
	switch e.GetAction() {
	case clusterdatav3.Action_EJECT:
		c.Kind = "eject"
	case clusterdatav3.Action_UNEJECT:
		c.Kind = "uneject"
	}
	at, err := netip.ParseAddrPort(e.GetUpstreamUrl())
	if err != nil {
		return c, false, fmt.Errorf("outlier event %q: upstream_url: %w", line, err)
	}
	if j.Place != nil {
		at = j.Place(at)
	}
	c.What = e.GetClusterName() + " " + at.String()
	return c, c.Kind == "uneject" || e.GetEnforced(), nil
}

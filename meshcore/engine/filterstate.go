package engine

import (
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/formatter"
)

// alpnKey is the filter state by which a request chooses the application protocols of its upstream
// connection (source/common/network/application_protocol.cc).
const alpnKey = "envoy.network.application_protocols"

// stateValue is one value of a set_filter_state filter. Only the protocols of the upstream
// connection are carried out.
type stateValue struct {
	format formatter.Format[*Exchange]
	skip   bool // an empty value sets nothing
}

func (c *compiler) filterState(m *setstatev3.Config) []stateValue {
	var out []stateValue
	for i, v := range m.GetOnRequestHeaders() {
		leave := c.at("on_request_headers", i)
		if v.GetObjectKey() != alpnKey {
			c.fail("object_key", "%s %s; %s is", v.GetObjectKey(), notCarried, alpnKey)
		}
		if k := v.GetFactoryKey(); k != "" && k != alpnKey {
			c.fail("factory_key", "%s %s", k, notCarried)
		}
		if v.GetSharedWithUpstream() == statev3.FilterStateValue_NONE {
			c.fail("shared_with_upstream", "NONE, by which no upstream connection hears of it, %s",
				notCarried)
		}
		f, err := formatter.Compile(v.GetFormatString(), findOperator(false, false))
		if err != nil {
			leaveFormat := c.in("format_string")
			c.failAs(err, "")
			leaveFormat()
		}
		out = append(out, stateValue{f, v.GetSkipIfEmpty()})
		leave()
	}
	return out
}

// setState runs a set_filter_state filter.
func (x *Exchange) setState(f *httpFilter) {
	for i := range f.state {
		x.buf = f.state[i].format.Append(x, x.buf[:0])
		if len(x.buf) > 0 || !f.state[i].skip {
			x.alpn = x.intern(x.buf)
		}
	}
}

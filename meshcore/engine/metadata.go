package engine

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
)

// dynamicMetadata is what the filters of one exchange tell each other, by namespace (Envoy's
// StreamInfo::dynamicMetadata). What is set is kept as it came, in order, and must never change; a
// later field hides an earlier one of its name. The zero value is empty.
type dynamicMetadata struct {
	layers []metadataLayer
}

type metadataLayer struct {
	namespace string
	fields    *structpb.Struct
}

// set adds fields to a namespace (source/common/stream_info/stream_info_impl.h setDynamicMetadata
// merges the two maps: values are replaced whole).
func (d *dynamicMetadata) set(namespace string, fields *structpb.Struct) {
	d.layers = append(d.layers, metadataLayer{namespace, fields})
}

// Field returns one field of a namespace, nil when nobody has set it.
func (d *dynamicMetadata) Field(namespace, key string) *structpb.Value {
	for i := len(d.layers) - 1; i >= 0; i-- {
		if l := &d.layers[i]; l.namespace == namespace {
			if v := l.fields.GetFields()[key]; v != nil {
				return v
			}
		}
	}
	return nil
}

// fields returns a whole namespace, nil when there is none.
func (d *dynamicMetadata) fields(namespace string) *structpb.Struct {
	var out *structpb.Struct
	own := false
	for _, l := range d.layers {
		switch {
		case l.namespace != namespace:
			continue
		case out == nil:
			out = l.fields
			continue
		case !own:
			out = mergeFields(&structpb.Struct{Fields: map[string]*structpb.Value{}}, out)
			own = true
		}
		mergeFields(out, l.fields)
	}
	return out
}

func mergeFields(into, from *structpb.Struct) *structpb.Struct {
	for k, v := range from.GetFields() {
		into.Fields[k] = v
	}
	return into
}

func (d *dynamicMetadata) clear() {
	clear(d.layers)
	d.layers = d.layers[:0]
}

// staticMetadata is the metadata of a configuration as match.Fields.
type staticMetadata corev3.Metadata

// Field returns one field of a namespace.
func (m *staticMetadata) Field(namespace, key string) *structpb.Value {
	return (*corev3.Metadata)(m).GetFilterMetadata()[namespace].GetFields()[key]
}

func (c *compiler) metadataMatch(m *matcherv3.MetadataMatcher) match.Metadata {
	out := match.Metadata{Namespace: m.GetFilter(), Invert: m.GetInvert()}
	for _, p := range m.GetPath() {
		out.Path = append(out.Path, p.GetKey())
	}
	if len(out.Path) == 0 {
		c.fail("path", "value must contain at least 1 item(s)")
	}
	defer c.in("value")()
	out.Value = c.valueMatch(m.GetValue())
	return out
}

func (c *compiler) valueMatch(m *matcherv3.ValueMatcher) match.Value {
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		return match.Value{Kind: match.Null}
	case *matcherv3.ValueMatcher_DoubleMatch:
		out := match.Value{Kind: match.Number, Start: p.DoubleMatch.GetExact()}
		if r := p.DoubleMatch.GetRange(); r != nil {
			out.Range, out.Start, out.End = true, r.GetStart(), r.GetEnd()
		}
		return out
	case *matcherv3.ValueMatcher_StringMatch:
		return match.Value{Kind: match.Text, String: c.stringMatch("string_match", p.StringMatch)}
	case *matcherv3.ValueMatcher_BoolMatch:
		return match.Value{Kind: match.Bool, Want: p.BoolMatch}
	case *matcherv3.ValueMatcher_PresentMatch:
		return match.Value{Kind: match.Present, Want: p.PresentMatch}
	case *matcherv3.ValueMatcher_ListMatch:
		defer c.in("list_match.one_of")()
		return match.Value{Kind: match.List,
			Of: []match.Value{c.valueMatch(p.ListMatch.GetOneOf())}}
	case *matcherv3.ValueMatcher_OrMatch:
		out := match.Value{Kind: match.Any}
		for i, v := range p.OrMatch.GetValueMatchers() {
			leave := c.at("or_match.value_matchers", i)
			out.Of = append(out.Of, c.valueMatch(v))
			leave()
		}
		return out
	}
	c.fail("match_pattern", "value is required")
	return match.Value{}
}

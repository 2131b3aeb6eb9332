package accept_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// mutator changes resources at random.
type mutator struct{ *rand.Rand }

// place is one field of one message in a resource; any is where the message was taken out of, and
// goes back to.
type place struct {
	message protoreflect.Message
	field   protoreflect.FieldDescriptor
	back    func()
}

// places lists every field of a resource, set or not, typed_configs included.
func places(m protoreflect.Message, back func()) []place {
	var out []place
	if a, ok := m.Interface().(*anypb.Any); ok {
		inner, err := a.UnmarshalNew()
		if err != nil {
			return nil
		}
		return places(inner.ProtoReflect(), func() {
			if b, err := proto.Marshal(inner); err == nil {
				a.Value = b
			}
			back()
		})
	}
	// Envoy asks once for a secret that is to come from two sources that are written otherwise, and
	// what has the second warms without an end (source/common/config/watch_map.cc).
	if _, ok := m.Interface().(*corev3.ConfigSource); ok {
		return nil
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		out = append(out, place{m, fields.Get(i), back})
	}
	// In the order of the descriptor: a seed has to give the same mutations each time.
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			continue
		}
		v := m.Get(fd)
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			for _, key := range sortedKeys(v.Map()) {
				out = append(out, places(v.Map().Get(key).Message(), back)...)
			}
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				out = append(out, places(v.List().Get(i).Message(), back)...)
			}
		case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
			out = append(out, places(v.Message(), back)...)
		}
	}
	return out
}

func sortedKeys(m protoreflect.Map) []protoreflect.MapKey {
	var keys []protoreflect.MapKey
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int {
		return strings.Compare(a.String(), b.String())
	})
	return keys
}

// kept are fields that say which resource it is, and whether it opens a port.
func kept(p place) bool {
	switch p.field.FullName() {
	case "envoy.config.cluster.v3.Cluster.name", "envoy.config.listener.v3.Listener.name",
		"envoy.config.listener.v3.Listener.address", "envoy.config.listener.v3.Listener.bind_to_port",
		"envoy.config.listener.v3.Listener.transparent",
		"envoy.type.tracing.v3.CustomTag.value", // tracing is not looked at
		"envoy.config.listener.v3.Listener.freebind",
		"envoy.extensions.access_loggers.file.v3.FileAccessLog.path", // the file system decides
		"envoy.config.core.v3.Pipe.path",
		"envoy.config.endpoint.v3.ClusterLoadAssignment.cluster_name",
		"envoy.config.cluster.v3.Cluster.EdsClusterConfig.service_name",
		"envoy.config.route.v3.RouteConfiguration.name":
		return true
	}
	return strings.HasPrefix(string(p.field.FullName()), "google.protobuf.Struct") ||
		strings.HasPrefix(string(p.field.FullName()), "google.protobuf.Value")
}

// mutate returns a copy with one to three fields changed, and says which.
func (r mutator) mutate(m proto.Message) (proto.Message, string) {
	m = proto.Clone(m)
	var said []string
	for range 1 + r.IntN(3) {
		all := places(m.ProtoReflect(), func() {})
		p := all[r.IntN(len(all))]
		if kept(p) {
			continue
		}
		said = append(said, r.change(p))
		p.back()
	}
	return m, strings.Join(said, "; ")
}

func (r mutator) change(p place) string {
	m, fd := p.message, p.field
	what := string(fd.FullName())
	switch {
	case m.Has(fd) && r.IntN(4) == 0:
		m.Clear(fd)
		return "clear " + what
	case fd.IsMap():
		return "leave " + what
	case fd.IsList():
		list := m.Mutable(fd).List()
		switch n := list.Len(); {
		case n > 0 && r.IntN(2) == 0: // twice
			list.Append(cloneValue(fd, list.Get(r.IntN(n))))
		case fd.Message() != nil:
			list.Append(list.NewElement())
		default:
			list.Append(r.scalar(fd))
		}
		return "append to " + what
	case fd.Message() != nil:
		if !m.Has(fd) || r.IntN(3) == 0 {
			m.Set(fd, m.NewField(fd))
			return "empty " + what
		}
		return "keep " + what
	}
	v := r.scalar(fd)
	m.Set(fd, v)
	return fmt.Sprintf("%s = %v", what, v)
}

func cloneValue(fd protoreflect.FieldDescriptor, v protoreflect.Value) protoreflect.Value {
	if fd.Message() == nil {
		return v
	}
	return protoreflect.ValueOfMessage(proto.Clone(v.Message().Interface()).ProtoReflect())
}

// scalar is a value at the edge of what a field may be.
func (r mutator) scalar(fd protoreflect.FieldDescriptor) protoreflect.Value {
	pick := func(n ...int64) int64 { return n[r.IntN(len(n))] }
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(r.IntN(2) == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(pick(0, 1, 2, 3, 4, 99)))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(pick(0, 1, -1, 100, 101, 999999999, math.MaxInt32)))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(pick(0, 1, -1, 100, 101, 86400, 315576000000))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(pick(0, 1, 2, 99, 100, 101, 128, 129, 199, 200, 599,
			600, 65535, 65536, math.MaxUint32)))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(pick(0, 2, 3, 100, 1024, 8388609, 5000081)))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(pick(0, 1, -1, 101)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(pick(0, 1, -1, 100, 101)))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("a"))
	}
	texts := []string{"", "a", "a b", "a\n", "a\x00", "*", "*.a", "a*", "(", "[a", ".*", "/", "/a/", "host",
		":path", "X-A", "5xx", "%", "%%", "%PROTOCOL%", "%REQ(a)%", "%NOBODY%", "é", "127.0.0.1", "::1",
		"localhost", "envoy.filters.http.router", "m", "http", "\\1", "a,b", "HTTPS"}
	return protoreflect.ValueOfString(texts[r.IntN(len(texts))])
}

// bases are the resources to change: those of good.yaml, what broken.yaml makes of them that is
// taken, and what random configurations are translated to.
func bases(t *testing.T, seed uint64) []broken {
	var out []broken
	recorded := recordedAnswers(t)
	for _, b := range brokenOnes(t) {
		if recorded[b.name].word == taken && differing[b.name] == "" {
			out = append(out, b)
		}
	}
	for n := range uint64(20) {
		all := randomResources(t, seed+n)
		for _, typeURL := range slices.Sorted(maps.Keys(all)) {
			out = append(out, broken{name: fmt.Sprint("random ", n), typeURL: typeURL,
				resource: all[typeURL]})
		}
	}
	return out
}

// allowed are differences that have a reason: what Envoy refuses for and we do not, by a part of
// its words.
var allowed = map[string]string{
	"unknown cluster":                             noClusterCheck,
	"unknown weighted cluster":                    noClusterCheck,
	"services: value is required":                 noService,
	"No TLS certificates found":                   differing["tls, certificate of nothing"],
	"the minimum is above the maximum":            noVersion,
	"RE2 program size":                            "Envoy 1.38 limits it",
	"update_frequency":                            differing["retries, priorities of before, less than never"],
	"Didn't find a registered implementation for": "only names of what we carry out are known",
	// Where secrets come over ADS, Envoy makes the context when they have come, and refuses them.
	"Failed to initialize": "it holds of the cluster, whenever the secrets come",
}

// TestMutations: to random changes both give the same answer, but for what we say we do not carry
// out.
func TestMutations(t *testing.T) {
	s := newSubject(t, apis["delta"])
	s.begin(goods(t))
	seed := startSeed(t)
	list := bases(t, seed)
	counts := map[string]int{}
	n, last := 0, ""
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the last one: ", last)
		}
	})
	for ; !enough(n, 4000); n++ {
		r := mutator{rand.New(rand.NewPCG(seed, uint64(n)))}
		b := list[r.IntN(len(list))]
		said := ""
		if b.resource, said = r.mutate(b.resource); deadly(b.resource) {
			continue
		}
		text, _ := protojson.MarshalOptions{Multiline: false}.Marshal(b.resource)
		last = fmt.Sprintf("mutation %d of %s (%s)\n%s", n, b.name, said, text)
		ours := ourVerdict(t, b.resource)
		switch {
		case ours.word == notCarried:
			counts["not asked, for we say: "+ours.word]++
			continue
		case strings.Contains(ours.why, "path_template"): // ends Envoy, see broken.yaml
			counts["not asked: a bad template"]++
			continue
		}
		theirs := s.judge(b)
		counts[theirs.word+", we: "+ours.word]++
		if theirs.word == ours.word || excused(theirs, ours) {
			continue
		}
		t.Errorf("Envoy says %s (%s), we say %s (%s): %s", theirs.word, oneLine(theirs.why),
			ours.word, ours.why, last)
		if counts["different"]++; counts["different"] > 30 {
			break
		}
	}
	t.Logf("%d mutations: %v", n, counts)
	if counts[taken+", we: "+taken] == 0 || counts[refused+", we: "+refused] == 0 {
		t.Error("nothing was taken, or nothing refused, by both")
	}
}

func excused(theirs, ours verdict) bool {
	for part := range allowed {
		if strings.Contains(theirs.why, part) || strings.Contains(ours.why, part) {
			return true
		}
	}
	return false
}

// deadly are resources that end a real Envoy, or keep it busy for seconds.
func deadly(m proto.Message) bool {
	if l, ok := m.(*listenerv3.Listener); ok {
		return len(l.GetAdditionalAddresses()) > 0 // an empty one is a null pointer in Envoy 1.40
	}
	c, ok := m.(*clusterv3.Cluster)
	if !ok {
		return false
	}
	size := c.GetMaglevLbConfig().GetTableSize().GetValue()
	return size == 1 || size > 100000 || c.GetRingHashLbConfig().GetMinimumRingSize().GetValue() > 100000
}

// randomResources are resources of a random configuration, one of each type, under the names of the
// good ones.
func randomResources(t *testing.T, seed uint64) map[string]proto.Message {
	out := map[string]proto.Message{}
	for _, snapshot := range randomSnapshots(t, seed) {
		snapshot = unbound(snapshot)
		for _, typeURL := range types { // secrets are no configuration
			resources := snapshot.Resources(typeURL)
			for _, name := range slices.Sorted(maps.Keys(resources)) {
				out[typeURL] = renamed(resources[name])
			}
		}
	}
	return out
}

func renamed(m proto.Message) proto.Message {
	m = proto.Clone(m)
	switch m := m.(type) {
	case *clusterv3.Cluster:
		m.Name = oddName
	case *endpointv3.ClusterLoadAssignment:
		m.ClusterName = goodName
	case *listenerv3.Listener:
		m.Name = oddName
		m.Address.GetSocketAddress().Address = "127.0.0.1"
		m.Address.GetSocketAddress().PortSpecifier = portFour
	case *routev3.RouteConfiguration:
		m.Name = goodName
	}
	return m
}

package accept_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

var update = flag.Bool("update", false, "rewrite testdata/broken.txt")

// types are the words of good.yaml.
var types = map[string]string{
	"cluster": xds.ClusterType, "endpoints": xds.EndpointType, "listener": xds.ListenerType,
	"routes": xds.RouteType,
}

func empty(typeURL string) proto.Message {
	switch typeURL {
	case xds.ClusterType:
		return &clusterv3.Cluster{}
	case xds.EndpointType:
		return &endpointv3.ClusterLoadAssignment{}
	case xds.ListenerType:
		return &listenerv3.Listener{}
	}
	return &routev3.RouteConfiguration{}
}

// good is a resource of good.yaml.
type good struct {
	Type     string
	Resource map[string]any
}

// broken is one entry of broken.yaml.
type broken struct {
	name, typeURL string
	dies          bool
	resource      proto.Message
}

func load(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatal(file, ": ", err)
	}
}

// brokenOnes reads broken.yaml, in its order.
func brokenOnes(t *testing.T) []broken {
	var goods map[string]good
	load(t, "testdata/good.yaml", &goods)
	var sections []struct {
		Of, At, Without string
		Dies            bool
		With            yaml.Node
	}
	load(t, "testdata/broken.yaml", &sections)
	var out []broken
	seen := map[string]bool{}
	for _, s := range sections {
		base, ok := goods[s.Of]
		if !ok {
			t.Fatalf("good.yaml has no %q", s.Of)
		}
		for i := 0; i+1 < len(s.With.Content); i += 2 {
			name := s.With.Content[i].Value
			if seen[name] {
				t.Errorf("two entries are called %q", name)
			}
			seen[name] = true
			var change any
			if err := s.With.Content[i+1].Decode(&change); err != nil {
				t.Fatal(name, ": ", err)
			}
			tree := any(base.Resource)
			if s.Without != "" {
				tree = apply(tree, steps(s.Without), nil)
			}
			tree = apply(tree, steps(s.At), change)
			text, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			b := broken{name, types[base.Type], s.Dies, empty(types[base.Type])}
			if err := protojson.Unmarshal(text, b.resource); err != nil {
				t.Errorf("%s: %v\n%s", name, err, text)
				continue
			}
			out = append(out, b)
		}
	}
	return out
}

// steps cuts a.0."b.c" in its parts.
func steps(path string) []string {
	var out []string
	for path != "" {
		step := ""
		if rest, quoted := strings.CutPrefix(path, `"`); quoted {
			step, path, _ = strings.Cut(rest, `"`)
			path = strings.TrimPrefix(path, ".")
		} else {
			step, path, _ = strings.Cut(path, ".")
		}
		out = append(out, step)
	}
	return out
}

// apply returns a tree with a change merged in at a place; nothing of the tree itself changes.
func apply(tree any, at []string, change any) any {
	if len(at) == 0 {
		over, ok := change.(map[string]any)
		base, too := tree.(map[string]any)
		if !ok || !too {
			return change
		}
		out := maps.Clone(base)
		for k, v := range over {
			if v == nil {
				delete(out, k)
			} else {
				out[k] = apply(out[k], nil, v)
			}
		}
		return out
	}
	if i, err := strconv.Atoi(at[0]); err == nil {
		list, _ := tree.([]any)
		list = slices.Clone(list)
		for len(list) <= i {
			list = append(list, map[string]any{})
		}
		list[i] = apply(list[i], at[1:], change)
		return list
	}
	base, _ := tree.(map[string]any)
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	if len(at) == 1 && change == nil {
		delete(out, at[0])
		return out
	}
	out[at[0]] = apply(out[at[0]], at[1:], change)
	return out
}

// verdict is what one data plane says to a resource.
type verdict struct{ word, why string }

// The words.
const (
	taken      = "ACK"
	refused    = "NACK"
	notCarried = "not carried out" // ours only: it says so by name, and Envoy may take it
)

// ourVerdict asks our engine.
func ourVerdict(t *testing.T, m proto.Message) verdict {
	wire, err := proto.Marshal(m)
	if err != nil {
		return verdict{refused, err.Error()}
	}
	got := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(wire, got); err != nil {
		return verdict{refused, err.Error()}
	}
	e := engine.New(engine.Options{})
	if err = e.Check(got); err == nil {
		if l, ok := got.(*listenerv3.Listener); ok { // which stands beside another
			s := xds.NewSnapshot()
			good := goods(t)[xds.ListenerType].(*listenerv3.Listener)
			s.Listeners[good.Name] = good
			if err := e.Update(0, s); err != nil {
				t.Fatal(err)
			}
			s.Listeners = maps.Clone(s.Listeners)
			s.Listeners[oddName] = l
			err = e.Update(0, s)
		}
	}
	if err == nil {
		return verdict{word: taken}
	}
	for line := range strings.Lines(err.Error()) {
		if !strings.Contains(line, "not carried out") {
			return verdict{refused, strings.TrimSpace(line)}
		}
	}
	return verdict{notCarried, err.Error()}
}

// judge sends one resource in the place of the good one, and takes it away again.
func (s *subject) judge(b broken) verdict {
	s.t.Helper()
	good := named{goodName, s.good[b.typeURL]}
	name := goodName
	if b.typeURL == xds.ClusterType || b.typeURL == xds.ListenerType {
		name = oddName
	}
	if l, ok := b.resource.(*listenerv3.Listener); ok { // each at its own address
		if a := l.GetAddress().GetSocketAddress(); a.GetPortValue() == 4 {
			l = proto.Clone(l).(*listenerv3.Listener)
			s.port++
			l.Address.GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: s.port}
			b.resource = l
		}
	}
	var why string
	switch odd := (named{name, b.resource}); {
	case name == goodName:
		why = s.send(b.typeURL, odd)
		s.must(b.typeURL, s.send(b.typeURL, good))
	case s.s.delta:
		why = s.send(b.typeURL, odd)
		s.must(b.typeURL, s.reply(reply{typeURL: b.typeURL, removed: []string{name}}))
	default:
		why = s.send(b.typeURL, good, odd)
		s.must(b.typeURL, s.send(b.typeURL, good))
	}
	if why == "" {
		return verdict{word: taken}
	}
	return verdict{refused, why}
}

func (s *subject) must(typeURL, refusal string) {
	s.t.Helper()
	if refusal != "" {
		s.t.Fatalf("%s: the good resource is refused: %s", typeURL, refusal)
	}
}

// Names of the good resources, and of a broken one beside them.
const goodName, oddName = "m", "x"

// portFour is the port of good.yaml, in the place of which each listener gets its own.
var portFour = &corev3.SocketAddress_PortValue{PortValue: 4}

// goods are the resources that stand all the time.
func goods(t *testing.T) map[string]proto.Message {
	var list map[string]good
	load(t, "testdata/good.yaml", &list)
	out := map[string]proto.Message{}
	for name, change := range map[string]map[string]any{
		"cluster": {"name": goodName}, "endpoints": {}, "routes": {},
		"http": {"name": goodName, "address": map[string]any{
			"socketAddress": map[string]any{"portValue": 3}}},
	} {
		g := list[name]
		text, err := json.Marshal(apply(g.Resource, nil, change))
		if err != nil {
			t.Fatal(err)
		}
		m := empty(types[g.Type])
		if err := protojson.Unmarshal(text, m); err != nil {
			t.Fatal(err)
		}
		out[types[g.Type]] = m
	}
	return out
}

// differing are the entries of broken.yaml to which we answer otherwise than Envoy, with the reason.
var differing = map[string]string{
	"TCP logged by nobody":                           noLogs,
	"manager, logged by nobody":                      noLogs,
	"manager with routes to an unknown cluster":      noClusterCheck,
	"routes, clusters checked":                       noClusterCheck,
	"retries, priorities of before, less than never": "Envoy takes it, and throws when a request retries",
	"ext_authz, nothing at all":                      noService,
	"ext_authz, V3 alone":                            noService,
	"tls, certificate of nothing":                    "no certificate is shown, which would surprise",
	"tls, versions the wrong way round":              noVersion,
	"tls, highest version below the usual lowest":    noVersion,
}

const (
	noLogs         = "access logs are not looked at: every request is recorded anyway"
	noService      = "Envoy takes it, and has nobody to ask when a request comes"
	noVersion      = "Envoy takes it, and no handshake can succeed"
	noClusterCheck = "the cluster may come later; requests get 503 until then"
)

// older are the entries that older minor versions answer otherwise than the recorded one.
var older = map[string][]string{
	"match a regex of a letter class": {"1.38"}, // its RE2 programs may have 100 instructions
	// claim_path is new in 1.40.
	"jwt, claim of both": {"1.38", "1.39"}, "jwt, claim of a path": {"1.38", "1.39"},
}

func otherwise(name, version string) bool {
	return slices.ContainsFunc(older[name], func(minor string) bool {
		return strings.HasPrefix(version, minor+".")
	})
}

// versionOf asks the binary: "envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL".
func versionOf(t *testing.T) string {
	out, err := exec.Command(envoyBinary(t), "--version").Output()
	found := regexp.MustCompile(`version: [0-9a-f]+/([0-9.]+)/`).FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("--version: %v %q", err, out)
	}
	return string(found[1])
}

// TestBroken: our engine refuses what Envoy refuses. testdata/broken.txt holds the answers, so that
// ours are checked where there is no Envoy.
func TestBroken(t *testing.T) {
	ones := brokenOnes(t)
	if len(ones) < 80 {
		t.Fatalf("only %d", len(ones))
	}
	recorded := recordedAnswers(t)
	ours := map[string]verdict{}
	for _, b := range ones {
		ours[b.name] = ourVerdict(t, b.resource)
		theirs, ok := recorded[b.name]
		if !ok && !*update {
			t.Errorf("%s: not recorded; run with -update and an Envoy", b.name)
		}
		if ok && !*update {
			compare(t, b.name, theirs, ours[b.name])
		}
	}
	for name, api := range apis {
		t.Run(name, func(t *testing.T) {
			version := versionOf(t)
			s := newSubject(t, api)
			s.begin(goods(t))
			var out strings.Builder
			for _, b := range ones {
				theirs := verdict{refused, "it dies"}
				if !b.dies {
					theirs = s.judge(b)
				}
				want, ok := recorded[b.name]
				if ok && !*update && want.word != theirs.word && !otherwise(b.name, version) {
					t.Errorf("%s: this Envoy says %s (%s), recorded is %s", b.name, theirs.word,
						theirs.why, want.word)
				}
				if *update {
					compare(t, b.name, theirs, ours[b.name])
				}
				fmt.Fprintf(&out, "%s | %s | %s | %s\n", b.name, theirs.word, ours[b.name].word,
					oneLine(theirs.why))
			}
			if *update && s.s.delta {
				if err := os.WriteFile(answers, []byte(heading+out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func compare(t *testing.T, name string, theirs, ours verdict) {
	t.Helper()
	if why := differing[name]; why != "" {
		if theirs.word == ours.word {
			t.Errorf("%s: no difference any more; take it off the list (%s)", name, why)
		}
		return
	}
	if theirs.word != ours.word && (theirs.word != taken || ours.word != notCarried) &&
		(theirs.word != refused || ours.word != notCarried) {
		t.Errorf("%s: Envoy says %s (%s), we say %s (%s)", name, theirs.word, theirs.why,
			ours.word, ours.why)
	}
}

const (
	answers = "testdata/broken.txt"
	heading = "# entry of broken.yaml | Envoy | our data plane | Envoy's reason (go test ./meshcore/accept -run TestBroken -update)\n"
)

// debugMark is what protobuf writes before its debug strings: another word with each build or run.
var debugMark = regexp.MustCompile(`goo\.gle/debug\w+ *`)

func oneLine(s string) string {
	s = debugMark.ReplaceAllString(strings.Join(strings.Fields(s), " "), "")
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	return s
}

func recordedAnswers(t *testing.T) map[string]verdict {
	text, err := os.ReadFile(answers)
	if err != nil && !*update {
		t.Fatal(err)
	}
	out := map[string]verdict{}
	for line := range strings.Lines(string(text)) {
		if f := strings.SplitN(strings.TrimSpace(line), " | ", 4); len(f) >= 3 && f[0][0] != '#' {
			out[f[0]] = verdict{word: f[1]}
		}
	}
	return out
}

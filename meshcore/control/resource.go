package control

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// kind is a resource type, by its place in xds.Types: the order in which responses leave.
type kind uint8

const (
	cds kind = iota
	eds
	sds
	lds
	rds
	kinds
)

var kindNames = [kinds]string{"CDS", "EDS", "SDS", "LDS", "RDS"}

func (k kind) String() string  { return kindNames[k] }
func (k kind) typeURL() string { return xds.Types[k] }

// legacyWildcard says whether a first request without names asks for everything.
func (k kind) legacyWildcard() bool { return k == cds || k == lds }

func kindOf(typeURL string) (kind, bool) {
	i := slices.Index(xds.Types, typeURL)
	return kind(max(i, 0)), i >= 0
}

// resource is one marshalled resource, shared by all the proxies that are given it.
type resource struct {
	version string // hash of the deterministic encoding
	digest  digest // of name and version
	body    *anypb.Any
	delta   *discoveryv3.Resource
	refs    references
}

// set is all the resources of one kind for one proxy. It is immutable.
type set struct {
	byName map[string]*resource
	digest digest // of all names and versions, whatever their order
}

// digest identifies a resource by name and version, or, by exclusive or, a set of resources.
type digest [16]byte

func (d *digest) add(e digest) { subtle.XORBytes(d[:], d[:], e[:]) }

func newSet(byName map[string]*resource) *set {
	s := &set{byName: byName}
	for _, r := range byName {
		s.digest.add(r.digest)
	}
	return s
}

func (s *set) version() string { return hex.EncodeToString(s.digest[:8]) }

// union returns s with what older has beside it.
func (s *set) union(older *set) *set {
	if older == nil {
		return s
	}
	extra := 0
	for name := range older.byName {
		if s.byName[name] == nil {
			extra++
		}
	}
	if extra == 0 {
		return s
	}
	all := &set{byName: make(map[string]*resource, len(s.byName)+extra), digest: s.digest}
	maps.Copy(all.byName, s.byName)
	for name, r := range older.byName {
		if s.byName[name] == nil {
			all.byName[name] = r
			all.digest.add(r.digest)
		}
	}
	return all
}

func sameSet(a, b *set) bool {
	return a == b || a != nil && b != nil && a.digest == b.digest
}

func short(hash []byte) string { return hex.EncodeToString(hash[:8]) }

// cache keeps marshalled resources from one Set to the next: by pointer, so that what is shared by
// many proxies is marshalled once, and by content, so that equal resources share their bytes.
type cache struct {
	byMessage, lastByMessage map[proto.Message]*resource
	byContent, lastByContent map[string]*resource
}

// begin starts a generation; what the generation before the last one used is forgotten.
func (c *cache) begin() {
	c.lastByMessage, c.byMessage = c.byMessage, map[proto.Message]*resource{}
	c.lastByContent, c.byContent = c.byContent, map[string]*resource{}
}

func (c *cache) resource(k kind, name string, m proto.Message) (*resource, error) {
	if own := xds.Name(m); own != name {
		return nil, fmt.Errorf("%s %q is kept as %q", k, own, name)
	}
	if r := c.byMessage[m]; r != nil {
		return r, nil
	}
	r := c.lastByMessage[m]
	if r == nil {
		var err error
		if r, err = c.marshal(k, name, m); err != nil {
			return nil, err
		}
	}
	c.byMessage[m] = r
	c.byContent[k.String()+name+"\x00"+r.version] = r
	return r, nil
}

func (c *cache) marshal(k kind, name string, m proto.Message) (*resource, error) {
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", k, name, err)
	}
	hash := sha256.Sum256(bytes)
	version := short(hash[:])
	key := k.String() + name + "\x00" + version
	for _, known := range []*resource{c.byContent[key], c.lastByContent[key]} {
		if known != nil {
			return known, nil
		}
	}
	refs, err := referencesOf(m)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(name + "\x00" + version))
	body := &anypb.Any{TypeUrl: k.typeURL(), Value: bytes}
	return &resource{
		version: version,
		digest:  digest(sum[:16]),
		body:    body,
		delta:   &discoveryv3.Resource{Name: name, Version: version, Resource: body},
		refs:    refs,
	}, nil
}

// references are what a resource asks for: EDS name of a cluster, RDS names of a listener, and the
// names of secrets of both.
type references map[kind][]string

func referencesOf(m proto.Message) (references, error) {
	refs := references{}
	switch m := m.(type) {
	case *clusterv3.Cluster:
		if n, ok := xds.EndpointName(m); ok {
			refs[eds] = []string{n}
		}
	case *listenerv3.Listener:
		names, err := xds.RouteNames(m)
		if err != nil {
			return nil, err
		}
		refs[rds] = names
	default:
		return nil, nil
	}
	var err error
	refs[sds], err = xds.SecretNames(m)
	return refs, err
}

// sets is everything that one proxy is given.
type sets [kinds]*set

// sets marshals a snapshot. What it says of references is what Snapshot.Consistent says, from
// references that are read once for each resource.
func (c *cache) sets(s *xds.Snapshot) (sets, error) {
	var out sets
	for k := range kinds {
		from := s.Resources(k.typeURL())
		byName := make(map[string]*resource, len(from))
		for name, m := range from {
			r, err := c.resource(k, name, m)
			if err != nil {
				return sets{}, err
			}
			byName[name] = r
		}
		out[k] = newSet(byName)
	}
	return out, out.complete()
}

// complete checks that what is referenced is there: a proxy would wait for it for ever. Of secrets
// it would not: without a gateway's credential, its listener works but for what needs it.
func (s *sets) complete() error {
	for _, pair := range [][2]kind{{cds, eds}, {lds, rds}} {
		for _, name := range slices.Sorted(maps.Keys(s[pair[0]].byName)) {
			for _, ref := range s[pair[0]].byName[name].refs[pair[1]] {
				if _, ok := s[pair[1]].byName[ref]; !ok {
					return fmt.Errorf("%s %s refers to %s %s, which is not in the snapshot",
						pair[0], name, pair[1], ref)
				}
			}
		}
	}
	return nil
}

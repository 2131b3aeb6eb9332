package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Consistent reports what the resources refer to that the snapshot does not have: a proxy would
// wait for it for ever. Clusters that routes name may be missing (Envoy answers 503 NC then, as
// users expect of a route to an unknown host).
func (s *Snapshot) Consistent() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.Listeners)) {
		routes, err := RouteNames(s.Listeners[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("listener %s: %w", name, err))
		}
		for _, r := range routes {
			if s.Routes[r] == nil {
				errs = append(errs, fmt.Errorf("listener %s: no route configuration %s", name, r))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Clusters)) {
		if e, ok := EndpointName(s.Clusters[name]); ok && s.Endpoints[e] == nil {
			errs = append(errs, fmt.Errorf("cluster %s: no endpoints %s", name, e))
		}
	}
	return errors.Join(append(errs, s.misnamed()...)...)
}

// misnamed reports resources that are kept under another name than their own.
func (s *Snapshot) misnamed() []error {
	var errs []error
	for _, typeURL := range Types {
		resources := s.Resources(typeURL)
		for _, key := range slices.Sorted(maps.Keys(resources)) {
			if own := Name(resources[key]); own != key {
				errs = append(errs, fmt.Errorf("%s %q is kept as %q", typeURL, own, key))
			}
		}
	}
	return errs
}

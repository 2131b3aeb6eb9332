// Package jwks keeps the public keys of token issuers, as istiod does: it fetches what a
// configuration does not bring along, and again from time to time, for issuers change their keys.
//
//	RequestAuthentication ─▶ translate.KeyRequests ─▶ Fetch ─▶ Keys ─▶ translate.NewWithKeys
//	                                                     ▲ Refresh, every 20 minutes
//
// It opens no connections: how a URI is fetched is an argument, and so is the time.
package jwks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// Istio pilot/pkg/model/jwks_resolver.go, pilot/pkg/features/pilot.go.
const (
	// Interval is how often keys are fetched again, by default.
	Interval = 20 * time.Minute
	// onFailure is the same after a failure; it doubles with each further one up to longest.
	onFailure = time.Minute
	longest   = time.Hour
	// eviction is how long keys live that can not be fetched again.
	eviction = 7 * 24 * time.Hour
)

// Get fetches the body of a URI; an answer other than 2xx is an error.
type Get func(ctx context.Context, uri string) ([]byte, error)

// Store holds the keys that were fetched. It is safe for concurrent use.
type Store struct {
	get Get

	mu    sync.Mutex
	sets  map[translate.KeySource]*set
	pause time.Duration // until the next refresh; 0: the last one succeeded
}

// set is the keys of one source.
type set struct {
	timeout time.Duration
	text    string // empty: never fetched
	err     error  // of the last attempt
	fetched time.Time
}

// New returns an empty store.
func New(get Get) *Store { return &Store{get: get, sets: map[translate.KeySource]*set{}} }

// Keys returns what there is.
func (s *Store) Keys() translate.Keys {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := translate.Keys{}
	for source, set := range s.sets {
		if set.text != "" {
			out[source] = set.text
		}
	}
	return out
}

// Fetch fetches what requests ask for and the store does not have, once and all at the same time,
// and forgets what no request asks for. It reports whether there are keys that were not there.
func (s *Store) Fetch(
	ctx context.Context, requests []translate.KeyRequest, now time.Time,
) (changed bool) {
	s.mu.Lock()
	wanted := map[translate.KeySource]*set{}
	var missing []translate.KeySource
	for _, r := range requests {
		have := s.sets[r.KeySource]
		if have == nil {
			have = &set{}
		}
		have.timeout = r.Timeout
		wanted[r.KeySource] = have
		if have.text == "" {
			missing = append(missing, r.KeySource)
		}
	}
	s.sets = wanted
	s.mu.Unlock()
	changed, _ = s.fetch(ctx, missing, now)
	return changed
}

// Refresh fetches everything again. Keys that can not be fetched stay for a week. It reports
// whether some have changed, and when to refresh next.
func (s *Store) Refresh(ctx context.Context, now time.Time) (changed bool, next time.Duration) {
	s.mu.Lock()
	var sources []translate.KeySource
	for source := range s.sets {
		sources = append(sources, source)
	}
	s.mu.Unlock()
	changed, failed := s.fetch(ctx, sources, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !failed:
		s.pause = 0
		return changed, Interval
	case s.pause == 0:
		s.pause = onFailure
	default:
		s.pause = min(2*s.pause, longest)
	}
	return changed, s.pause
}

// fetch fetches sources, all at the same time, and notes what came of it.
func (s *Store) fetch(
	ctx context.Context, sources []translate.KeySource, now time.Time,
) (changed, failed bool) {
	texts, errs := make([]string, len(sources)), make([]error, len(sources))
	var wg sync.WaitGroup
	for i, source := range sources {
		wg.Go(func() { texts[i], errs[i] = s.ask(ctx, source) })
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, source := range sources {
		set := s.sets[source]
		if set == nil {
			continue // nobody wants it any more
		}
		set.err = errs[i]
		switch {
		case errs[i] == nil:
			changed = changed || !same(set.text, texts[i])
			set.text, set.fetched = texts[i], now
		case set.text != "" && now.Sub(set.fetched) >= eviction:
			changed, failed = true, true
			set.text = ""
		default:
			failed = true
		}
	}
	return changed, failed
}

// ask fetches the keys of a source.
func (s *Store) ask(ctx context.Context, source translate.KeySource) (string, error) {
	s.mu.Lock()
	timeout := s.sets[source].timeout
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	uri := source.URI
	if uri == "" {
		var err error
		if uri, err = s.discover(ctx, source.Issuer); err != nil {
			return "", err
		}
	}
	body, err := s.get(ctx, uri)
	if err != nil {
		return "", fmt.Errorf("GET %s: %w", uri, err)
	}
	if !isSet(body) {
		return "", fmt.Errorf("GET %s: is no JSON Web Key Set: a JSON object with the list "+
			`"keys"`, uri)
	}
	return string(body), nil
}

// discover asks an issuer where its keys are (OpenID Connect Discovery 1.0, section 4).
func (s *Store) discover(ctx context.Context, issuer string) (string, error) {
	at := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	body, err := s.get(ctx, at)
	if err != nil {
		return "", fmt.Errorf("GET %s: %w", at, err)
	}
	var config struct {
		URI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &config); err != nil {
		return "", fmt.Errorf("GET %s: is no JSON object: %w", at, err)
	}
	if config.URI == "" {
		return "", fmt.Errorf("GET %s: %w", at, errNoURI)
	}
	return config.URI, nil
}

var errNoURI = errors.New("names no jwks_uri")

// isSet tells keys from whatever else a server answers.
func isSet(body []byte) bool {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	return json.Unmarshal(body, &set) == nil && set.Keys != nil
}

// same compares two sets as values.
func same(a, b string) bool {
	if a == b {
		return true
	}
	var x, y bytes.Buffer
	return json.Compact(&x, []byte(a)) == nil && json.Compact(&y, []byte(b)) == nil &&
		bytes.Equal(x.Bytes(), y.Bytes())
}

// Problems warns of the requests whose keys could not be fetched: proxies refuse their tokens.
func (s *Store) Problems(requests []translate.KeyRequest) []istio.Diagnostic {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []istio.Diagnostic
	for _, r := range requests {
		set := s.sets[r.KeySource]
		if set == nil || set.text != "" || set.err == nil {
			continue
		}
		out = append(out, istio.Diagnostic{
			Severity: istio.Warning, Place: r.Object.At(r.Field), Object: r.Object.Ref(),
			Field: r.Field,
			Msg: fmt.Sprintf("its keys could not be fetched, so every token is refused: %v",
				set.err),
		})
	}
	return out
}

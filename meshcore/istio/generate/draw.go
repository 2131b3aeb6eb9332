package generate

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// draw is the randomness of one configuration.
type draw struct{ r *rand.Rand }

// chance is true percent times of a hundred.
func (d draw) chance(percent int) bool { return d.r.IntN(100) < percent }

// between returns a number of a range, both ends included.
func (d draw) between(least, most int) int { return least + d.r.IntN(most-least+1) }

// pick returns one of some values.
func pick[T any](d draw, of ...T) T { return of[d.r.IntN(len(of))] }

// some returns at least one of some values, in their order.
func some[T any](d draw, of ...T) []T {
	var out []T
	for _, v := range of {
		if d.chance(40) {
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		out = append(out, pick(d, of...))
	}
	return out
}

// someOf is some as a list of YAML.
func someOf[T any](d draw, of ...T) list {
	var out list
	for _, v := range some(d, of...) {
		out = append(out, v)
	}
	return out
}

// field is a field that comes up in so many of a hundred messages.
type field struct {
	name    string
	percent int
	value   func() any
}

// of is a field with one of some values.
func of[T any](d draw, name string, percent int, values ...T) field {
	return field{name, percent, func() any { return pick(d, values...) }}
}

// fields sets fields of a message.
func (d draw) fields(t tree, fields ...field) tree {
	for _, f := range fields {
		if d.chance(f.percent) {
			t[f.name] = f.value()
		}
	}
	return t
}

// least is fields with at least one of them set.
func (d draw) least(t tree, fields ...field) tree {
	before := len(t)
	if d.fields(t, fields...); len(t) == before {
		f := pick(d, fields...)
		t[f.name] = f.value()
	}
	return t
}

// repeat makes a list of n values.
func repeat(n int, value func() any) list {
	out := make(list, n)
	for i := range out {
		out[i] = value()
	}
	return out
}

func sortedKeys(t tree) []string { return slices.Sorted(maps.Keys(t)) }

// percent is a share as Istio's Percent.
func (d draw) percent() any {
	return tree{"value": pick(d, 0.0, 0.0001, 0.1, 12.5, 33.33333, 50.0, 99.9999, 100.0)}
}

func (d draw) duration() any {
	return pick(d, "1ms", "25ms", "250ms", "1s", "1.5s", "2s", "1m30s", "1h")
}

// short is a duration that a test can wait for.
func (d draw) short() any { return pick(d, "1ms", "5ms", "20ms", "100ms") }

// object makes an object of Istio's networking API.
func object(kind, name, ns string, spec tree) Object {
	return Object{
		"apiVersion": "networking.istio.io/v1", "kind": kind,
		"metadata": tree{"name": name, "namespace": ns}, "spec": spec,
	}
}

func numbered(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, n) }

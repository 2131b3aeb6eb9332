package parity

import (
	"bytes"
	"context"
	"errors"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// maxApplies bounds the shrinking of one configuration.
const maxApplies = 400

// simplify makes the configuration of a finding as small as it can be while the request shows the
// same difference: objects, list items, map entries and fields are left out one after the other. It
// leaves the pair with the smallest configuration.
func (c *Checker) simplify(ctx context.Context, f *Finding) error {
	base, objects := divideConfig(c.Pair.config)
	fact := subject(f.Differences)
	applies, shrunk := 0, false
	for i := 0; applies < maxApplies; {
		candidates := reduced(objects)
		if i >= len(candidates) {
			if !shrunk {
				break
			}
			i, shrunk = 0, false // what could not go before may now
			continue
		}
		next, err := build(base, candidates[i])
		if err != nil {
			i++ // not valid without it
			continue
		}
		applies++
		same, err := c.shows(ctx, next, f.Smallest, fact)
		if err != nil {
			return err
		}
		if !same {
			i++
			continue
		}
		objects, shrunk = candidates[i], true
	}
	last, err := build(base, objects)
	if err != nil {
		return err
	}
	if err := c.Pair.Apply(ctx, last); err != nil {
		return err
	}
	f.Config, err = text(objects)
	return err
}

// shows says whether a request shows a difference under a configuration.
func (c *Checker) shows(
	ctx context.Context, conf *istio.Config, s request.Spec, fact string,
) (bool, error) {
	if err := c.Pair.Apply(ctx, conf); err != nil {
		return false, ctx.Err() // one that can not be carried out is no simpler one
	}
	a, b, err := c.Pair.ask(ctx, []request.Spec{s})
	if err != nil {
		return false, err
	}
	return subject(c.compare(&a[0], &b[0])) == fact, nil
}

// divideConfig tells the mesh itself from the rules about it.
func divideConfig(c *istio.Config) (base *istio.Config, objects []*istio.Object) {
	out := *c
	out.Objects = nil
	for _, o := range c.Objects {
		if isRule(o) {
			objects = append(objects, o)
		} else {
			out.Objects = append(out.Objects, o)
		}
	}
	return &out, objects
}

func isRule(o *istio.Object) bool {
	switch o.Kind {
	case "VirtualService", "DestinationRule", "PeerAuthentication", "RequestAuthentication",
		"AuthorizationPolicy":
		return true
	}
	return false
}

// text writes objects as YAML documents.
func text(objects []*istio.Object) (string, error) {
	var b bytes.Buffer
	for i, o := range objects {
		y, err := istio.Encode(o, istio.YAML)
		if err != nil {
			return "", err
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(y)
	}
	return b.String(), nil
}

// build reads objects as they would be written, so that what is not valid is refused.
func build(base *istio.Config, objects []*istio.Object) (*istio.Config, error) {
	y, err := text(objects)
	if err != nil {
		return nil, err
	}
	c, diags := istio.Read([]istio.File{{Name: "fuzz.yaml", Data: []byte(y)}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		return nil, errors.New(diags[0].String())
	}
	return istio.Merge(base, c), nil
}

// reduced lists lists of objects with one thing less, the largest things first.
func reduced(objects []*istio.Object) [][]*istio.Object {
	var out [][]*istio.Object
	replace := func(i int, with ...*istio.Object) {
		var next []*istio.Object
		next = append(next, objects[:i]...)
		next = append(next, with...)
		out = append(out, append(next, objects[i+1:]...))
	}
	for i := range objects {
		replace(i)
	}
	for i, o := range objects {
		body, ok := o.Body.(proto.Message)
		if !ok {
			continue
		}
		for _, less := range without(body.ProtoReflect()) {
			smaller := *o
			smaller.Body = less.Interface()
			replace(i, &smaller)
		}
	}
	return out
}

// without returns copies of a message with one field, item or entry less each, those of the message
// itself before those of messages in it.
func without(m protoreflect.Message) []protoreflect.Message {
	var shallow, deep []protoreflect.Message
	change := func(to *[]protoreflect.Message, f func(protoreflect.Message)) {
		c := proto.Clone(m.Interface()).ProtoReflect()
		f(c)
		*to = append(*to, c)
	}
	for i := range m.Descriptor().Fields().Len() {
		fd := m.Descriptor().Fields().Get(i)
		if !m.Has(fd) {
			continue
		}
		change(&shallow, func(c protoreflect.Message) { c.Clear(fd) })
		switch {
		case fd.IsMap():
			m.Get(fd).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				change(&shallow, func(c protoreflect.Message) { c.Mutable(fd).Map().Clear(k) })
				if fd.MapValue().Message() != nil {
					for _, less := range without(v.Message()) {
						change(&deep, func(c protoreflect.Message) {
							c.Mutable(fd).Map().Set(k, protoreflect.ValueOfMessage(less))
						})
					}
				}
				return true
			})
		case fd.IsList():
			l := m.Get(fd).List()
			for i := range l.Len() {
				change(&shallow, func(c protoreflect.Message) { drop(c.Mutable(fd).List(), i) })
				if fd.Message() != nil {
					for _, less := range without(l.Get(i).Message()) {
						change(&deep, func(c protoreflect.Message) {
							c.Mutable(fd).List().Set(i, protoreflect.ValueOfMessage(less))
						})
					}
				}
			}
		case fd.Message() != nil:
			for _, less := range without(m.Get(fd).Message()) {
				change(&deep, func(c protoreflect.Message) {
					c.Set(fd, protoreflect.ValueOfMessage(less))
				})
			}
		}
	}
	return append(shallow, deep...)
}

// drop takes an item out of a list.
func drop(l protoreflect.List, at int) {
	for i := at; i+1 < l.Len(); i++ {
		l.Set(i, l.Get(i+1))
	}
	l.Truncate(l.Len() - 1)
}

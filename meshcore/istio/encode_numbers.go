package istio

import (
	"bytes"
	"encoding/json"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// numbers takes the quotes off integers of 64 bits, which protobuf's JSON has and Istio's schema
// refuses.
func numbers(js []byte, d protoreflect.MessageDescriptor) ([]byte, error) {
	u := unquoter{dec: json.NewDecoder(bytes.NewReader(js))}
	if _, err := u.dec.Token(); err != nil {
		return nil, err
	}
	if err := u.entries(func(key string) protoreflect.FieldDescriptor {
		return d.Fields().ByJSONName(key)
	}); err != nil {
		return nil, err
	}
	for _, at := range slices.Backward(u.quotes) {
		js = slices.Delete(js, at, at+1)
	}
	return js, nil
}

// unquoter reads a message's JSON and finds the quotes of integers.
type unquoter struct {
	dec    *json.Decoder
	quotes []int
}

// entries reads the rest of an object.
func (u *unquoter) entries(field func(key string) protoreflect.FieldDescriptor) error {
	for u.dec.More() {
		key, err := u.dec.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		if err := u.value(field(name)); err != nil {
			return err
		}
	}
	_, err := u.dec.Token()
	return err
}

// value reads a value; f is nil when it is of no field, as in a Struct.
func (u *unquoter) value(f protoreflect.FieldDescriptor) error {
	t, err := u.dec.Token()
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return u.entries(func(key string) protoreflect.FieldDescriptor {
				return inside(f, key)
			})
		}
		for u.dec.More() {
			if err := u.value(f); err != nil {
				return err
			}
		}
		_, err = u.dec.Token()
	case string:
		if f != nil && slices.Contains(wide, f.Kind()) {
			end := int(u.dec.InputOffset())
			u.quotes = append(u.quotes, end-len(t)-2, end-1)
		}
	}
	return err
}

// wide are the kinds of integers that protobuf's JSON quotes.
var wide = []protoreflect.Kind{
	protoreflect.Int64Kind, protoreflect.Uint64Kind, protoreflect.Sint64Kind,
	protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind,
}

// inside returns the field of a key in the value of f.
func inside(f protoreflect.FieldDescriptor, key string) protoreflect.FieldDescriptor {
	switch {
	case f == nil:
		return nil
	case f.IsMap():
		return f.MapValue()
	case f.Message() == nil:
		return nil
	}
	return f.Message().Fields().ByJSONName(key)
}

package istio

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Used lists the Istio fields that a configuration's objects have, as the field table and
// docs/fidelity.md name them: "HTTPRoute.match", "HTTPMatchRequest.uri". Sorted, each once.
func Used(c *Config) []string {
	used := map[string]bool{}
	for _, o := range c.Objects {
		if m, ok := o.Body.(proto.Message); ok && !isKubernetes(o.Body) {
			use(m.ProtoReflect(), used)
		}
	}
	return slices.Sorted(maps.Keys(used))
}

// use notes the fields of a message and of those in it.
func use(m protoreflect.Message, used map[string]bool) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		used[string(m.Descriptor().Name())+"."+fd.JSONName()] = true
		switch {
		case fd.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				if fd.MapValue().Message() != nil {
					use(v.Message(), used)
				}
				return true
			})
		case fd.IsList():
			for i := 0; i < v.List().Len() && fd.Message() != nil; i++ {
				use(v.List().Get(i).Message(), used)
			}
		case fd.Message() != nil:
			use(v.Message(), used)
		}
		return true
	})
}

package scenarios

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// Schema returns the JSON Schema of scenario files. It is made from the same types that files are
// read into, so that both say the same.
func Schema() []byte {
	g := &schemer{defs: object{}}
	root := g.structure(reflect.TypeFor[Scenario]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "https://mesh-lab.dev/schema/scenario.json"
	root["title"] = "mesh-lab scenario"
	root["required"] = []string{"name", "mesh", "steps"}
	root["$defs"] = g.defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("scenarios: schema: " + err.Error())
	}
	return append(text, '\n')
}

type object = map[string]any

// changeShape is how a step changes the mesh, alone or beside a load.
type changeShape struct {
	Apply   Documents `yaml:"apply" about:"configuration: files, or objects written here"`
	Delete  Documents `yaml:"delete" about:"configuration to delete"`
	Scale   scaleList `yaml:"scale" about:"number of replicas of each workload"`
	Restart []string  `yaml:"restart" about:"killed pods or workloads to start again"`
	Rotate  Rotate    `yaml:"rotate" about:"certificates: issue all of them anew, now"`
	Exec    []Exec    `yaml:"exec" about:"calls of pods' own apps on localhost, past the mesh"`
}

// stepShape is a step as it is written; Step.decode reads it.
type stepShape struct {
	changeShape `yaml:",inline"`
	Name        string        `yaml:"name" about:"title of the scene"`
	Wait        time.Duration `yaml:"wait" about:"time that passes, as the story says"`
	Load        []Load        `yaml:"load" about:"traffic whose shares are judged"`
	Request     []Request     `yaml:"request" about:"a few exact requests"`
	Expect      expectShape   `yaml:"expect" about:"what must have been seen"`
}

// meanwhileShape is what may be done beside a load, as it is written; Meanwhile.decode reads it.
type meanwhileShape struct {
	changeShape `yaml:",inline"`
	Wait        time.Duration `yaml:"wait" about:"time that passes before the next"`
}

// rollbackShape is what is done in the end, as it is written; Rollback.decode reads it.
type rollbackShape struct {
	changeShape `yaml:",inline"`
	Wait        time.Duration `yaml:"wait" about:"time that passes before the next"`
}

// steadyShape is a steady state as it is written; Steady.decode reads it.
type steadyShape struct {
	Name    string      `yaml:"name" about:"how reports call it; steady state unless said"`
	Load    []Load      `yaml:"load" about:"traffic before the story, and again after it"`
	Request []Request   `yaml:"request" about:"exact requests, before the story and after it"`
	Expect  expectShape `yaml:"expect" about:"what must hold before, and again after"`
	During  expectShape `yaml:"during" about:"how far it may bend while the story is told"`
}

// story makes an object of a struct's fields, the faults, and their end.
func (g *schemer) story(t reflect.Type) object {
	out := g.structure(t)
	properties := out["properties"].(object)
	for i := range faultKinds {
		k := &faultKinds[i]
		one := g.def("fault "+k.key, func() object {
			return g.structure(reflect.TypeOf(k.shape()).Elem())
		})
		if k.words != nil {
			one = object{"anyOf": []any{one, object{"type": "string"}}}
		}
		properties[k.key] = described(listed(one), k.about)
	}
	properties["heal"] = described(g.schema(reflect.TypeFor[[]string]()),
		"ends faults, by their names, or all")
	return out
}

// listed is one, or a list of them.
func listed(one object) object {
	return object{"anyOf": []any{one, object{"type": "array", "items": one}}}
}

// expectShape is a step's list of expectations.
type expectShape struct{}

// schemer makes schemas of types; structs that have a name become definitions.
type schemer struct{ defs object }

var (
	textType   = reflect.TypeFor[encoding.TextUnmarshaler]()
	putterType = reflect.TypeFor[putter]()
)

func (g *schemer) schema(t reflect.Type) object {
	scalar := object{"type": []string{"string", "number", "boolean"}}
	p := reflect.PointerTo(t)
	switch {
	case t == reflect.TypeFor[Step]():
		return g.def("step", func() object { return g.story(reflect.TypeFor[stepShape]()) })
	case t == reflect.TypeFor[Meanwhile]():
		return g.def("meanwhile",
			func() object { return g.story(reflect.TypeFor[meanwhileShape]()) })
	case t == reflect.TypeFor[Rollback]():
		return listed(g.def("rollback",
			func() object { return g.structure(reflect.TypeFor[rollbackShape]()) }))
	case t == reflect.TypeFor[Steady]():
		return g.def("steady", func() object { return g.structure(reflect.TypeFor[steadyShape]()) })
	case t == reflect.TypeFor[Bandwidth]() || t == reflect.TypeFor[Size]():
		return object{"type": []string{"string", "integer"}, "pattern": `^[0-9.]+([KM]i?)?B?(/s)?$`}
	case t == reflect.TypeFor[Portion]():
		return object{"type": "string", "pattern": `^[0-9.]+\s*%$`}
	case t == reflect.TypeFor[Rotate]():
		return object{"const": "certificates"}
	case t == reflect.TypeFor[Documents]():
		one := object{"type": []string{"string", "object"}}
		return object{"anyOf": []any{one, object{"type": "array", "items": one}}}
	case t == reflect.TypeFor[expectShape]():
		return object{"type": "array", "items": g.def("expectation", g.expectation)}
	case t == reflect.TypeFor[Decided]():
		return object{"const": "decided"}
	case t == durationType || t == reflect.TypeFor[assert.Duration]():
		return object{"type": "string", "pattern": `^([0-9.]+(ns|us|µs|ms|s|m|h))+$`}
	case t == reflect.TypeFor[assert.Points]():
		return object{"type": "string", "pattern": `^\s*±?\s*[0-9.]+\s*%\s*$`}
	case p.Implements(textType) || t == reflect.TypeFor[TextFile]():
		return scalar
	case p.Implements(putterType):
		return object{"type": "object", "additionalProperties": scalar}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.schema(t.Elem())
	case reflect.Slice:
		one := g.schema(t.Elem())
		if t.Elem() == reflect.TypeFor[Step]() {
			return object{"type": "array", "items": one, "minItems": 1}
		}
		return listed(one)
	case reflect.Struct:
		return g.def(strings.ToLower(t.Name()), func() object { return g.structure(t) })
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int:
		return object{"type": "integer", "minimum": 0}
	case reflect.Float64:
		return object{"type": "number", "minimum": 0}
	}
	return scalar
}

// def makes a definition once and refers to it.
func (g *schemer) def(name string, make func() object) object {
	if _, known := g.defs[name]; !known {
		g.defs[name] = nil // holds the name while it is made
		g.defs[name] = make()
	}
	return object{"$ref": "#/$defs/" + name}
}

// structure makes an object of a struct's tagged fields.
func (g *schemer) structure(t reflect.Type) object {
	properties := object{}
	out := object{"type": "object", "properties": properties, "additionalProperties": false}
	var scalar object
	g.fields(t, properties, out, &scalar)
	if scalar != nil {
		return object{"anyOf": []any{scalar, out}}
	}
	return out
}

func (g *schemer) fields(t reflect.Type, properties, out object, scalar *object) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case option == "inline" && reflect.PointerTo(f.Type).Implements(putterType):
			out["additionalProperties"] = g.schema(f.Type)["additionalProperties"]
			out["description"] = f.Tag.Get("about")
		case option == "inline":
			g.fields(f.Type, properties, out, scalar)
		case name != "" && name != "-":
			s := g.schema(f.Type)
			if f.Tag.Get("scalar") != "" {
				*scalar = s
			}
			s = described(s, f.Tag.Get("about"))
			properties[name] = s
		}
	}
}

// described returns a copy of a schema with a description.
func described(s object, about string) object {
	out := object{"description": about}
	for k, v := range s {
		out[k] = v
	}
	return out
}

// expectation makes the choice of all expectations: an object with exactly one key.
func (g *schemer) expectation() object {
	properties := object{}
	for _, k := range assert.Kinds {
		properties[k.Key] = described(g.schema(reflect.TypeOf(k.New()).Elem()), k.About)
	}
	return object{
		"type": "object", "properties": properties, "additionalProperties": false,
		"patternProperties": object{`^p[0-9]+(\.[0-9]+)?$`: properties["p99"]},
		"minProperties":     1, "maxProperties": 1,
	}
}

// Package bootstrap reads Envoy bootstrap files: the same ones that are given to envoy -c. What
// mesh-lab does not carry out of one is an error that names the field; what may be ignored, and
// why, is in one table.
//
//	files, --config-yaml ─▶ Read ─▶ bootstrap.v3.Bootstrap ─▶ Check ─▶ errors by field
package bootstrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"
)

// File is a bootstrap, or a part of one.
type File struct {
	Name string // its ending says how it is written, as for Envoy: .yaml, .yml, .pb, .pb_text
	Data []byte
}

// Read merges files in their order, as Envoy merges --config-yaml into --config-path: messages
// field by field, lists one after the other. lax lets fields pass that Envoy 1.40 does not know
// (--allow-unknown-static-fields).
func Read(files []File, lax bool) (*bootstrapv3.Bootstrap, error) {
	out := &bootstrapv3.Bootstrap{}
	for _, f := range files {
		b := &bootstrapv3.Bootstrap{}
		if err := unmarshal(f, lax, b); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		proto.Merge(out, b)
	}
	return out, nil
}

// unmarshal reads one file (Envoy source/common/protobuf/utility.cc MessageUtil::loadFromFile: by
// its ending, else JSON).
func unmarshal(f File, lax bool, b *bootstrapv3.Bootstrap) error {
	data := f.Data
	switch ext := filepath.Ext(f.Name); ext {
	case ".pb":
		return proto.Unmarshal(data, b)
	case ".pb_text":
		return placed(prototext.UnmarshalOptions{DiscardUnknown: lax}.Unmarshal(data, b))
	case ".yaml", ".yml":
		var err error
		if data, err = toJSON(data); err != nil {
			return err
		}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New("it is empty")
	}
	return placed(protojson.UnmarshalOptions{DiscardUnknown: lax}.Unmarshal(data, b))
}

// place is where Go's proto packages say that an error is.
var place = regexp.MustCompile(`^proto:[\s\x{a0}]*(?:syntax error )?\(line (\d+):\d+\): `)

// unknown is what they say of a type that is not linked into the program.
var unknown = regexp.MustCompile(
	`unable to resolve "?(?:type\.googleapis\.com/)?([^"\]]+)"?: "?not found"?`)

// placed begins an error with its line.
func placed(err error) error {
	if err == nil {
		return nil
	}
	text := unknown.ReplaceAllString(err.Error(), "$1 is not carried out, or there is no such type")
	if m := place.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("line %s: %s", m[1], text[len(m[0]):])
	}
	return errors.New(text)
}

// toJSON writes YAML as JSON in which every key stands on its own line in the YAML, so that what is
// said of the JSON is true of the YAML.
func toJSON(data []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if doc.Kind == 0 {
		return nil, errors.New("it is empty")
	}
	w := writer{line: 1}
	if err := w.node(doc.Content[0], 0); err != nil {
		return nil, err
	}
	return w.out.Bytes(), nil
}

type writer struct {
	out  bytes.Buffer
	line int
}

// maxDepth bounds how deep a value may be nested, and maxJSON how much aliases may make of it.
const (
	maxDepth = 100
	maxJSON  = 64 << 20
)

// node writes a value.
func (w *writer) node(n *yaml.Node, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("line %d: nested deeper than %d", n.Line, maxDepth)
	}
	if w.out.Len() > maxJSON {
		return fmt.Errorf("line %d: aliases make more than %d MiB", n.Line, maxJSON>>20)
	}
	w.at(n.Line)
	switch n.Kind {
	case yaml.AliasNode:
		return w.node(n.Alias, depth+1)
	case yaml.MappingNode:
		return w.mapping(n, depth)
	case yaml.SequenceNode:
		w.out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				w.out.WriteByte(',')
			}
			if err := w.node(item, depth+1); err != nil {
				return err
			}
		}
		w.out.WriteByte(']')
		return nil
	}
	return w.scalar(n)
}

// at moves on to a line.
func (w *writer) at(line int) {
	for ; w.line < line; w.line++ {
		w.out.WriteByte('\n')
	}
}

func (w *writer) mapping(n *yaml.Node, depth int) error {
	w.out.WriteByte('{')
	for i := 0; i < len(n.Content); i += 2 {
		if i > 0 {
			w.out.WriteByte(',')
		}
		key := n.Content[i]
		if key.Tag == "!!merge" {
			return fmt.Errorf("line %d: << is not known to Envoy", key.Line)
		}
		w.at(key.Line)
		w.string(key.Value)
		w.out.WriteByte(':')
		if err := w.node(n.Content[i+1], depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

func (w *writer) scalar(n *yaml.Node) error {
	switch n.Tag {
	case "!!null", "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return fmt.Errorf("line %d: %w", n.Line, err)
		}
		b, err := json.Marshal(v)
		if err != nil { // .inf, .nan
			return fmt.Errorf("line %d: %s is not a number in JSON", n.Line, n.Value)
		}
		w.out.Write(b)
	default:
		w.string(n.Value)
	}
	return nil
}

func (w *writer) string(s string) {
	b, err := json.Marshal(s)
	if err != nil {
		b = []byte(strconv.Quote(s)) // strings always marshal
	}
	w.out.Write(b)
}

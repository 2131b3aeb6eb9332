package istio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Encoding is a form of text that Encode writes.
type Encoding int

// The encodings.
const (
	YAML Encoding = iota
	JSON
)

// Encode writes an object as kubectl get -o yaml or -o json does.
func Encode(o *Object, as Encoding) ([]byte, error) {
	js, err := encodeJSON(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Ref(), err)
	}
	if as == JSON {
		var out bytes.Buffer
		if err := json.Indent(&out, js, "", "  "); err != nil {
			return nil, err
		}
		out.WriteByte('\n')
		return out.Bytes(), nil
	}
	// JSON is YAML; parsing it keeps the order of fields, and without its style it is written as
	// blocks.
	var doc yaml.Node
	if err := yaml.Unmarshal(js, &doc); err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Ref(), err)
	}
	plainStyle(&doc)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Ref(), err)
	}
	return out.Bytes(), nil
}

// plainStyle lets the encoder choose styles, but for words that YAML 1.1 takes for booleans.
func plainStyle(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || !oldBool(n.Value) {
		n.Style = 0
	}
	for _, c := range n.Content {
		plainStyle(c)
	}
}

func encodeJSON(o *Object) ([]byte, error) {
	if spec, ok := o.Body.(proto.Message); ok && !isKubernetes(o.Body) {
		js, err := protojson.Marshal(spec)
		if err != nil {
			return nil, err
		}
		if js, err = numbers(js, spec.ProtoReflect().Descriptor()); err != nil {
			return nil, err
		}
		return json.Marshal(struct {
			APIVersion string          `json:"apiVersion"`
			Kind       string          `json:"kind"`
			Metadata   objectMeta      `json:"metadata"`
			Spec       json.RawMessage `json:"spec"`
		}{o.APIVersion, o.Kind, metaOf(o), js})
	}
	js, err := json.Marshal(o.Body)
	if err != nil {
		return nil, err
	}
	// Kubernetes' types begin with kind; people expect apiVersion first.
	if rest, ok := bytes.CutPrefix(js, fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q`, o.Kind,
		o.APIVersion)); ok {
		js = append(fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q`, o.APIVersion, o.Kind), rest...)
	}
	return withoutEmptyStatus(js), nil
}

func isKubernetes(body any) bool {
	_, ok := body.(metav1.Object)
	return ok
}

// objectMeta is what is kept of an Istio object's metadata.
type objectMeta struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Created     *time.Time        `json:"creationTimestamp,omitempty"`
}

func metaOf(o *Object) objectMeta {
	m := objectMeta{o.Name, o.Namespace, o.Labels, o.Annotations, nil}
	if !o.Created.IsZero() {
		t := o.Created.UTC()
		m.Created = &t
	}
	return m
}

// withoutEmptyStatus drops "status: {}", which Kubernetes' types always write.
func withoutEmptyStatus(js []byte) []byte {
	for _, empty := range []string{`,"status":{}`, `,"status":{"loadBalancer":{}}`} {
		if rest, ok := bytes.CutSuffix(js, []byte(empty+"}")); ok {
			return append(rest, '}')
		}
	}
	return js
}

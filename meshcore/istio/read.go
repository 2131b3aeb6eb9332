package istio

import (
	"cmp"
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReadOptions are the choices of Read.
type ReadOptions struct {
	// MeshConfig is a file with Istio's MeshConfig; it wins over the ConfigMap istio-system/istio.
	MeshConfig *File
	// Namespace is that of objects that name none; "default" when empty.
	Namespace string
	// Base is what the files are to be merged into, nil for nothing: its MeshConfig counts where
	// they bring none.
	Base *Config
}

// Read decodes and validates files. Every problem is reported, in the order of places. When one of
// them is an error (see HasErrors) the Config holds what could be read and must not be carried out.
func Read(files []File, opts ReadOptions) (*Config, []Diagnostic) {
	r := &reader{
		namespace: cmp.Or(opts.Namespace, "default"),
		seen:      map[identity]*Object{},
		goType:    goTypes{},
		data:      map[string][]byte{},
	}
	for _, f := range files {
		r.files = append(r.files, f.Name)
		r.file(f)
	}
	c := &Config{Objects: r.objects}
	r.meshConfig(c, opts.MeshConfig)
	r.http2(c, opts.Base)
	return c, sorted(r.diags, r.files)
}

// HasErrors reports whether one of the problems is an error.
func HasErrors(diags []Diagnostic) bool {
	return slices.ContainsFunc(diags, func(d Diagnostic) bool { return d.Severity == Error })
}

// reader collects the objects and problems of all files.
type reader struct {
	namespace string
	files     []string // in the order of the input
	objects   []*Object
	seen      map[identity]*Object
	diags     []Diagnostic
	goType    goTypes
	data      map[string][]byte // by file name
}

// identity tells objects apart as the API server does.
type identity struct{ group, kind, namespace, name string }

// sorted orders problems by place and drops repetitions, which aliases can make.
func sorted(diags []Diagnostic, files []string) []Diagnostic {
	rank := map[string]int{}
	for i, f := range files {
		rank[f] = i
	}
	slices.SortStableFunc(diags, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(rank[a.Place.File], rank[b.Place.File]),
			cmp.Compare(a.Place.Line, b.Place.Line),
			cmp.Compare(a.Place.Column, b.Place.Column),
		)
	})
	return slices.Compact(diags)
}

func (r *reader) file(f File) {
	r.data[f.Name] = f.Data
	budget, before := aliasBudget, len(r.diags)
	for doc, d := range documents(f) {
		if d == nil {
			d = bounded(doc, &budget)
		}
		if d != nil {
			r.add(*d)
		} else {
			r.document(doc)
		}
		if len(r.diags)-before > maxProblems {
			last := r.diags[len(r.diags)-1].Place
			r.add(
				Diagnostic{Place: last, Msg: "too many problems; the rest of the file is not read"},
			)
			return
		}
	}
}

// maxProblems is where reading a file ends at the next document: nobody reads so many.
const maxProblems = 10_000

// document reads an object, or the objects of a List.
func (r *reader) document(doc document) {
	root := deref(doc.root)
	if root.Kind != yaml.MappingNode {
		r.add(Diagnostic{
			Place: Place{File: doc.file, Line: root.Line, Column: root.Column},
			Msg: "the document must be an object with apiVersion, kind and metadata, not " + kindOf(
				root,
			),
		})
		return
	}
	if isGraph(root) {
		r.graph(document{file: doc.file, root: root})
		return
	}
	_, items := child(root, "items")
	if kind := peek(root, "kind"); items == nil || !isList(kind) {
		r.object(document{file: doc.file, root: root})
		return
	}
	d := r.decoder(doc.file, peek(root, "kind"))
	for _, e := range d.entries(root, nil) {
		switch e.name {
		case "apiVersion", "kind", "metadata":
		case "items":
			for i, item := range d.list(e.value, (*path)(nil).field("items")) {
				if item.Kind != yaml.MappingNode {
					d.wrongType(item, (*path)(nil).field("items").element(i), "an object")
					continue
				}
				r.document(document{file: doc.file, root: item})
			}
		default:
			d.unknown(e, nil, []string{"apiVersion", "kind", "metadata", "items"})
		}
	}
}

func isList(kind string) bool {
	return len(kind) >= 4 && kind[len(kind)-4:] == "List"
}

// peek returns a scalar at a path, or "".
func peek(n *yaml.Node, path ...string) string {
	for _, step := range path {
		_, value := child(deref(n), step)
		if value == nil {
			return ""
		}
		n = value
	}
	if n = deref(n); n.Kind != yaml.ScalarNode || isNull(n) {
		return ""
	}
	return n.Value
}

func (r *reader) add(d Diagnostic) { r.diags = append(r.diags, d) }

func (r *reader) decoder(file, object string) *decoder {
	return &decoder{
		file: file, object: object, diags: &r.diags, goType: r.goType, meant: &[]string{},
	}
}

// object reads one object.
func (r *reader) object(doc document) {
	o := &Object{
		APIVersion: peek(doc.root, "apiVersion"), Kind: peek(doc.root, "kind"),
		Name:      peek(doc.root, "metadata", "name"),
		Namespace: peek(doc.root, "metadata", "namespace"),
		Order:     len(r.objects),
		file:      doc.file, root: doc.root,
	}
	if !r.typeMeta(doc) {
		return
	}
	k := newChecker(o, &r.diags).kind()
	if k == nil {
		return
	}
	if k.cluster {
		o.Namespace = ""
	} else if o.Namespace == "" {
		o.Namespace = r.namespace
	}
	switch {
	case k.noEffect != "":
		newChecker(o, &r.diags).warnf("", "%s is left out: %s", o.Kind, k.noEffect)
		return
	case k.body == nil:
		newChecker(o, &r.diags).errorf("", "%s is not carried out yet%s", o.Kind, wayOut(k.notYet))
		return
	}
	before := len(r.diags)
	o.Body = k.body()
	d := r.decoder(doc.file, refOf(o))
	meta := d.body(doc.root, o.Body)
	o.Labels, o.Annotations = meta.GetLabels(), meta.GetAnnotations()
	o.Created = meta.GetCreationTimestamp().Time
	meta.SetNamespace(o.Namespace)
	o.modern()
	var found []Diagnostic
	c := newChecker(o, &found)
	c.metadata(k)
	if k.validate != nil {
		k.validate(c)
	}
	r.diags = append(r.diags, withoutEchoes(slices.Clone(r.diags[before:]), found, *d.meant)...)

	if first := r.seen[o.identity()]; first != nil {
		p := first.At("metadata.name")
		newChecker(o, &r.diags).errorf("metadata.name", "is given twice; it is at %s:%d:%d as well",
			p.File, p.Line, p.Column)
		return
	}
	if o.Name != "" {
		r.seen[o.identity()] = o
	}
	r.objects = append(r.objects, o)
}

// typeMeta reports an apiVersion or kind that is no string.
func (r *reader) typeMeta(doc document) bool {
	d := r.decoder(doc.file, "")
	before := len(r.diags)
	for _, name := range []string{"apiVersion", "kind"} {
		if _, n := child(doc.root, name); n != nil {
			d.text(deref(n), (*path)(nil).field(name))
		}
	}
	return len(r.diags) == before
}

// body decodes an object into its Go type or message and returns its metadata.
func (d *decoder) body(root *yaml.Node, body any) metav1.Object {
	d.fields = fields
	if m, ok := body.(metav1.Object); ok {
		d.goStruct(root, reflect.ValueOf(body).Elem(), nil)
		return m
	}
	meta := &metav1.ObjectMeta{}
	spec := body.(proto.Message).ProtoReflect()
	given := false
	for _, e := range d.entries(root, nil) {
		switch p := (*path)(nil).field(e.name); e.name {
		case "apiVersion", "kind", "status":
		case "metadata":
			d.goValue(e.value, reflect.ValueOf(meta).Elem(), p)
		case "spec":
			given = true
			d.message(e.value, spec, p)
		default:
			d.unknown(e, nil, []string{"apiVersion", "kind", "metadata", "spec", "status"})
		}
	}
	if !given {
		d.report(root, (*path)(nil).field("spec"), "is required")
	}
	return meta
}

// Older reports whether a is older than b: by creation time, then by place in the input.
func Older(a, b *Object) bool {
	if !a.Created.Equal(b.Created) {
		return a.Created.Before(b.Created)
	}
	return a.Order < b.Order
}

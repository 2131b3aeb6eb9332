package scenarios

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// defaults of what is not said.
const (
	defaultConnections = 8
	defaultAtMost      = time.Minute
	defaultTimeout     = 30 * time.Second
)

// Open reads a scenario and the files that it names. It is usable when there is no problem.
func Open(fsys fs.FS, file string) (*Scenario, []istio.Diagnostic) {
	text, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, []istio.Diagnostic{{
			Place: istio.Place{File: file, Line: 1, Column: 1}, Msg: reason(err),
		}}
	}
	s, problems := Parse(file, text)
	if s == nil {
		return nil, problems
	}
	return s, append(problems, s.Resolve(fsys)...)
}

// reason says why a file could not be read, without repeating its path.
func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return "cannot be read: " + p.Err.Error()
	}
	return "cannot be read: " + err.Error()
}

// Parse reads a scenario file; every problem is reported. The files that it names are not read. The
// Scenario is nil when the text is no YAML.
func Parse(file string, text []byte) (*Scenario, []istio.Diagnostic) {
	d := &decoder{file: file}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		d.report(&yaml.Node{Line: errorLine(err), Column: 1}, "", "%v", err)
		return nil, d.problems
	}
	if len(doc.Content) == 0 {
		d.report(&yaml.Node{Line: 1, Column: 1}, "", "the file is empty")
		return nil, d.problems
	}
	root := doc.Content[0]
	s := &Scenario{
		Alpha: assert.DefaultAlpha, Tolerance: assert.DefaultTolerance, File: file, Text: text,
	}
	for i := 0; i+1 < len(root.Content) && root.Kind == yaml.MappingNode; i += 2 {
		if root.Content[i].Value == "name" {
			d.scenario = root.Content[i+1].Value
		}
	}
	d.value(root, reflect.ValueOf(s).Elem(), "")
	s.nameFaults(d)
	s.expand()
	slices.SortStableFunc(d.problems, func(a, b istio.Diagnostic) int {
		if a.Place.Line != b.Place.Line {
			return a.Place.Line - b.Place.Line
		}
		return a.Place.Column - b.Place.Column
	})
	return s, d.problems
}

// errorLine finds the line in yaml's own message "yaml: line N: ...".
func errorLine(err error) int {
	line := 1
	if _, rest, ok := strings.Cut(err.Error(), "line "); ok {
		fmt.Sscanf(rest, "%d", &line) // 1 stays when there is no number
	}
	return line
}

// Validate says what a scenario lacks.
func (s *Scenario) Validate() error {
	switch {
	case s.Name == "":
		return fmt.Errorf("a scenario needs a name")
	case len(s.Steps) == 0:
		return fmt.Errorf("a scenario needs steps")
	case s.Mesh.App == "" && len(s.Mesh.Files) == 0:
		return fmt.Errorf("mesh needs an app (app: customer) or files")
	}
	for _, n := range s.Needs {
		if !slices.Contains(powers, n) {
			return fmt.Errorf("needs: unknown power %q; %s", n, oneOf(n, powers))
		}
	}
	return nil
}

// powers are what a topology may or may not be able to do.
var powers = append([]string{"exec", "rotate"}, FaultKinds()...)

// Validate says what is wrong with an exec.
func (e *Exec) Validate() error {
	if len(e.In) == 0 || (e.Get == "") == (e.Post == "") {
		return fmt.Errorf("exec needs a workload and a path: " +
			"{in: recommendation-v2, get: /misbehave}")
	}
	if !strings.HasPrefix(e.Get+e.Post, "/") {
		return fmt.Errorf("a path begins with /")
	}
	e.Method, e.Path = "GET", e.Get
	if e.Post != "" {
		e.Method, e.Path = "POST", e.Post
	}
	return nil
}

// Validate says what is wrong with a load, and fills in what was not said.
func (l *Load) Validate() error {
	scheme, err := endpoints(l.From, l.To, l.Gateway, "http", "https")
	if err != nil {
		return err
	}
	if err := l.Secure.check(scheme); err != nil {
		return err
	}
	limits := 0
	for _, set := range []bool{l.Requests > 0, l.Duration > 0, bool(l.Decided)} {
		if set {
			limits++
		}
	}
	switch {
	case limits == 0:
		return fmt.Errorf("a load needs an end: requests, duration or until: decided")
	case limits > 1:
		return fmt.Errorf("a load has one end: requests, duration or until")
	case l.AtMost > 0 && !bool(l.Decided):
		return fmt.Errorf("atMost goes with until: decided")
	}
	if l.Decided && l.AtMost == 0 {
		l.AtMost = defaultAtMost
	}
	if l.Connections == 0 {
		l.Connections = defaultConnections
	}
	l.Method, l.Timeout = orGet(l.Method), orDefault(l.Timeout)
	return nil
}

// Site is whose cookies a load sends.
func (l *Load) Site() *url.URL {
	u, err := url.Parse(l.To)
	if err != nil {
		panic("scenarios: load not validated: " + l.To)
	}
	return &url.URL{Scheme: u.Scheme, Host: cmp.Or(l.Host, u.Host), Path: "/"}
}

// Validate says what is wrong with a request, and fills in what was not said.
func (r *Request) Validate() error {
	scheme, err := endpoints(r.From, r.URL, r.Gateway, "http", "https", "tls", "tcp")
	if err != nil {
		return err
	}
	if err := r.Secure.check(scheme); err != nil {
		return err
	}
	if err := r.fill(scheme); err != nil {
		return err
	}
	r.Count, r.Connections = max(1, r.Count), max(1, r.Connections)
	if r.Some != nil && r.Count == 1 {
		return fmt.Errorf("some is for several requests (count); expect is for one")
	}
	r.Method, r.Timeout = orGet(r.Method), orDefault(r.Timeout)
	return nil
}

// fill turns a form into the body that browsers make of it.
func (r *Request) fill(scheme string) error {
	switch http := scheme == "http" || scheme == "https"; {
	case !http && (len(r.Form) > 0 || r.Cookies != ""):
		return fmt.Errorf("form and cookies are for http:// and https://")
	case len(r.Form) == 0:
		return nil
	case r.Body != "":
		return fmt.Errorf("form and body: one of them, not both")
	}
	r.Body = strings.Join(r.Form, "&")
	r.Method = cmp.Or(r.Method, "POST")
	typed := func(h Header) bool { return strings.EqualFold(h.Name, "content-type") }
	if !slices.ContainsFunc(r.Headers, typed) {
		r.Headers = append(r.Headers, Header{
			Name: "content-type", Value: Literal("application/x-www-form-urlencoded"),
		})
	}
	return nil
}

func orGet(method string) string {
	if method == "" {
		return "GET"
	}
	return strings.ToUpper(method)
}

func orDefault(d time.Duration) time.Duration {
	if d == 0 {
		return defaultTimeout
	}
	return d
}

// endpoints returns the scheme of the URL, which is one of those that are known.
func endpoints(from, to, gateway string, known ...string) (scheme string, err error) {
	if from == "" || to == "" {
		return "", fmt.Errorf("it needs from (a workload, or outside) and to (a URL)")
	}
	if gateway != "" && from != "outside" {
		return "", fmt.Errorf("a gateway is for from: outside")
	}
	u, err := url.Parse(to)
	switch {
	case err != nil || u.Host == "":
		return "", fmt.Errorf("to: %q is no URL; write it as http://customer:8080/", to)
	case !slices.Contains(known, u.Scheme):
		return "", fmt.Errorf("to: %s:// is not carried out yet; %s:// are", u.Scheme,
			strings.Join(known, "://, "))
	}
	return u.Scheme, nil
}

// Resolve reads the files that the scenario names, relative to its own file.
func (s *Scenario) Resolve(fsys fs.FS) []istio.Diagnostic {
	var problems []istio.Diagnostic
	read := func(all *Documents) {
		if all == nil {
			return
		}
		docs := *all
		for i := range docs {
			if docs[i].Line > 0 {
				continue
			}
			name := path.Join(path.Dir(s.File), docs[i].File)
			data, err := fs.ReadFile(fsys, name)
			if err != nil {
				problems = append(problems, istio.Diagnostic{
					Place: docs[i].Place, Object: "Scenario " + s.Name,
					Msg: docs[i].File + " " + reason(err),
				})
				continue
			}
			docs[i].Data = data
		}
	}
	texts := func(all []*TextFile) {
		for _, t := range all {
			if err := t.read(fsys, path.Dir(s.File)); err != nil {
				problems = append(problems, istio.Diagnostic{
					Place: t.Place, Object: "Scenario " + s.Name, Msg: t.File + " " + reason(err),
				})
			}
		}
	}
	read(&s.Mesh.Files)
	read(&s.Mesh.Config)
	for i := range s.Rollback {
		read(s.Rollback[i].Apply)
		read(s.Rollback[i].Delete)
	}
	for _, step := range s.Steps {
		for i := range step.Actions {
			read(step.Actions[i].Apply)
			read(step.Actions[i].Delete)
			if q := step.Actions[i].Request; q != nil {
				texts(q.Secure.files())
			}
			if l := step.Actions[i].Load; l != nil {
				texts(l.Secure.files())
				for j := range l.Meanwhile {
					read(l.Meanwhile[j].Apply)
					read(l.Meanwhile[j].Delete)
				}
			}
		}
	}
	return problems
}

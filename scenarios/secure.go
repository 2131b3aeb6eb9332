package scenarios

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// Secure is how a client speaks TLS, and who it says that it is.
type Secure struct {
	SNI      string   `yaml:"sni" about:"TLS server name, when it is not the URL's host; none"`
	CACert   TextFile `yaml:"cacert" about:"PEM file with roots to check the server against"`
	Cert     TextFile `yaml:"cert" about:"PEM file with the client's certificate"`
	Key      TextFile `yaml:"key" about:"PEM file with its private key"`
	Identity string   `yaml:"identity" about:"certificate of the mesh: NAMESPACE/SERVICEACCOUNT"`
	Token    TextFile `yaml:"token" about:"file with a bearer token, or the token"`
	// TokenFrom is asked for a fresh token before anything is sent.
	TokenFrom *Exec `yaml:"tokenFrom" about:"app that mints one: {in: jwt-issuer, get: /token}"`
}

// check says what contradicts itself.
func (s *Secure) check(scheme string) error {
	switch tls := scheme == "https" || scheme == "tls"; {
	case s.Identity != "" && (s.Cert.set() || s.Key.set()):
		return errors.New("identity and cert: one client certificate, not both")
	case s.Cert.set() != s.Key.set():
		return errors.New("a client certificate needs both: cert and key")
	case s.Identity != "" && !account(s.Identity):
		return fmt.Errorf("identity %q: want NAMESPACE/SERVICEACCOUNT", s.Identity)
	case !tls && (s.SNI != "" || s.CACert.set() || s.Cert.set() || s.Identity != ""):
		return errors.New("sni, cacert, cert, key and identity are for https:// and tls://")
	case s.Token.set() && s.TokenFrom != nil:
		return errors.New("token and tokenFrom: one token, not both")
	case (s.Token.set() || s.TokenFrom != nil) && scheme != "http" && scheme != "https":
		return errors.New("a token is for http:// and https://")
	}
	return nil
}

// account says whether s is NAMESPACE/SERVICEACCOUNT.
func account(s string) bool {
	namespace, name, ok := strings.Cut(s, "/")
	return ok && namespace != "" && name != "" && !strings.Contains(name, "/")
}

// files are the values that may name files.
func (s *Secure) files() []*TextFile {
	return []*TextFile{&s.CACert, &s.Cert, &s.Key, &s.Token}
}

// TextFile is a text of a file, or one that is written in its place.
type TextFile struct {
	File  string // relative to the scenario file; empty: Text is written there
	Text  string
	Place istio.Place
}

func (t *TextFile) set() bool { return t.File != "" || t.Text != "" }

// decode takes PEM and tokens (three words with dots between them) for texts, the rest for files.
func (t *TextFile) decode(d *decoder, n *yaml.Node, field string) {
	if !d.scalar(n, field) {
		return
	}
	t.Place = istio.Place{File: d.file, Line: n.Line, Column: n.Column}
	isToken := strings.HasPrefix(n.Value, "eyJ") && strings.Count(n.Value, ".") == 2
	if strings.Contains(n.Value, "-----BEGIN ") || isToken {
		t.Text = n.Value
	} else if t.File = n.Value; t.File == "" {
		d.report(n, field, "must be a file or its text")
	}
}

// read takes the text of the file. A token has no line break.
func (t *TextFile) read(fsys fs.FS, dir string) error {
	if t.File == "" {
		return nil
	}
	data, err := fs.ReadFile(fsys, path.Join(dir, t.File))
	if err != nil {
		return err
	}
	t.Text = strings.TrimRight(string(data), "\r\n")
	return nil
}

// Bearer is the header that carries a token.
func Bearer(token string) Header {
	return Header{Name: "authorization", Value: Literal("Bearer " + token)}
}

package request

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/tlsclient"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		spec                  Spec
		address, host, target string
		err                   string
	}{
		{spec: Spec{URL: "http://a/"}, address: "a:80", host: "a", target: "/"},
		{spec: Spec{URL: "http://a:8080/x//y?z=%2f#frag"}, address: "a:8080", host: "a:8080", target: "/x//y?z=%2f"},
		{spec: Spec{URL: "a.b?q"}, address: "a.b:80", host: "a.b", target: "/?q"},
		{spec: Spec{URL: "http://a/", Host: "b", Connect: "c:1"}, address: "c:1", host: "b", target: "/"},
		{spec: Spec{URL: "http://[::1]:81/"}, address: "[::1]:81", host: "[::1]:81", target: "/"},
		{spec: Spec{URL: "https://a/"}, address: "a:443", host: "a", target: "/"},
		{spec: Spec{URL: "https://a:8443/x"}, address: "a:8443", host: "a:8443", target: "/x"},
		{spec: Spec{URL: "tls://a"}, address: "a:443", host: "a", target: "/"},
		{spec: Spec{URL: "tcp://a:9000"}, address: "a:9000", host: "a:9000", target: "/"},
		{spec: Spec{URL: "tcp://a"}, err: "no port; want tcp://HOST:PORT"},
		{spec: Spec{URL: "tls://a:1/x"}, err: "tls:// has no path"},
		{spec: Spec{URL: "grpc://a:1/p.S/M"}, err: "grpc:// is not there yet"},
		{spec: Spec{URL: "http://a/", TLS: tlsclient.Options{SNI: "x"}}, err: "this is http://"},
		{spec: Spec{URL: "tcp://a:1", Token: "t"}, err: "token: tcp:// has no headers"},
		{spec: Spec{URL: "ftp://a/"}, err: `scheme "ftp" is unknown`},
		{spec: Spec{URL: "http:///x"}, err: "no host"},
		{spec: Spec{URL: "http://a/b c"}, err: "write %20"},
		{spec: Spec{URL: "http://a/", Headers: []string{"broken"}}, err: "want 'name: value'"},
		{spec: Spec{URL: "http://a/", Method: "GE T"}, err: "want one word"},
		{spec: Spec{URL: "http://a/", Connect: "nowhere"}, err: "want HOST:PORT"},
	} {
		p, err := c.spec.check()
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: got %v, want %q", c.spec, err, c.err)
			}
		case err != nil:
			t.Errorf("%+v: %v", c.spec, err)
		case p.address != c.address || p.host != c.host || p.target != c.target:
			t.Errorf("%+v: got %s %s %s", c.spec, p.address, p.host, p.target)
		}
	}
}

func TestSpecAsJSON(t *testing.T) {
	var s Spec
	line := `{"from":"a","url":"http://b/","header":{"x-a":["1","2"],"x-b":"3"},"count":2,"timeout":"2s",` +
		`"sni":"n","cert":"c","key":"k","cacert":"r","identity":"n/a","token":"t"}`
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.Headers, "; "); got != "x-a: 1; x-a: 2; x-b: 3" {
		t.Error(got)
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again Spec
	if err := json.Unmarshal(b, &again); err != nil || !reflect.DeepEqual(again, s) ||
		s.Count != 2 || s.TLS != (tlsclient.Options{SNI: "n", Cert: "c", Key: "k", CACert: "r", Identity: "n/a"}) {
		t.Errorf("%s: %+v %v", b, again, err)
	}
	for line, want := range map[string]string{
		`{"form":"a"}`:                          `unknown field "form"`,
		`{"url":"http://a/","http2":true}`:      "http2 is not there yet",
		`{"url":"http://a/","timeout":"2"}`:     "want a duration",
		`{"url":"http://a/","header":"x-a: 1"}`: "an object",
	} {
		if err := json.Unmarshal([]byte(line), &s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
}

func TestMessage(t *testing.T) {
	p, err := Spec{URL: "http://a:1/p", Headers: []string{"X-Two:  b ", "Host: other"}, Body: "hi"}.check()
	if err != nil {
		t.Fatal(err)
	}
	want := "POST /p HTTP/1.1\r\nX-Two: b\r\nHost: other\r\nx-request-id: id\r\ncookie: k=v\r\n" +
		"content-length: 2\r\n\r\nhi"
	if got := p.message("id", "k=v"); got != want {
		t.Errorf("got %q", got)
	}
}

package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/tlsclient"
)

func requestCommand(e *env) *cobra.Command {
	var src source
	var name, via string
	var s request.Spec
	var http2 bool
	c := &cobra.Command{
		Use:   "request [-f FILE...] --from WORKLOAD [flags] URL",
		Short: "Send requests as a workload of the mesh would, and see which proxies they crossed",
		Long: `Sends one or many requests as a workload's app would, through its sidecar, and prints
what came back and what each proxy on the way recorded. With -f or --app it needs no lab that is up:
it makes one, asks, and takes it down. The path is sent byte for byte. https:// and tls:// show the
server's certificate and check it only with --cacert; tcp:// and tls:// send the body as one line
and print the line that comes back.`,
		Example: `  mesh-lab request --from curl http://customer:8080/
  mesh-lab request -f reviews.yaml --from productpage -H 'end-user: jason' http://reviews:9080/
  mesh-lab request --from outside --host shop.example.com http://ingress/cart -n 100 -o json
  mesh-lab request --from outside --cert client.pem --key client.key https://shop.example.com/
  mesh-lab request --from outside --token @token.txt http://shop.example.com/
  mesh-lab request --from curl --sni db.example.com -d 'hello' tls://db:5432
  mesh-lab request -f mesh/ --via-file requests.ndjson -o json`,
		Args: wants(0, 1, ""),
		RunE: func(c *cobra.Command, args []string) error {
			if http2 {
				return &exitError{exitUsage, request.NotYet("--http2")}
			}
			specs, err := e.specs(c, &s, via, args)
			if err != nil {
				return err
			}
			return e.request(c.Context(), specs, src, name)
		},
	}
	sourceFlags(c, &src)
	labFlag(c, &name)
	f := c.Flags()
	f.StringVar(&s.From, "from", "", "`WORKLOAD[.NAMESPACE]`, or outside")
	f.StringVar(&s.Gateway, "gateway", "", "for outside: the gateway, `NAME[.NAMESPACE]`")
	f.StringVarP(&s.Method, "method", "X", "", "`METHOD` (default GET, or POST with a body)")
	f.StringArrayVarP(&s.Headers, "header", "H", nil, "header `'NAME: VALUE'`")
	f.StringVarP(&s.Body, "body", "d", "", "`BODY`; @FILE reads a file, @- stdin")
	f.StringVar(&s.Host, "host", "", "`NAME` in the Host header in place of the URL's")
	f.StringVar(&s.Connect, "connect", "", "`HOST:PORT` to connect to in place of the URL's")
	f.IntVarP(&s.Count, "count", "n", 1, "how `MANY` requests")
	f.IntVarP(&s.Concurrency, "concurrency", "c", 1, "`NUMBER` of connections")
	f.BoolVarP(&s.Follow, "location", "L", false, "follow redirects")
	f.BoolVar(&s.Cookies, "cookies", false, "keep a cookie jar for each connection")
	f.DurationVar(&s.Timeout, "timeout", 30*time.Second, "`DURATION` of one request")
	f.StringVar(&via, "via-file", "",
		"read requests from `FILE`, one JSON object a line; - for stdin")
	f.BoolVar(&http2, "http2", false, "HTTP/2 (not there yet)")
	f.StringVar(&s.Token, "token", "", "send `TOKEN` as Authorization: Bearer; @FILE reads a file")
	secureFlags(f, &s.TLS)
	outputFlag(e, c, "text", "json")
	return c
}

// secureFlags are about TLS; certificates and keys are files.
func secureFlags(f *pflag.FlagSet, o *tlsclient.Options) {
	f.StringVar(&o.SNI, "sni", "", "TLS server `NAME` in place of the URL's host; none: no SNI")
	f.StringVar(&o.CACert, "cacert", "", "check the server's certificate with the roots in `FILE`")
	f.StringVar(&o.Cert, "cert", "", "TLS client certificate: PEM `FILE`")
	f.StringVar(&o.Key, "key", "", "private key of --cert: PEM `FILE`")
	f.StringVar(&o.Identity, "identity", "",
		"TLS client certificate of the mesh: `NAMESPACE/SERVICEACCOUNT`")
}

// readTLS puts the text of files in the place of their names.
func (e *env) readTLS(o *tlsclient.Options) error {
	for _, f := range []struct {
		option string
		text   *string
	}{{"cacert", &o.CACert}, {"cert", &o.Cert}, {"key", &o.Key}} {
		if *f.text == "" || strings.Contains(*f.text, "-----BEGIN ") {
			continue // written out in --via-file
		}
		b, err := e.readFile(*f.text)
		if err != nil {
			return fmt.Errorf("%s: %w", f.option, err)
		}
		*f.text = string(b)
	}
	return nil
}

// readSecrets reads what a request takes from files: certificates, keys, a token.
func (e *env) readSecrets(s *request.Spec) (err error) {
	if s.Token, err = e.readToken(s.Token); err != nil {
		return err
	}
	return e.readTLS(&s.TLS)
}

// readToken returns a token, which @FILE reads from a file.
func (e *env) readToken(token string) (string, error) {
	file, ok := strings.CutPrefix(token, "@")
	if !ok {
		return token, nil
	}
	b, err := e.readFile(file)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// specs returns the requests to send: the one of the flags, or those of a file.
func (e *env) specs(
	c *cobra.Command, s *request.Spec, via string, args []string,
) ([]request.Spec, error) {
	if file, ok := strings.CutPrefix(s.Body, "@"); ok {
		b, err := e.readFile(file)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		s.Body = string(b)
	}
	if via == "" {
		if len(args) == 0 {
			return nil, usage("request: which URL? `mesh-lab request -h` shows examples")
		}
		s.URL = args[0]
		switch f := c.Flags(); {
		case s.Count < 1:
			return nil, usage("-n %d: want at least 1", s.Count)
		case s.Concurrency < 1:
			return nil, usage("-c %d: want at least 1", s.Concurrency)
		case s.Timeout <= 0:
			return nil, usage("--timeout %s: want a positive duration", s.Timeout)
		case f.Changed("connect") && s.Connect == "":
			return nil, usage("--connect: want HOST:PORT")
		}
		if err := e.readSecrets(s); err != nil {
			return nil, &exitError{exitUsage, err}
		}
		return []request.Spec{*s}, nil
	}
	if len(args) > 0 {
		return nil, usage("request: a URL or --via-file, not both")
	}
	b, err := e.readFile(via)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	specs, err := parseSpecs(via, b, s)
	if err != nil {
		return nil, err
	}
	for i := range specs {
		if err := e.readSecrets(&specs[i]); err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("%s: request %d: %w", via, i+1, err)}
		}
	}
	return specs, nil
}

// parseSpecs reads one request a line; what a line leaves out is as the flags say.
func parseSpecs(file string, b []byte, base *request.Spec) ([]request.Spec, error) {
	var out []request.Spec
	var errs []error
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, maxFile)
	for n := 1; sc.Scan(); n++ {
		line := bytes.TrimSpace(sc.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		var s request.Spec
		if err := json.Unmarshal(line, &s); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", file, n, err))
			continue
		}
		if s.From == "" {
			s.From = base.From
		}
		if s.Gateway == "" {
			s.Gateway = base.Gateway
		}
		if s.Timeout == 0 {
			s.Timeout = base.Timeout
		}
		out = append(out, s)
	}
	if err := sc.Err(); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return out, nil
}

// request sends requests to a lab of its own, or to the one that is up.
func (e *env) request(
	ctx context.Context, specs []request.Spec, src source, name string,
) (err error) {
	l, closeLab, err := e.lab(ctx, src, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment(closeLab())) }()
	w := bufio.NewWriter(e.out)
	defer w.Flush()
	before := 0 // requests of earlier lines: each has its number in the whole
	for _, s := range specs {
		err := l.Request(ctx, s, func(r request.Result) error {
			r.N += before
			return e.printResult(w, r)
		})
		if err != nil {
			return answered(err)
		}
		before += max(1, s.Count)
	}
	return nil
}

// printResult prints one result: a JSON object on a line, or text for people.
func (e *env) printResult(w *bufio.Writer, r request.Result) error {
	if e.output == "json" {
		if err := json.NewEncoder(w).Encode(r); err != nil {
			return err
		}
		return w.Flush()
	}
	status := fmt.Sprintf("HTTP %d", r.Status)
	switch {
	case r.Error != "":
		status = r.Error
	case r.Status == 0:
		status = "answered"
	}
	fmt.Fprintf(w, "%s  %.1f ms", status, r.DurationMS)
	if b := r.Backend; b != nil {
		fmt.Fprintf(w, "  from %s (%s)", b.Pod, b.Version)
	}
	fmt.Fprintln(w)
	if t := r.TLS; t != nil {
		fmt.Fprintf(w, "  %s  certificate %s", t.Version,
			orDash(strings.Join(append(slices.Clone(t.Certificate), t.URIs...), ", ")))
		fmt.Fprintf(w, "  SNI %s\n", orDash(t.SNI))
	}
	if e.flags.verbose > 0 {
		names := make([]string, 0, len(r.Headers))
		for k := range r.Headers {
			names = append(names, k)
		}
		slices.Sort(names)
		for _, k := range names {
			fmt.Fprintf(w, "  %s: %s\n", k, strings.Join(r.Headers[k], ", "))
		}
	}
	for _, h := range r.Hops {
		fmt.Fprintf(w, "  %-11s %-24s %d %s", h.Reporter, h.Pod, h.Status, orDash(h.Flags))
		fmt.Fprintf(w, "  %s  route %s  %s  %s", h.Details, orDash(h.Route), orDash(h.Cluster),
			orDash(h.Upstream))
		if h.Attempts > 1 {
			fmt.Fprintf(w, "  %d attempts", h.Attempts)
		}
		printIdentity(w, h)
		fmt.Fprintln(w)
	}
	if r.Body != "" {
		fmt.Fprintln(w, strings.TrimRight(r.Body, "\n"))
	}
	return w.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printIdentity prints who a proxy spoke with, and what refused the request.
func printIdentity(w io.Writer, h request.Hop) {
	if h.Peer != "" {
		fmt.Fprintf(w, "  peer %s", h.Peer)
	}
	if h.UpstreamFailure != "" {
		fmt.Fprintf(w, "  failure %s", h.UpstreamFailure)
	}
	if h.Policy != "" {
		fmt.Fprintf(w, "  policy %s", h.Policy)
	}
	if h.Shadow != "" {
		fmt.Fprintf(w, "  dry run %s", h.Shadow)
	}
}

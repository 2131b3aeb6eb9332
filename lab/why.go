package lab

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mesh-lab/mesh-lab/lab/remote"
	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/why"
)

func whyCommand(e *env) *cobra.Command {
	var src source
	var name, history, id string
	var s request.Spec
	c := &cobra.Command{
		Use: "why [-f FILE...] --from WORKLOAD [flags] URL | " +
			"why [--history FILE] --id REQUEST-ID",
		Short: "Explain, hop by hop, which rules sent a request where",
		Long: `Sends a request as mesh-lab request does and explains it: at each proxy the listener
and filter chain, the virtual host, each route that was tried with the first condition that
failed, the draw or hash that chose the cluster and the host, what each filter did, the time-outs
and retries in force, and where each rule is written. With -f or --app it needs no lab that is up.

--id explains a request that was sent before, by its x-request-id: of the lab that is up, or with
--history of a recorded run (run --history). It is decided again, from what the proxies carried
out then and what came to them; what can not be known any more is said.`,
		Example: `  mesh-lab why --from productpage -H 'end-user: jason' http://reviews:9080/
  mesh-lab why --app bookinfo -f reviews.yaml --from productpage http://reviews:9080/reviews/0
  mesh-lab why --from outside --host shop.example.com http://ingress/cart -o json
  mesh-lab why --id 9f3ba0d2-55c1-4bd4-8d41-1f6c3a1d3a52
  mesh-lab why --history run.jsonl --id 9f3ba0d2-55c1-4bd4-8d41-1f6c3a1d3a52`,
		Args: wants(0, 1, ""),
		RunE: func(c *cobra.Command, args []string) error {
			if id != "" || history != "" {
				return e.whyRecorded(c.Context(), history, id, name, args)
			}
			if s.From == "" {
				return usage("why: --from which workload? `mesh-lab why -h` shows examples")
			}
			specs, err := e.specs(c, &s, "", args)
			if err != nil {
				return err
			}
			return e.whyLive(c.Context(), specs[0], src, name)
		},
	}
	sourceFlags(c, &src)
	labFlag(c, &name)
	whyFlags(c, &s)
	f := c.Flags()
	f.StringVar(&history, "history", "", "a recorded run: `FILE` that run --history wrote")
	f.StringVar(&id, "id", "", "explain the recorded request with this `X-REQUEST-ID`")
	outputFlag(e, c, "text", "json")
	return c
}

// whyFlags are those of request that make one request.
func whyFlags(c *cobra.Command, s *request.Spec) {
	f := c.Flags()
	f.StringVar(&s.From, "from", "", "`WORKLOAD[.NAMESPACE]`, or outside")
	f.StringVar(&s.Gateway, "gateway", "", "for outside: the gateway, `NAME[.NAMESPACE]`")
	f.StringVarP(&s.Method, "method", "X", "", "`METHOD` (default GET, or POST with a body)")
	f.StringArrayVarP(&s.Headers, "header", "H", nil, "header `'NAME: VALUE'`")
	f.StringVarP(&s.Body, "body", "d", "", "`BODY`; @FILE reads a file, @- stdin")
	f.StringVar(&s.Host, "host", "", "`NAME` in the Host header in place of the URL's")
	f.StringVar(&s.Connect, "connect", "", "`HOST:PORT` to connect to in place of the URL's")
	f.DurationVar(&s.Timeout, "timeout", 30*time.Second, "`DURATION` of the request")
	f.StringVar(&s.Token, "token", "", "send `TOKEN` as Authorization: Bearer; @FILE reads a file")
	s.Count, s.Concurrency = 1, 1
	secureFlags(f, &s.TLS)
}

// whyLive sends a request and explains it.
func (e *env) whyLive(
	ctx context.Context, s request.Spec, src source, name string,
) (err error) {
	l, closeLab, err := e.lab(ctx, src, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment(closeLab())) }()
	x, err := l.Why(ctx, remote.Why{Spec: &s})
	if err != nil {
		return answered(err)
	}
	return e.printWhy(x)
}

// whyRecorded explains a request of which there are records.
func (e *env) whyRecorded(
	ctx context.Context, history, id, name string, args []string,
) error {
	switch {
	case len(args) > 0:
		return usage("why: a URL, or --id of a request that was recorded, not both")
	case id == "":
		return usage("why --history: --id of which request? " +
			"Verdicts name requests as evidence, and records have them")
	case history == "":
		l, err := running(ctx, name)
		if err != nil {
			return err
		}
		x, err := l.Why(ctx, remote.Why{ID: id})
		if err != nil {
			return answered(err)
		}
		return e.printWhy(x)
	}
	run, err := readRun(history)
	if err != nil {
		return err
	}
	x, err := why.OfRun(run).Explain(id)
	if err != nil {
		return usage("%s: %w", history, err)
	}
	return e.printWhy(x)
}

// printWhy prints an explanation.
func (e *env) printWhy(x *why.Explanation) error {
	if e.output == "json" {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		return enc.Encode(x)
	}
	return why.Text(e.out, x.Lines(e.columns()), e.colored(e.out))
}

// columns is how wide text for people may be: the terminal's width, at most 120, or 80.
func (e *env) columns() int {
	f, ok := e.out.(*os.File)
	if !ok {
		return 80
	}
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 80
	}
	return min(max(w, 60), 120)
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	oshost "github.com/mesh-lab/mesh-lab/meshcore/proxy/host"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// ready tells whoever started this process that it serves.
func ready() { fmt.Println("ready") }

// wait lasts until the parent goes away or ends this process.
func wait() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// bodySize is how large every response is.
const bodySize = 1024

// answer is what the backend sends.
var answer = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"+
	"content-length: %d\r\n\r\n%s", bodySize, bytes.Repeat([]byte("x"), bodySize))

// backend answers every request head with the same response: as little work as can be.
func backend(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	ready()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveBackend(c)
		}
	}()
	return wait()
}

func serveBackend(c net.Conn) {
	defer c.Close()
	b, n := make([]byte, 16<<10), 0
	for {
		m, err := c.Read(b[n:])
		if err != nil {
			return
		}
		n += m
		if !bytes.HasSuffix(b[:n], []byte("\r\n\r\n")) {
			continue
		}
		n = 0
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// sidecar is our proxy with a static configuration, recording as it does in a lab.
func sidecar(args []string) error {
	b, err := readBootstrap(args[0])
	if err != nil {
		return err
	}
	s := xds.NewSnapshot()
	for _, l := range b.GetStaticResources().GetListeners() {
		s.Listeners[l.GetName()] = l
	}
	for _, c := range b.GetStaticResources().GetClusters() {
		s.Clusters[c.GetName()] = c
	}
	c := clock.NewReal()
	p := proxy.New(proxy.Options{
		Engine: engine.New(engine.Options{Node: "bench.default", Seed: 1, Removed: proxy.Removed,
			Wall: c.Wall}),
		Network: oshost.Network{}, Clock: c, Seed: 1, Sink: &ring{},
	})
	defer p.Close()
	if err := p.Update(context.Background(), s); err != nil {
		return err
	}
	stop := profile()
	defer stop()
	ready()
	return wait()
}

// reverse is net/http's reverse proxy, its pool large enough.
func reverse(args []string) error {
	to, err := url.Parse("http://" + args[1])
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{
			MaxIdleConns: 1000, MaxIdleConnsPerHost: 1000, IdleConnTimeout: time.Minute,
			DisableCompression: true,
		},
	}
	ready()
	go http.Serve(l, p) //nolint:errcheck // ends with the process
	return wait()
}

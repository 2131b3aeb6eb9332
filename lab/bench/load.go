package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// connections is how many clients ask at once.
const connections = 16

// host is whom they ask for.
const host = "server:8080"

// answered is what one run of load found.
type answered struct {
	requests int
	took     time.Duration
}

// ask runs load against an address for a while.
func ask(ctx context.Context, addr string, d time.Duration) (answered, error) {
	if wrk, err := exec.LookPath("wrk"); err == nil {
		return askWrk(ctx, wrk, addr, d)
	}
	p := command(ctx, loadCore, self(), "load", addr, d.String())
	out, err := p.cmd.Output()
	if err != nil {
		return answered{}, fmt.Errorf("load: %w %s", err, p.log.String())
	}
	var s answered
	var ns int64
	_, err = fmt.Sscan(string(out), &s.requests, &ns)
	s.took = time.Duration(ns)
	return s, err
}

// askWrk has wrk do it. It counts in whole seconds.
func askWrk(ctx context.Context, wrk, addr string, d time.Duration) (answered, error) {
	seconds := max(1, int(d.Round(time.Second)/time.Second))
	p := command(ctx, loadCore, wrk, "-t1", "-c"+strconv.Itoa(connections),
		fmt.Sprintf("-d%ds", seconds), "-H", "Host: "+host, "http://"+addr+"/")
	out, err := p.cmd.Output()
	if err != nil {
		return answered{}, fmt.Errorf("wrk: %w", err)
	}
	text := string(out)
	if strings.Contains(text, "Non-2xx") || strings.Contains(text, "Socket errors") {
		return answered{}, fmt.Errorf("requests failed:\n%s", text)
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 3 && f[1] == "requests" {
			n, err := strconv.Atoi(f[0])
			took, err2 := time.ParseDuration(strings.TrimSuffix(f[3], ","))
			return answered{n, took}, errors.Join(err, err2)
		}
	}
	return answered{}, fmt.Errorf("wrk says:\n%s", text)
}

// load is a closed loop on each of several connections.
func load(args []string) error {
	d, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	total, failed := 0, error(nil)
	began := time.Now()
	for range connections {
		wg.Go(func() {
			n, err := loop(args[0], began.Add(d))
			mu.Lock()
			defer mu.Unlock()
			total, failed = total+n, errors.Join(failed, err)
		})
	}
	wg.Wait()
	fmt.Println(total, time.Since(began).Nanoseconds())
	return failed
}

func loop(addr string, until time.Time) (n int, err error) {
	c, err := dial(addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for time.Now().Before(until) {
		if err := c.ask(); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// client is a connection that asks again and again.
type client struct {
	net.Conn
	b [16 << 10]byte
}

func dial(addr string) (*client, error) {
	c, err := net.Dial("tcp", addr)
	return &client{Conn: c}, err
}

var request = []byte("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n")

// ask sends a request and reads the response.
func (c *client) ask() error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	return response(c, c.b[:])
}

// response reads one response of the backend's size.
func response(c net.Conn, b []byte) error {
	for got := 0; ; {
		m, err := c.Read(b[got:])
		if err != nil {
			return err
		}
		got += m
		end := bytes.Index(b[:got], []byte("\r\n\r\n"))
		if end < 0 {
			continue
		}
		if !bytes.HasPrefix(b, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("the answer is %q", b[:min(got, 40)])
		}
		rest := end + 4 + bodySize - got
		_, err = io.ReadFull(c, b[:max(rest, 0)])
		return err
	}
}

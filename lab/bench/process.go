package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Where processes run; anyCore leaves it to the system.
const (
	loadCore  = 0 // and the backend
	proxyCore = 1
	anyCore   = -1
)

// process is one that takes part.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader // of a role
	log   strings.Builder
}

// self is this program.
func self() string {
	p, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return p
}

// startRole starts this program in a role on a core and waits until it serves.
func startRole(ctx context.Context, core int, args ...string) (*process, error) {
	p := command(ctx, core, self(), args...)
	p.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	line, err := p.out.ReadString('\n')
	if line != "ready\n" {
		p.stop()
		return nil, fmt.Errorf("%s: %q %w\n%s", strings.Join(args, " "), line, err, p.log.String())
	}
	return p, nil
}

// startServer starts another proxy and waits until it listens on addr.
func startServer(ctx context.Context, addr, program string, args ...string) (*process, error) {
	p := command(ctx, proxyCore, program, args...)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	patience, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return p, c.Close()
		}
		select {
		case <-patience.Done():
			p.stop()
			return nil, fmt.Errorf("%s does not listen: %s", program, p.log.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// command prepares a process that runs on one core, if cores can be chosen here.
func command(ctx context.Context, core int, program string, args ...string) *process {
	p := &process{}
	args = append([]string{"pinned", strconv.Itoa(core), program}, args...)
	p.cmd = exec.CommandContext(ctx, self(), args...)
	p.cmd.Stderr = &p.log
	return p
}

// stop ends the process and returns what a role said at its end.
func (p *process) stop() (last string) {
	if p.stdin != nil {
		p.stdin.Close()
		said, _ := io.ReadAll(p.out)
		last = strings.TrimSpace(string(said))
	} else {
		p.cmd.Process.Kill() //nolint:errcheck // it may be gone
	}
	p.cmd.Wait() //nolint:errcheck // as above
	return last
}

// freeAddr returns an address that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// pinned runs a program on one core.
func pinned(args []string) error {
	core, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	path, err := exec.LookPath(args[1])
	if err != nil {
		return err
	}
	return errors.Join(runOn(core), replace(path, args[1:]))
}

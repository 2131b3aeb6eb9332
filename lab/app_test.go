package lab_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

var listensOn = regexp.MustCompile(`listens on http://(\S+)`)

// address puts where a process says that it listens into a variable: address NAME VARIABLE.
func address(ts *testscript.TestScript, _ bool, args []string) {
	p := processes(ts)[args[0]]
	p.mu.Lock()
	defer p.mu.Unlock()
	ts.Setenv(args[1], listensOn.FindStringSubmatch(p.text.String())[1])
}

// fetch asks a URL: fetch URL FILE, which gets the status and the body.
func fetch(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(args[0])
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	text := fmt.Sprintf("%s\n%s", res.Status, body)
	ts.Logf("%s", text)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// underway sends a process SIGTERM while it answers a request, and then lets that come to its end:
// underway NAME ADDRESS.
func underway(ts *testscript.TestScript, _ bool, args []string) {
	p := processes(ts)[args[0]]
	c, err := net.Dial("tcp", args[1])
	ts.Check(err)
	defer c.Close()
	_, err = io.WriteString(c, "POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"+
		"Expect: 100-continue\r\n\r\n")
	ts.Check(err)
	r := bufio.NewReader(c)
	replied(ts, r, http.StatusContinue) // the app reads the body
	ts.Check(p.cmd.Process.Signal(syscall.SIGTERM))
	p.await(ts, "ending")
	_, err = io.WriteString(c, "hello")
	ts.Check(err)
	replied(ts, r, http.StatusOK)
}

// replied reads a response and checks its status.
func replied(ts *testscript.TestScript, r *bufio.Reader, want int) {
	res, err := http.ReadResponse(r, nil)
	ts.Check(err)
	defer res.Body.Close()
	if res.StatusCode != want {
		ts.Fatalf("status %s, want %d", res.Status, want)
	}
}

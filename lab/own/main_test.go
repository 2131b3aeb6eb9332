package own_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// role is what this test binary is when a test starts it as a command.
const role = "OWN_TEST_ROLE"

func TestMain(m *testing.M) {
	switch r := os.Getenv(role); r {
	case "":
		goleak.VerifyTestMain(m)
	case "owner":
		ownMain()
	default:
		command(r)
	}
}

// command is a service: "serve" serves, "stubborn" does not end by SIGTERM, "tree" has a child of
// its own, "child" is that, "apart" leaves its process group, "crash" ends at once, "quit" when it is
// asked for /quit.
func command(r string) {
	fmt.Println("pid", os.Getpid())
	switch r {
	case "crash":
		for i := range 12 {
			fmt.Println("line", i)
		}
		fmt.Fprint(os.Stderr, "no end")
		os.Exit(3)
	case "child":
		signal.Ignore(syscall.SIGTERM)
		select {}
	case "apart":
		if _, err := syscall.Setsid(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "tree":
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), role+"=child")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if err := c.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	go func() {
		<-asked
		fmt.Println("asked to end")
		if r != "stubborn" {
			os.Exit(0)
		}
	}()
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("args", strings.Join(os.Args[1:], "|"))
	err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/quit":
			os.Exit(0)
		case "/ready":
			if _, err := os.Stat(os.Getenv("READY_FILE")); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		fmt.Fprintf(w, "%s on %s", os.Getenv("POD_NAME"), os.Getenv("PORT_8080"))
	}))
	fmt.Println(err)
}

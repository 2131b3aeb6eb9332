package logfile_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/logfile"
)

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(data)
}

// TestInterval: lines wait for ten seconds after the first, and are appended to what is there.
func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte("old\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		f := logfile.New(logfile.Options{})
		f.AccessLog(path, []byte("one\n"))
		<-time.After(9 * time.Second)
		f.AccessLog(path, []byte("two\n"))
		if got := content(t, path); got != "old\n" {
			t.Errorf("after 9 s: %q", got)
		}
		<-time.After(1001 * time.Millisecond)
		synctest.Wait()
		if got := content(t, path); got != "old\none\ntwo\n" {
			t.Errorf("after 10 s: %q", got)
		}
		f.AccessLog(path, []byte("three\n"))
		f.Close()
		f.AccessLog(path, []byte("late\n"))
		if got := content(t, path); got != "old\none\ntwo\nthree\n" {
			t.Errorf("closed: %q", got)
		}
	})
}

// TestSize: 64 KiB are written at once, in one piece.
func TestSize(t *testing.T) {
	var w pieces
	f := logfile.New(logfile.Options{Stdout: &w, Interval: time.Hour})
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 65 {
		f.AccessLog("/dev/stdout", line)
	}
	if len(w) != 1 || len(w[0]) != 64<<10 {
		t.Errorf("%d pieces", len(w))
	}
	f.Flush()
	if len(w) != 2 || len(w[1]) != 1024 {
		t.Errorf("%d pieces after Flush", len(w))
	}
	f.Close()
}

type pieces [][]byte

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, bytes.Clone(b))
	return len(b), nil
}

// TestReopen: who moves a file away finds all lines, those before the call in the old one.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "log"), filepath.Join(dir, "log.1")
	var stderr bytes.Buffer
	f := logfile.New(logfile.Options{Stderr: &stderr})
	f.AccessLog(path, []byte("one\n"))
	f.AccessLog("/dev/stderr", []byte("err\n"))
	f.Flush()
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	f.AccessLog(path, []byte("two\n"))
	f.Reopen()
	f.AccessLog(path, []byte("three\n"))
	f.Close()
	if a, b := content(t, moved), content(t, path); a != "one\ntwo\n" || b != "three\n" {
		t.Errorf("%q, %q", a, b)
	}
	if stderr.String() != "err\n" {
		t.Errorf("%q", &stderr)
	}
}

// TestWhole: lines of many writers are never torn, and none is lost.
func TestWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := logfile.New(logfile.Options{Size: 100})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				f.AccessLog(path, fmt.Appendf(nil, "<%d %d %s>\n", i, j, strings.Repeat("y", j)))
			}
		})
	}
	wg.Wait()
	f.Close()
	lines := strings.Split(strings.TrimSuffix(content(t, path), "\n"), "\n")
	for _, l := range lines {
		if !strings.HasPrefix(l, "<") || strings.Index(l, ">") != len(l)-1 {
			t.Errorf("torn: %q", l)
		}
	}
	if len(lines) != 800 {
		t.Errorf("%d lines", len(lines))
	}
}

// TestFailed: what can not be written is told.
func TestFailed(t *testing.T) {
	var got []string
	f := logfile.New(logfile.Options{Failed: func(err error) { got = append(got, err.Error()) }})
	f.AccessLog(filepath.Join(t.TempDir(), "no", "dir"), []byte("x\n"))
	f.Close()
	if len(got) != 1 || !strings.Contains(got[0], "access log: open ") {
		t.Error(got)
	}
}

// Package logfile writes access log lines to files as Envoy does: appended, gathered for up to ten
// seconds or 64 KiB, and never torn.
//
//	AccessLog(path, line) ─▶ buffer of the path ─┬─ 64 KiB ─┐
//	                                             ├─ 10 s ───┼─▶ one write, of whole lines
//	                                             └─ Close ──┘
package logfile

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Options say how files are written. The zero value is Envoy's defaults.
type Options struct {
	// Stdout and Stderr stand for /dev/stdout and /dev/stderr; nil: the process's own.
	Stdout, Stderr io.Writer
	// Interval is how long lines wait: 10 s unless set (--file-flush-interval-msec).
	Interval time.Duration
	// Size is how many bytes wait: 64 KiB unless set (--file-flush-min-size-kb).
	Size int
	// Failed is told of what could not be written; nil: nobody. Those lines are lost.
	Failed func(error)
}

// Files is a sink of access log lines (engine.LogSink). Source: Envoy
// source/common/access_log/access_log_manager_impl.cc.
type Files struct {
	opt Options

	mu     sync.Mutex
	files  map[string]*file
	closed bool
}

// file is one log.
type file struct {
	path string
	opt  *Options

	mu    sync.Mutex
	to    io.Writer // nil until the first write, and after Reopen
	close func() error
	buf   []byte
	timer *time.Timer // while lines wait
	gone  bool
}

// New returns a sink that has no file open yet.
func New(o Options) *Files {
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Interval == 0 {
		o.Interval = 10 * time.Second
	}
	if o.Size == 0 {
		o.Size = 64 << 10
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	return &Files{opt: o, files: map[string]*file{}}
}

// AccessLog takes a line for a file. It may be called from many goroutines.
func (fs *Files) AccessLog(path string, line []byte) {
	fs.mu.Lock()
	f := fs.files[path]
	if f == nil && !fs.closed {
		f = &file{path: path, opt: &fs.opt}
		fs.files[path] = f
	}
	fs.mu.Unlock()
	if f != nil {
		f.add(line)
	}
}

// Flush writes what waits.
func (fs *Files) Flush() { fs.each((*file).flush) }

// Reopen writes what waits and opens the files anew at the next line, for whoever has moved them
// (Envoy: SIGUSR1).
func (fs *Files) Reopen() { fs.each((*file).reopen) }

// Close writes what waits and closes the files. Lines that come later are lost.
func (fs *Files) Close() {
	fs.mu.Lock()
	fs.closed = true
	fs.mu.Unlock()
	fs.each(func(f *file) {
		f.reopen()
		f.gone = true
	})
}

// each does something to every file, which is locked meanwhile.
func (fs *Files) each(do func(*file)) {
	fs.mu.Lock()
	list := make([]*file, 0, len(fs.files))
	for _, f := range fs.files {
		list = append(list, f)
	}
	fs.mu.Unlock()
	for _, f := range list {
		f.mu.Lock()
		do(f)
		f.mu.Unlock()
	}
}

func (f *file) add(line []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return
	}
	f.buf = append(f.buf, line...)
	if len(f.buf) >= f.opt.Size {
		f.flush()
		return
	}
	if f.timer == nil {
		f.timer = time.AfterFunc(f.opt.Interval, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.flush()
		})
	}
}

// flush writes what waits. Caller must hold mu.
func (f *file) flush() {
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	if len(f.buf) == 0 {
		return
	}
	err := f.open()
	if err == nil {
		_, err = f.to.Write(f.buf)
	}
	if err != nil {
		f.opt.Failed(fmt.Errorf("access log: %w", err))
	}
	f.buf = f.buf[:0]
}

// open opens the file. Caller must hold mu.
func (f *file) open() error {
	switch {
	case f.to != nil:
	case f.path == "/dev/stdout":
		f.to = f.opt.Stdout
	case f.path == "/dev/stderr":
		f.to = f.opt.Stderr
	default:
		o, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		f.to, f.close = o, o.Close
	}
	return nil
}

// reopen writes what waits and closes the file until the next line. Caller must hold mu.
func (f *file) reopen() {
	f.flush()
	var err error
	if f.close != nil {
		err = f.close()
	}
	if err != nil {
		f.opt.Failed(fmt.Errorf("access log: %w", err))
	}
	f.to, f.close = nil, nil
}

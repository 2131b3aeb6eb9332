package sidecar

import (
	"log/slog"
	"os"
	"sync"
)

// accessLogs appends the lines of access logs to their files.
type accessLogs struct {
	log   *slog.Logger
	mu    sync.Mutex
	files map[string]*os.File // nil: it can not be opened, which has been said
}

// AccessLog writes one line.
func (a *accessLogs) AccessLog(path string, line []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, known := a.files[path]
	if !known {
		var err error
		// /dev/stdout and /dev/stderr are files, too.
		f, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			a.log.Error("access log", "err", err)
			f = nil
		}
		if a.files == nil {
			a.files = map[string]*os.File{}
		}
		a.files[path] = f
	}
	if f != nil {
		f.Write(line) //nolint:errcheck // a full disk must not stop requests
	}
}

// reopen lets the next line open its file anew: POST /reopen_logs, after a rotation.
func (a *accessLogs) reopen() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.files {
		if f != nil {
			f.Close()
		}
	}
	a.files = nil
}

package sidecar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// page is one thing that the admin port answers.
type page struct {
	path, about string
	post        bool // it changes something, so that GET is refused
	serve       func(*Sidecar, http.ResponseWriter, *http.Request)
}

// pages lists them in Envoy's words (source/server/admin/admin.cc).
func pages() []page {
	return []page{
		{"/certs", "print certs on machine", false, (*Sidecar).certs},
		{"/clusters", "upstream cluster status", false, (*Sidecar).clusters},
		{"/config_dump", "dump current configs", false, (*Sidecar).configDump},
		{"/drain_listeners", "drain listeners", true, (*Sidecar).drainListeners},
		{"/healthcheck/fail", "cause the server to fail health checks", true,
			func(s *Sidecar, w http.ResponseWriter, _ *http.Request) { s.setFailed(w, true) }},
		{"/healthcheck/ok", "cause the server to pass health checks", true,
			func(s *Sidecar, w http.ResponseWriter, _ *http.Request) { s.setFailed(w, false) }},
		{"/hot_restart_version", "print the hot restart compatibility version", false,
			func(_ *Sidecar, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "disabled") }},
		{"/listeners", "print listener info", false, (*Sidecar).listeners},
		{"/logging", "query/change logging levels", true, (*Sidecar).logging},
		{"/memory", "print current allocation/heap usage", false, (*Sidecar).memory},
		{"/quitquitquit", "exit the server", true, (*Sidecar).quitquitquit},
		{"/ready", "print server state, return 200 if LIVE, otherwise return 503", false,
			(*Sidecar).ready},
		{"/reopen_logs", "reopen access logs", true,
			func(s *Sidecar, w http.ResponseWriter, _ *http.Request) {
				s.logs.reopen()
				fmt.Fprint(w, "OK\n")
			}},
		{"/server_info", "print server version/status information", false, (*Sidecar).serverInfo},
		{"/stats", "print server stats", false, (*Sidecar).serveStats},
		{"/stats/prometheus", "print server stats in prometheus format", false,
			func(s *Sidecar, w http.ResponseWriter, r *http.Request) {
				s.writeStats(w, r, "prometheus")
			}},
	}
}

// serveAdmin answers on the admin port until stop is called.
func (s *Sidecar) serveAdmin() (stop func()) {
	mux := http.NewServeMux()
	all := pages()
	for _, p := range all {
		mux.HandleFunc(p.path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-cache, max-age=0")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
			if p.post && r.Method != http.MethodPost {
				http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
				return
			}
			p.serve(s, w, r)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		if r.URL.Path != "/" && r.URL.Path != "/help" {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, "invalid path. ")
		}
		fmt.Fprint(w, "admin commands are:\n")
		for _, p := range all {
			fmt.Fprintf(w, "  %s: %s\n", p.path, p.about)
		}
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		srv.Serve(s.admin) //nolint:errcheck // ends with Close
	}()
	return func() { srv.Close(); <-ended }
}

// writeJSON writes a message as Envoy does: with the names of its fields, a space for each level.
func writeJSON(w http.ResponseWriter, m proto.Message) {
	marshal(w, m, protojson.MarshalOptions{UseProtoNames: true})
}

// writeWholeJSON writes the fields that have their default value, too, as Envoy does in some
// places.
func writeWholeJSON(w http.ResponseWriter, m proto.Message) {
	marshal(w, m, protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true})
}

func marshal(w http.ResponseWriter, m proto.Message, o protojson.MarshalOptions) {
	b, err := o.Marshal(m)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", " "); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out.WriteByte('\n')
	w.Write(out.Bytes()) //nolint:errcheck // the client has gone
}

func (s *Sidecar) ready(w http.ResponseWriter, _ *http.Request) {
	state := s.state()
	if state != adminv3.ServerInfo_LIVE {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(w, "%s\n", state)
}

func (s *Sidecar) serverInfo(w http.ResponseWriter, _ *http.Request) {
	up := durationpb.New(time.Since(s.began).Truncate(time.Second))
	writeWholeJSON(w, &adminv3.ServerInfo{
		Version: s.opt.Version, State: s.state(), HotRestartVersion: "disabled",
		UptimeCurrentEpoch: up, UptimeAllEpochs: up,
		CommandLineOptions: s.opt.Flags, Node: s.opt.Bootstrap.GetNode(),
	})
}

func (s *Sidecar) memory(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	writeWholeJSON(w, &adminv3.Memory{Allocated: m.HeapAlloc, HeapSize: m.HeapSys})
}

// certs is empty: no resource with a certificate is taken.
func (s *Sidecar) certs(w http.ResponseWriter, _ *http.Request) {
	writeWholeJSON(w, &adminv3.Certificates{})
}

func (s *Sidecar) setFailed(w http.ResponseWriter, on bool) {
	s.failed.Store(on)
	s.proxy.SetDraining(on)
	fmt.Fprint(w, "OK\n")
}

func (s *Sidecar) quitquitquit(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, "OK\n")
	select {
	case s.quit <- struct{}{}:
	default:
	}
}

// drainListeners closes all listeners; requests under way end. ?inboundonly and ?graceful are
// Envoy's; all listeners drain, at once.
func (s *Sidecar) drainListeners(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("inboundonly") {
		http.Error(w, "inboundonly is not carried out yet; without it, all listeners drain",
			http.StatusBadRequest)
		return
	}
	s.plane.drain()
	fmt.Fprint(w, "OK\n")
}

// levels are Envoy's names for log levels, and ours.
var levels = map[string]slog.Level{
	"trace": slog.LevelDebug - 4, "debug": slog.LevelDebug, "info": slog.LevelInfo,
	"warning": slog.LevelWarn, "warn": slog.LevelWarn, "error": slog.LevelError,
	"critical": slog.LevelError + 4, "off": slog.LevelError + 8,
}

// LogLevel returns the level of one of Envoy's names.
func LogLevel(name string) (slog.Level, bool) {
	l, ok := levels[name]
	return l, ok
}

// levelName returns Envoy's name of a level.
func levelName(l slog.Level) string {
	for name, x := range levels {
		if x == l && name != "warn" {
			return name
		}
	}
	return strings.ToLower(l.String())
}

// logging shows the level, or changes it. There is one logger: ?NAME=LEVEL changes it, too.
func (s *Sidecar) logging(w http.ResponseWriter, r *http.Request) {
	for name, value := range r.URL.Query() {
		l, ok := LogLevel(value[0])
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, "error: unknown logger level for %s: %q\n", name, value[0])
			return
		}
		s.opt.Level.Set(l)
	}
	fmt.Fprintf(w, "active loggers:\n  mesh-lab: %s\n", levelName(s.opt.Level.Level()))
}

func (s *Sidecar) serveStats(w http.ResponseWriter, r *http.Request) {
	s.writeStats(w, r, r.URL.Query().Get("format"))
}

func (s *Sidecar) writeStats(w http.ResponseWriter, r *http.Request, format string) {
	q := r.URL.Query()
	f := selection{used: q.Has("usedonly")}
	if text := q.Get("filter"); text != "" {
		var err error
		if f.filter, err = regexp.Compile(text); err != nil {
			http.Error(w, "Invalid re2 regex: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	list := s.stats()
	switch format {
	case "", "text":
		writeText(w, list, f)
	case "prometheus":
		writePrometheus(w, list, f)
	case "json":
		type one struct {
			Name  string `json:"name"`
			Value uint64 `json:"value"`
		}
		out := struct {
			Stats []one `json:"stats"`
		}{[]one{}}
		for i := range list {
			if f.takes(&list[i]) {
				out.Stats = append(out.Stats, one{list[i].name, list[i].value})
			}
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(out) //nolint:errcheck // the client has gone
	default:
		http.Error(w, "usage: /stats?format=(text|json|prometheus)", http.StatusBadRequest)
	}
}

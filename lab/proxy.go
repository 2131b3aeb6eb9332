package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/durationpb"

	recorded "github.com/mesh-lab/mesh-lab/lab/topology/docker/sidecar"
	"github.com/mesh-lab/mesh-lab/meshcore/bootstrap"
	"github.com/mesh-lab/mesh-lab/meshcore/sidecar"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// proxyFlags are those of Envoy's that mean something here.
type proxyFlags struct {
	config, yaml               string
	concurrency                uint32
	level, mode                string
	node, cluster, zone        string
	logPath, adminPath         string
	lax, laxOld, version       bool
	drainTime, parentShutdown  uint32
	componentLevel, ipVersion  string
	disableHotRestart, dropped bool

	// Ours, for a lab: what it is told of this proxy.
	records, keepHeaders string
	recordLines, exact   bool
}

func proxyCommand(e *env) *cobra.Command {
	var f proxyFlags
	c := &cobra.Command{
		Use:   "proxy -c BOOTSTRAP [envoy's flags]",
		Short: "Run our sidecar as a process, in the place of the envoy binary",
		Long: `proxy runs our data plane from an Envoy bootstrap file: under our control plane,
under istiod, or with static resources. It takes Envoy's flags. What of a bootstrap is not carried
out is an error that names the field.

The admin port answers /ready, /server_info, /config_dump, /clusters, /listeners, /stats,
/stats/prometheus, /certs, /logging, /memory, and POST /quitquitquit, /drain_listeners,
/healthcheck/fail and /healthcheck/ok. SIGTERM and Ctrl-C let requests under way end, and exit 0.

With --records it sends a record of each request, and what it ejects, to a lab; MESHLAB_TOKEN is
the lab's token. --seed, --exact and --keep-headers are then as the lab has them.`,
		Example: `  mesh-lab proxy -c envoy.yaml
  mesh-lab proxy -c envoy.yaml --mode validate
  mesh-lab proxy -c bootstrap.json -l debug --service-cluster a.default \
    --service-node sidecar~10.0.0.7~a-0.default~default.svc.cluster.local`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error { return e.proxy(c.Context(), &f) },
	}
	f.add(c.Flags())
	return c
}

// add declares Envoy's flags.
func (f *proxyFlags) add(fs *pflag.FlagSet) {
	fs.StringVarP(&f.config, "config-path", "c", "", "bootstrap `FILE`, JSON or YAML")
	fs.StringVar(&f.yaml, "config-yaml", "", "`YAML` that is merged into the bootstrap")
	fs.Uint32Var(&f.concurrency, "concurrency", 0, "threads that run at once (default: all CPUs)")
	fs.StringVarP(&f.level, "log-level", "l", "info",
		"trace, debug, info, warning, error, critical or off")
	fs.StringVar(&f.mode, "mode", "serve", "serve, or validate: check and exit")
	fs.StringVar(&f.node, "service-node", "", "`ID` of the node")
	fs.StringVar(&f.cluster, "service-cluster", "", "`NAME` of the node's cluster")
	fs.StringVar(&f.zone, "service-zone", "", "`ZONE` of the node")
	fs.StringVar(&f.logPath, "log-path", "", "`FILE` for the log (default: stderr)")
	fs.StringVar(&f.adminPath, "admin-address-path", "",
		"`FILE` to write the admin port's address to")
	fs.BoolVar(&f.lax, "allow-unknown-static-fields", false,
		"let fields pass that Envoy's API does not have")
	fs.BoolVar(&f.laxOld, "allow-unknown-fields", false, "the same, by its old name")
	fs.Uint32Var(&f.drainTime, "drain-time-s", 600,
		"at the end, wait so long for requests under way, and 5 s at most")
	fs.BoolVar(&f.version, "version", false, "print the version and exit")
	f.addOwn(fs)
	const nothing = "changes nothing: "
	fs.BoolVar(&f.disableHotRestart, "disable-hot-restart", false,
		nothing+"there is no hot restart")
	fs.Uint32Var(&f.parentShutdown, "parent-shutdown-time-s", 900,
		nothing+"there is no hot restart")
	fs.StringVar(&f.componentLevel, "component-log-level", "", nothing+"there is one logger")
	fs.StringVar(&f.ipVersion, "local-address-ip-version", "v4", nothing+"decides nothing here")
	for _, x := range []struct{ names, why string }{
		{"use-dynamic-base-id skip-hot-restart-on-no-parent skip-hot-restart-parent-stats " +
			"hot-restart-version", "there is no hot restart"},
		{"reject-unknown-dynamic-fields ignore-unknown-dynamic-fields",
			"unknown fields of dynamic resources are always refused"},
		{"skip-deprecated-logs enable-fine-grain-logging log-format-escaped " +
			"log-stacktrace-single-entry", "the log has its own form"},
		{"enable-mutex-tracing cpuset-threads enable-core-dump", "it is about Envoy's own threads"},
	} {
		for _, name := range strings.Fields(x.names) {
			fs.BoolVar(&f.dropped, name, false, nothing+x.why)
		}
	}
	for _, x := range []struct{ names, why string }{
		{"base-id base-id-path restart-epoch socket-path socket-mode drain-strategy",
			"there is no hot restart"},
		{"log-format file-flush-interval-msec file-flush-min-size-kb",
			"the log has its own form"},
		{"disable-extensions", "what is not carried out is refused"},
		{"stats-tag", "it tags statistics only"},
	} {
		for _, name := range strings.Fields(x.names) {
			fs.StringArray(name, nil, nothing+x.why)
		}
	}
}

// addOwn declares what Envoy does not have.
func (f *proxyFlags) addOwn(fs *pflag.FlagSet) {
	fs.StringVar(&f.records, "records", "", "`HOST:PORT` of a lab that takes the records")
	fs.BoolVar(&f.recordLines, "records-access-log", false,
		"with --records: send the lines of access logs, too, in the place of their files")
	fs.StringVar(&f.keepHeaders, "keep-headers", "",
		"request headers to keep in records, lower-case, with commas between")
	fs.BoolVar(&f.exact, "exact", false, "enumerate what is left to chance instead of drawing it")
}

// proxy runs or validates.
func (e *env) proxy(ctx context.Context, f *proxyFlags) error {
	if f.version {
		fmt.Fprintf(e.out, "\nmesh-lab proxy  version: %s\n\n", proxyVersion())
		return nil
	}
	level, ok := sidecar.LogLevel(f.level)
	switch {
	case !ok:
		return usage("-l %q is unknown; one of trace, debug, info, warning, error, critical, off",
			f.level)
	case f.mode != "serve" && f.mode != "validate":
		return usage("--mode %q is unknown; one of serve, validate", f.mode)
	case f.config == "" && f.yaml == "":
		return usage("proxy: which bootstrap? At least one of --config-path (-c) and " +
			"--config-yaml must be given")
	}
	b, err := e.bootstrap(f)
	if err != nil {
		return err
	}
	if f.mode == "validate" {
		fmt.Fprintf(e.out, "configuration '%s' OK\n", f.config)
		return nil
	}
	return e.serveProxy(ctx, f, b, level)
}

// proxyVersion has Envoy's form of a version: what it is / whose semantics / what kind of build.
func proxyVersion() string { return buildVersion() + "/" + envoySemantics + ".0/mesh-lab" }

// bootstrap reads and checks the bootstrap.
func (e *env) bootstrap(f *proxyFlags) (*bootstrapv3.Bootstrap, error) {
	var files []bootstrap.File
	name := "--config-yaml"
	if f.config != "" {
		data, err := e.readFile(f.config)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		name = f.config
		files = append(files, bootstrap.File{Name: f.config, Data: data})
	}
	if f.yaml != "" {
		files = append(files, bootstrap.File{Name: "--config-yaml.yaml", Data: []byte(f.yaml)})
	}
	b, err := bootstrap.Read(files, f.lax || f.laxOld)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	f.override(b)
	var errs []error
	for _, r := range bootstrap.Check(b) {
		errs = append(errs, fmt.Errorf("%s: %s: %s", name, r.Field, r.Reason))
	}
	if err := sidecar.Validate(b); err != nil {
		errs = append(errs, errors.New(name+": "+
			strings.ReplaceAll(err.Error(), "\n", "\n"+name+": ")))
	}
	if len(errs) > 0 {
		return nil, &exitError{exitUsage, errors.Join(errs...)}
	}
	return b, nil
}

// override lets flags win over the file's node, as Envoy does (source/server/server.cc
// InstanceUtil::createLocalInfo).
func (f *proxyFlags) override(b *bootstrapv3.Bootstrap) {
	if b.Node == nil {
		b.Node = &corev3.Node{}
	}
	b.Node.Id = cmp.Or(f.node, b.Node.Id)
	b.Node.Cluster = cmp.Or(f.cluster, b.Node.Cluster)
	if f.zone != "" {
		if b.Node.Locality == nil {
			b.Node.Locality = &corev3.Locality{}
		}
		b.Node.Locality.Zone = f.zone
	}
}

// serveProxy runs the sidecar until it is told to end.
func (e *env) serveProxy(
	ctx context.Context, f *proxyFlags, b *bootstrapv3.Bootstrap, level slog.Level,
) error {
	seed, err := e.seed()
	if err != nil {
		return err
	}
	if f.concurrency > 0 {
		runtime.GOMAXPROCS(int(f.concurrency))
	}
	var w io.Writer = e.err
	if f.logPath != "" {
		file, err := os.OpenFile(f.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return environment(clean(err))
		}
		defer file.Close()
		w = file
	}
	var at slog.LevelVar
	at.Set(level)
	log := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: &at}))
	o := sidecar.Options{
		Bootstrap: b, Flags: f.message(), Version: proxyVersion(), Log: log, Level: &at, Seed: seed,
		DrainTime: min(time.Duration(f.drainTime)*time.Second, 5*time.Second),
		Exact:     f.exact,
	}
	if f.keepHeaders != "" {
		o.KeepHeaders = strings.Split(f.keepHeaders, ",")
	}
	s, run, err := f.make(o)
	if err != nil {
		return environment(err)
	}
	defer s.Close()
	ctx, end := context.WithCancel(ctx)
	defer end()
	// Envoy ends by SIGTERM and SIGINT alike, with status 0, and eats SIGHUP.
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		e.signals.take(sig, end)
	}
	e.signals.take(syscall.SIGHUP, func() { log.Warn("caught and eating SIGHUP") })
	if a := s.Admin(); a != nil {
		log.Info("admin", "address", a.String())
		if f.adminPath != "" {
			if err := writeWhole(f.adminPath, a.String()); err != nil {
				return environment(err)
			}
		}
	}
	return environment(run(ctx))
}

// make makes the sidecar, and what runs it: with its records sent to a lab, where that is wanted.
func (f *proxyFlags) make(
	o sidecar.Options,
) (s *sidecar.Sidecar, run func(context.Context) error, err error) {
	if f.records == "" {
		s, err = sidecar.New(o)
		if err != nil {
			return nil, nil, err
		}
		return s, s.Run, nil
	}
	node := o.Bootstrap.GetNode().GetId()
	if id, err := xds.ParseNodeID(node); err == nil {
		node = id.Key()
	}
	s, records, err := recorded.New(o, recorded.Records{
		Node: node, Address: f.records, Token: os.Getenv("MESHLAB_TOKEN"),
		AccessLog: f.recordLines,
	})
	if err != nil {
		return nil, nil, err
	}
	return s, func(ctx context.Context) error {
		return recorded.Serve(ctx, s, records, o.Log)
	}, nil
}

// writeWhole writes a file that appears with its whole content.
func writeWhole(path, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".mesh-lab-")
	if err != nil {
		return clean(err)
	}
	_, err = tmp.WriteString(text)
	return errors.Join(err, tmp.Close(), os.Rename(tmp.Name(), path))
}

// message is what /server_info says of the flags.
func (f *proxyFlags) message() *adminv3.CommandLineOptions {
	return &adminv3.CommandLineOptions{
		ConfigPath: f.config, ConfigYaml: f.yaml, Concurrency: uint32(runtime.GOMAXPROCS(0)),
		LogLevel: f.level, LogPath: f.logPath, ComponentLogLevel: f.componentLevel,
		ServiceNode: f.node, ServiceCluster: f.cluster, ServiceZone: f.zone,
		AllowUnknownStaticFields: f.lax || f.laxOld, AdminAddressPath: f.adminPath,
		DisableHotRestart:  f.disableHotRestart,
		DrainTime:          durationpb.New(time.Duration(f.drainTime) * time.Second),
		ParentShutdownTime: durationpb.New(time.Duration(f.parentShutdown) * time.Second),
	}
}

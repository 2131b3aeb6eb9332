package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/lab/chaos"
	"github.com/mesh-lab/mesh-lab/lab/remote"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

func chaosCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "chaos (KIND ... | FAULT | heal | list)",
		Short: "Break something in the lab that is up, and heal it",
		Long: `Breaks something in the lab that is up. A fault lasts until it is healed, as long as
--for says, or until the lab goes down, which heals everything. With --for the command waits for
the end and tells what the fault did; Ctrl-C heals it at once.

A fault may also be given as a step of a scenario has it, in YAML. A workload's name means all of
its pods.`,
		Example: `  mesh-lab chaos kill reviews-v2
  mesh-lab chaos delay --from productpage-v1 --to reviews-v2 --by 200ms --for 30s
  mesh-lab chaos 'link: {to: ratings-v1, bandwidth: 1KB/s, for: 10s}'
  mesh-lab chaos list
  mesh-lab chaos heal all`,
	}
	var lab string
	c.Args = wants(1, 1, "what? One of "+strings.Join(chaosKinds(), ", ")+", heal, list")
	c.RunE = func(c *cobra.Command, args []string) error {
		if !strings.Contains(args[0], ":") {
			return usage("chaos: there is no %q; one of %s, restart, resume, heal, list", args[0],
				strings.Join(chaosKinds(), ", "))
		}
		f, diags := scenarios.ParseFault("fault", []byte(args[0]))
		if err := e.diagnose(diags); err != nil {
			return err
		}
		return e.breakIt(c.Context(), lab, args[0], waits(f.When))
	}
	c.PersistentFlags().StringVar(&lab, "lab", "default", "`NAME` of the lab, when several are up")
	outputFlag(e, c, "text", "json")
	for i := range chaosCommands {
		c.AddCommand(e.faultCommand(&chaosCommands[i], &lab))
	}
	c.AddCommand(e.healCommand(&lab), e.faultsCommand(&lab),
		e.endCommand(&lab, "restart", "Start killed pods again, or replace those that run",
			(*remote.Client).Restart),
		e.endCommand(&lab, "resume", "Let paused pods go on", (*remote.Client).Resume))
	return c
}

// chaosCommands are the faults as commands: a flag for each key, and arguments for pods.
var chaosCommands = []struct {
	kind, args, short, example string
	flags                      []string
}{
	{"kill", "POD...", "End pods at once, as kill -9 does", "reviews-v2 --part proxy --for 5s",
		[]string{"part"}},
	{"pause", "POD...", "Stop pods: connections stay open, nothing answers",
		"ratings-v1 --part app --for 2s", []string{"part"}},
	{"partition", "", "Let connections fall silent, and new ones find nobody",
		"--from productpage-v1 --to reviews-v2 --both", []string{"from", "to", "both", "ports"}},
	{"delay", "", "Have everything arrive later",
		"--from productpage-v1 --to reviews-v2 --by 100ms",
		[]string{"from", "to", "both", "ports", "by", "jitter"}},
	{"link", "", "Make connections bad", "--to ratings-v1 --reset-after 1KB",
		[]string{"from", "to", "both", "ports", "delay", "jitter", "bandwidth", "loss",
			"resetAfter", "halfOpen"}},
	{"refuse", "POD...", "Have apps refuse new connections", "reviews-v2 --ports 9080",
		[]string{"ports"}},
	{"unready", "POD...", "Have readiness probes fail, or be slow", "reviews-v2 --for 10s",
		[]string{"slow"}},
	{"starve", "POD...", "Leave pods little CPU", "reviews-v2 --cpu 10%", []string{"cpu"}},
	{"dns", "POD...", "Let look-ups of names go wrong",
		"productpage-v1 --names api.example.com --answer fail",
		[]string{"names", "answer", "delay"}},
	{"control plane", "[down | restarted]", "Take the control plane away, or have it misbehave",
		"--withhold reviews-v1", []string{"slow", "withhold"}},
}

// chaosFlags are the keys of faults as flags.
var chaosFlags = []struct{ key, usage string }{
	{"part", "`PART` of the pods: pod, app or proxy"},
	{"from", "`PODS` that connect, or outside (default all)"},
	{"to", "`PODS` that are connected to (default all)"},
	{"both", "in both directions"},
	{"ports", "`PORTS` of those that are connected to (default all)"},
	{"by", "`TIME` by which every byte arrives later"},
	{"delay", "`TIME` by which it is later"},
	{"jitter", "more or less by so much `TIME`, evenly"},
	{"bandwidth", "of each connection, such as `20KB/s`"},
	{"loss", "share of packets that are dropped, such as `10%`"},
	{"resetAfter", "`BYTES` after which a connection is reset"},
	{"halfOpen", "accept connections and pass nothing on"},
	{"slow", "so much `TIME` later"},
	{"cpu", "share of a core that is left, such as `10%`"},
	{"names", "`NAMES` that are looked up (default all)"},
	{"answer", "`ANSWER` of a look-up: none, fail, or an address"},
	{"withhold", "`PODS` whose proxies get no push"},
	{"name", "what the fault is called, by `NAME`"},
	{"at", "begin after so much `TIME`"},
	{"for", "heal it after so much `TIME`, and wait for that"},
	{"every", "begin again after so much `TIME`; goes with --for"},
	{"times", "with --every: `N` times in all"},
	{"random", "begin later at random, by so much `TIME` at most"},
}

// switches are the flags without a value, lists those with several.
var (
	switches = []string{"both", "halfOpen"}
	lists    = []string{"from", "to", "ports", "names", "withhold"}
	always   = []string{"name", "at", "for", "every", "times", "random"}
)

// chaosKinds lists the commands' names.
func chaosKinds() []string {
	var out []string
	for i := range chaosCommands {
		out = append(out, scenarios.DefaultName(chaosCommands[i].kind))
	}
	return out
}

// dashed is a key as a flag: resetAfter, reset-after.
func dashed(key string) string {
	var b strings.Builder
	for _, r := range key {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// faultCommand is the command that breaks one kind.
func (e *env) faultCommand(k *struct {
	kind, args, short, example string
	flags                      []string
}, lab *string) *cobra.Command {
	name := scenarios.DefaultName(k.kind)
	c := &cobra.Command{
		Use: strings.TrimSpace(name + " " + k.args), Short: k.short,
		Example: "  mesh-lab chaos " + name + " " + k.example,
	}
	for _, f := range chaosFlags {
		if !slices.Contains(k.flags, f.key) && !slices.Contains(always, f.key) {
			continue
		}
		switch {
		case slices.Contains(switches, f.key):
			c.Flags().Bool(dashed(f.key), false, f.usage)
		case slices.Contains(lists, f.key):
			c.Flags().StringSlice(dashed(f.key), nil, f.usage)
		default:
			c.Flags().String(dashed(f.key), "", f.usage)
		}
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		text, err := written(c, k.kind, args)
		if err != nil {
			return err
		}
		f, diags := scenarios.ParseFault("fault", text)
		if f == nil {
			var said []string
			for _, d := range diags {
				said = append(said, d.Msg)
			}
			return usage("%s: %s; `%s -h` shows an example", c.Name(), strings.Join(said, "; "),
				c.CommandPath())
		}
		return e.breakIt(c.Context(), *lab, string(text), waits(f.When))
	}
	outputFlag(e, c, "text", "json")
	return c
}

// written is the fault that arguments and flags mean, as a step of a scenario has it.
func written(c *cobra.Command, kind string, args []string) ([]byte, error) {
	body := map[string]any{}
	switch {
	case len(args) > 0 && kind == "control plane":
		body["state"] = strings.Join(args, " ")
	case len(args) > 0 && c.Flags().Lookup("from") != nil:
		return nil, usage("%s: unexpected argument %q: --from and --to say between whom", c.Name(),
			args[0])
	case len(args) > 0:
		body["pods"] = args
	}
	for _, f := range chaosFlags {
		flag := c.Flags().Lookup(dashed(f.key))
		if flag == nil || !flag.Changed {
			continue
		}
		switch {
		case slices.Contains(switches, f.key):
			body[f.key] = flag.Value.String() == "true"
		case slices.Contains(lists, f.key):
			body[f.key], _ = c.Flags().GetStringSlice(flag.Name)
		case f.key == "random":
			body[f.key] = map[string]string{"within": flag.Value.String()}
		default:
			body[f.key] = flag.Value.String()
		}
	}
	var n yaml.Node
	if err := n.Encode(map[string]any{kind: body}); err != nil {
		return nil, err
	}
	n.Content[1].Style = yaml.FlowStyle
	return yaml.Marshal(&n)
}

// waits says whether a fault ends by itself, so that one can wait for it.
func waits(w scenarios.When) bool { return w.For > 0 && (w.Every == 0 || w.Times > 0) }

// breakIt begins a fault, and waits for its end where there is one.
func (e *env) breakIt(ctx context.Context, lab, fault string, wait bool) error {
	l, err := running(ctx, lab)
	if err != nil {
		return err
	}
	var began func(remote.Faults)
	if wait {
		began = func(f remote.Faults) {
			if e.output != "json" {
				e.tellFaults(f)
			}
		}
	}
	f, err := l.Break(ctx, fault, began)
	if err != nil {
		return answered(err)
	}
	return e.showFaults(f)
}

// showFaults writes faults as -o says.
func (e *env) showFaults(f remote.Faults) error {
	if e.output == "json" {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(f)
	}
	e.tellFaults(f)
	return nil
}

// tellFaults tells how faults stand, a line for each.
func (e *env) tellFaults(f remote.Faults) {
	for i := range f.Faults {
		fmt.Fprintln(e.out, stands(&f.Faults[i]))
	}
}

// stands says how a fault stands.
func stands(s *chaos.Status) string {
	line := s.Title() + ": " + string(s.State)
	if s.Fired > 0 || s.State == chaos.Healed {
		line += ", " + receipt(s)
	}
	return line
}

// receipt says what a fault did so far.
func receipt(s *chaos.Status) string {
	r := reports.FaultResult{
		Fired: s.Fired, Unit: s.Unit, Bytes: s.Bytes, Skipped: s.Skipped,
	}
	return r.Receipt()
}

func (e *env) healCommand(lab *string) *cobra.Command {
	c := &cobra.Command{
		Use:     "heal (NAME... | all)",
		Short:   "End faults",
		Example: "  mesh-lab chaos heal delay\n  mesh-lab chaos heal all",
		Args:    wants(1, -1, "what? A fault's name (`mesh-lab chaos list`), or all"),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		l, err := running(c.Context(), *lab)
		if err != nil {
			return err
		}
		f, err := l.Heal(c.Context(), args...)
		if err != nil {
			return answered(err)
		}
		if !slices.Contains(args, "all") {
			f.Faults = slices.DeleteFunc(f.Faults, func(s chaos.Status) bool {
				return !slices.Contains(args, s.Name)
			})
		}
		return e.showFaults(f)
	}
	outputFlag(e, c, "text", "json")
	return c
}

// endCommand ends what pods have.
func (e *env) endCommand(lab *string, name, short string, end func(
	c *remote.Client, ctx context.Context, pods ...string,
) (remote.Faults, error)) *cobra.Command {
	c := &cobra.Command{
		Use: name + " POD...", Short: short, Example: "  mesh-lab chaos " + name + " reviews-v2",
		Args: wants(1, -1, "which pods?"),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		l, err := running(c.Context(), *lab)
		if err != nil {
			return err
		}
		if _, err := end(l, c.Context(), args...); err != nil {
			return answered(err)
		}
		fmt.Fprintf(e.out, "%s: %sed\n", strings.Join(args, ", "), strings.TrimSuffix(name, "e"))
		return nil
	}
	return c
}

func (e *env) faultsCommand(lab *string) *cobra.Command {
	var every bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List what is broken, with its receipts",
		Example: "  mesh-lab chaos list\n  mesh-lab chaos list --healed -o json",
		Args:    none,
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		l, err := running(c.Context(), *lab)
		if err != nil {
			return err
		}
		f, err := l.Faults(c.Context())
		if err != nil {
			return answered(err)
		}
		if !every {
			f.Faults = slices.DeleteFunc(f.Faults, func(s chaos.Status) bool {
				return s.State == chaos.Healed
			})
		}
		if e.output == "json" {
			return e.showFaults(f)
		}
		if len(f.Faults) == 0 {
			fmt.Fprintln(e.out, "nothing is broken")
			return nil
		}
		t := e.table()
		fmt.Fprintln(t, "NAME\tFAULT\tSTATE\tSINCE\tRECEIPT")
		for i := range f.Faults {
			s := &f.Faults[i]
			since := f.Now.Sub(s.From).Round(time.Second)
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Name, strings.TrimSpace(s.Kind+" "+s.Target),
				s.State, strconv.Itoa(int(since.Seconds()))+"s", receipt(s))
		}
		return t.Flush()
	}
	c.Flags().BoolVar(&every, "healed", false, "also what is healed")
	outputFlag(e, c, "text", "json")
	return c
}

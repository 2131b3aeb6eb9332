package chaos

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// registry has an app of two versions, one of them with two pods, and a caller.
func registry() *translate.Registry {
	pod := func(name, workload, app string) *translate.Pod {
		return &translate.Pod{Name: name, Namespace: "default", Workload: workload,
			Labels: map[string]string{"app": app}}
	}
	return &translate.Registry{Pods: []*translate.Pod{
		pod("page-0", "page", "page"), pod("reviews-v1-0", "reviews-v1", "reviews"),
		pod("reviews-v2-0", "reviews-v2", "reviews"), pod("reviews-v2-1", "reviews-v2", "reviews"),
	}}
}

func orders(t *testing.T, text string) []Order {
	t.Helper()
	f, diags := scenarios.ParseFault("f", []byte(text))
	for _, d := range diags {
		t.Fatal(d)
	}
	out, err := Orders(f, registry())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A fault as it is written becomes what a topology is asked for, and is told in plain words.
func TestOrders(t *testing.T) {
	v1, v2 := []string{"reviews-v1-0.default"}, []string{"reviews-v2-0.default", "reviews-v2-1.default"}
	page, none := []string{"page-0.default"}, int64(0)
	for text, want := range map[string]struct {
		title string
		fault topology.Fault
	}{
		"pause: {pods: reviews-v2, part: app}": {"pause the app of reviews-v2",
			topology.Fault{Pods: v2, Part: topology.PartApp}},
		"pause: reviews": {"pause reviews", topology.Fault{Pods: append(v1[:1:1], v2...)}},
		"pause: reviews-v2-1": {"pause reviews-v2-1",
			topology.Fault{Pods: v2[1:]}},
		"partition: {from: page, to: reviews-v1, both: true, ports: 80}": {
			"partition page ⇄ reviews-v1 port 80",
			topology.Fault{From: page, To: v1, Both: true, Ports: []int{80}}},
		"partition: {from: outside}": {"partition outside → all",
			topology.Fault{From: []string{"outside"}}},
		"delay: {from: page, to: reviews-v1, by: 1s, jitter: 1ms}": {
			"link page → reviews-v1: 1s ± 1ms",
			topology.Fault{From: page, To: v1, Link: topology.Link{Delay: time.Second, Jitter: time.Millisecond}}},
		"link: {to: page, bandwidth: 20KB/s, loss: 10%, resetAfter: 0, halfOpen: true}": {
			"link all → page: 20KB/s, 10 % lost, reset after 0B, half-open",
			topology.Fault{To: page, Link: topology.Link{
				Bandwidth: 20_000, Loss: 0.1, ResetAfter: &none, HalfOpen: true,
			}}},
		"refuse: {pods: page, ports: [1, 2]}": {"refuse page port 1, 2",
			topology.Fault{Pods: page, Ports: []int{1, 2}}},
		"unready: {pods: page, slow: 5s}": {"unready page: late by 5s",
			topology.Fault{Pods: page, Delay: 5 * time.Second}},
		"starve: {pods: page, cpu: 12.5%}": {"starve page: 12.5 % of a core",
			topology.Fault{Pods: page, CPU: 0.125}},
		"dns: {pods: page, names: a.b, answer: none}": {"dns page: a.b, no answer",
			topology.Fault{Pods: page, Names: []string{"a.b"}, DNS: topology.DNSFault{Silent: true}}},
		"dns: {pods: page, answer: 192.0.2.1}": {"dns page: answers 192.0.2.1",
			topology.Fault{Pods: page, DNS: topology.DNSFault{Wrong: "192.0.2.1"}}},
		"dns: {pods: page, delay: 2s}": {"dns page: 2s",
			topology.Fault{Pods: page, DNS: topology.DNSFault{Delay: 2 * time.Second}}},
		"control plane: down": {"control plane down",
			topology.Fault{Control: topology.ControlFault{Down: true}}},
		"control plane: {slow: 1s}": {"control plane slow by 1s",
			topology.Fault{Control: topology.ControlFault{Slow: time.Second}}},
		"control plane: {withhold: reviews-v1}": {"control plane withholds from reviews-v1",
			topology.Fault{Control: topology.ControlFault{Withhold: v1}}},
	} {
		got := orders(t, text)
		kind, _, _ := strings.Cut(text, ":")
		if kind == "delay" {
			kind = "link"
		}
		want.fault.Kind = topology.FaultKind(kind)
		opts := cmp.Options{cmpopts.EquateEmpty()}
		if d := cmp.Diff(want.fault, got[0].Fault, opts); d != "" || len(got) != 1 {
			t.Errorf("%s: %d orders (-want +got):\n%s", text, len(got), d)
		}
		if title := kind + " " + got[0].Target; title != want.title {
			t.Errorf("%s: %q, want %q", text, title, want.title)
		}
	}
	if kills := orders(t, "kill: {pods: reviews, part: proxy}"); len(kills) != 3 ||
		kills[2].Target != "the proxy of reviews-v2-1.default" {
		t.Errorf("each pod is killed by itself: %+v", kills)
	}
	f, _ := scenarios.ParseFault("f", []byte("delay: {to: nobody, by: 1s}"))
	if _, err := Orders(f, registry()); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("got %v", err)
	}
}

// Schedules are told, and ramps lead where they say.
func TestOrdersSchedule(t *testing.T) {
	text := "delay: {to: page, by: 1s, at: 1s, for: 2s, every: 5s, times: 3, " +
		"ramp: {to: {by: 3s}, over: 1s}, random: {within: 1s}}"
	got := orders(t, text)[0].Schedule
	if got.To.Link.Delay != 3*time.Second || got.To.To[0] != "page-0.default" {
		t.Errorf("the ramp leads to %+v", got.To)
	}
	got.To = topology.Fault{}
	want := Schedule{At: time.Second, For: 2 * time.Second, Every: 5 * time.Second, Times: 3,
		Within: time.Second, Over: time.Second}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	f, _ := scenarios.ParseFault("f", []byte(text))
	if got, want := Describe(f), "all → page: 1s, after 1s, for 2s, every 5s, 3 times, "+
		"at random within 1s, growing over 1s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if s := orders(t, "control plane: restarted")[0].Schedule; !s.Moment || s.For > 0 {
		t.Errorf("restarted is a moment: %+v", s)
	}
}

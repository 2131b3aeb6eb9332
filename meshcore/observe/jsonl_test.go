package observe

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHistoryReadsWhatItWrote(t *testing.T) {
	h := History{
		Requests: []Request{
			{ID: "a", Start: 5, Reporter: Source, Status: 503, Flags: "UF,URX",
				Dest: Workload{Pod: "p", Service: "s"}, Attempts: []Attempt{{Upstream: "10.244.0.2:80"}},
				Headers: map[string]string{"x-user": "jason"}},
			{ID: "b", Start: 9, Reporter: Destination, Hash: 1<<64 - 1},
		},
		Clients: []Client{{ID: "a", Step: "one", From: "curl", Status: 503}},
		Pushes:  []Push{{At: 1, Acked: 2, Proxy: "p.default", Type: "CDS", Version: "1"}},
		Faults:  []Fault{{Kind: "kill", Target: "p", Fired: 1}},
		Changes: []Change{{At: 3, Kind: "eject", What: "c 10.244.0.2:80", By: "q.default"}},
	}
	var b bytes.Buffer
	if err := h.Encode(json.NewEncoder(&b)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != 6 {
		t.Errorf("%d lines, want 6", n)
	}
	var got History
	if err := got.Decode(json.NewDecoder(&b)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(h, got); d != "" {
		t.Error(d)
	}
}

func TestHistoryRefusesOtherLines(t *testing.T) {
	for _, text := range []string{`{}`, `{"other": {}}`, `[`, `{"request": 1}`} {
		var h History
		if err := h.Decode(json.NewDecoder(strings.NewReader(text))); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

package formatter

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
)

// find knows a few operators of every kind.
func find(c Command) (Eval[map[string]string], error) {
	switch c.Name {
	case "REQ":
		if err := (Requires | Length).Check(c); err != nil {
			return nil, err
		}
		return func(m map[string]string, out []byte) ([]byte, Kind) {
			v, ok := m[c.Arg]
			if !ok {
				return append(out, "rubbish"...), None
			}
			n := len(out)
			return Truncate(append(out, v...), n, c.Max), Text
		}, nil
	case "BYTES":
		return func(_ map[string]string, out []byte) ([]byte, Kind) {
			return append(out, "100000"...), Number
		}, Alone.Check(c)
	case "META":
		return func(_ map[string]string, out []byte) ([]byte, Kind) {
			return append(out, `{"a":1}`...), JSON
		}, Optional.Check(c)
	}
	return nil, fmt.Errorf("Not supported field in StreamInfo: %s", c.Name)
}

var values = map[string]string{"a": "al\"pha", "e": "", "u": "é", "bad": "\xff\"\\\t"}

// TestText: the values are what Envoy 1.40 gave for the same formats.
func TestText(t *testing.T) {
	for format, want := range map[string]string{
		"":                     "",
		"plain":                "plain",
		"100%%":                "100%",
		"%%%BYTES%":            "%100000",
		"%REQ(a)%|%REQ(zz)%":   "al\"pha|-",
		"%REQ(a):3%%REQ(a):0%": "al\"",
		"%REQ(e)%.":            ".",
		"%META%":               `{"a":1}`,
		"%META(x)%":            `{"a":1}`,
		`%COALESCE({"operators":[{"command":"REQ","param":"zz"},"BYTES"]}):3%`:       "100",
		`%COALESCE({"operators":[{"command":"REQ","param":"a","max_length":4}]}):2%`: "al",
		`%COALESCE({"operators":[{"command":"REQ","param":"e"},"BYTES"]})%`:          "",
		`%COALESCE({"operators":[{"command":"REQ","param":"zz"}]})%`:                 "-",
		`%COALESCE({"operators":["META",{"command":"REQ","param":"zz"}]}):1%`:        "{",
	} {
		f, err := Parse(format, false, find)
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		if got := string(f.Append(values, []byte("> "))); got != "> "+want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
	f, err := Parse("%REQ(zz)%|%REQ(a)%", true, find)
	if got := string(f.Append(values, nil)); err != nil || got != `|al"pha` {
		t.Errorf("omitted: %q %v", got, err)
	}
}

// TestRefused: the words are Envoy's.
func TestRefused(t *testing.T) {
	for format, want := range map[string]string{
		"x%":          "Incorrect configuration: x%. Couldn't find valid command at position 1",
		"%%%":         "Incorrect configuration: %%%. Couldn't find valid command at position 2",
		"%req(a)%":    "Incorrect configuration: %req(a)%. Couldn't find valid command at position 0",
		"%REQ(a)":     "Incorrect configuration: %REQ(a). Couldn't find valid command at position 0",
		"%REQ(a):-1%": "Incorrect configuration: %REQ(a):-1%. Couldn't find valid command at position 0",
		"%REQ(a):99999999999999999999%": "Incorrect configuration: %REQ(a):99999999999999999999%. " +
			"Couldn't find valid command at position 0",
		"%REQ%":                        "REQ requires parameters",
		"%REQ()%":                      "REQ requires parameters",
		"%BYTES(x)%":                   "BYTES does not take any parameters or length",
		"%BYTES:3%":                    "BYTES does not take any parameters or length",
		"%META:3%":                     "META does not allow length to be specified.",
		"%FOO%":                        "Not supported field in StreamInfo: FOO",
		"%COALESCE%":                   "COALESCE requires parameters",
		"%COALESCE(x)%":                "COALESCE: failed to parse JSON configuration: JSON supplied is not valid",
		"%COALESCE([])%":               "COALESCE: JSON configuration must contain 'operators' array",
		"%COALESCE({})%":               "COALESCE: JSON configuration must contain 'operators' array",
		`%COALESCE({"operators":[]})%`: "COALESCE: 'operators' array must not be empty",
		`%COALESCE({"operators":["REQ"]})%`: "COALESCE: failed to parse operator at index 0: " +
			"REQ requires parameters",
		`%COALESCE({"operators":["BYTES",1]})%`: "COALESCE: failed to parse operator at index 1: " +
			"operator entry must be either a string (command name) or an object with 'command' field",
		`%COALESCE({"operators":[{"param":"x"}]})%`: "COALESCE: failed to parse operator at index 0: " +
			"operator object must have 'command' field",
		`%COALESCE({"operators":[{"command":"REQ","param":"a","max_length":-1}]})%`: "COALESCE: " +
			"failed to parse operator at index 0: 'max_length' must be a positive integer",
	} {
		if _, err := Parse(format, false, find); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", format, err, want)
		}
	}
}

func structOf(t *testing.T, text string) *structpb.Struct {
	t.Helper()
	s := &structpb.Struct{}
	if err := s.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestJSON: what Envoy 1.40 made of the same formats.
func TestJSON(t *testing.T) {
	const nested = `{"z":"%BYTES%","a":{"y":"%REQ(zz)%","x":{"w":"%REQ(zz)%"},"lit":null},
		"l":["%REQ(zz)%",1,"x",true,null,{"q":"%REQ(zz)%"}],"n1":1.5,"n2":100000,"n3":1e21,
		"n4":123456,"n5":0.1,"n6":-3,"n7":1e-7,"nul":null,"s":"pl\"ain","k\"e\\yé":"%BYTES%","e":"",
		"pp":"%%","m":"%REQ(zz)%%REQ(zz)%","m2":"a%REQ(zz)%","B":1,"o":{},"el":[],"t":"%META%"}`
	for _, c := range []struct {
		format, want string
		omit         bool
	}{
		{`{}`, `{}`, false},
		{`{}`, `{}`, true},
		{`{"a":"%REQ(zz)%"}`, `{"a":null}`, false},
		{`{"a":"%REQ(zz)%"}`, `{}`, true},
		{`{"a":"%REQ(a)%","u":"%REQ(u)%","b":"%REQ(bad)%","c":"%REQ(bad):3%é"}`,
			`{"a":"al\"pha","b":"\u00ff\u0022\u005c\u0009","c":"\u00ff\u0022\u005cé","u":"é"}`, false},
		{nested, `{"B":1,"a":{"lit":null,"x":{"w":null},"y":null},"e":"","el":[],` +
			`"k\"e\\yé":100000,"l":[null,1,"x",true,null,{"q":null}],"m":"--","m2":"a-","n1":1.5,` +
			`"n2":1e+05,"n3":1e+21,"n4":123456,"n5":0.1,"n6":-3,"n7":1e-07,"nul":null,"o":{},` +
			`"pp":"%","s":"pl\"ain","t":{"a":1},"z":100000}`, false},
		{nested, `{"B":1,"e":"","el":[],"k\"e\\yé":100000,"l":[1,"x",true],"m":"","m2":"a",` +
			`"n1":1.5,"n2":1e+05,"n3":1e+21,"n4":123456,"n5":0.1,"n6":-3,"n7":1e-07,"pp":"%",` +
			`"s":"pl\"ain","t":{"a":1},"z":100000}`, true},
	} {
		o, err := ParseJSON(structOf(t, c.format), c.omit, find)
		if err != nil {
			t.Errorf("%s: %v", c.format, err)
			continue
		}
		if got := string(o.Append(values, []byte("> "))); got != "> "+c.want+"\n" {
			t.Errorf("%s (omit %v)\n got %s\nwant %s", c.format, c.omit, got, c.want)
		}
	}
	_, err := ParseJSON(structOf(t, `{"a":{"b":["x","%NO%"]}}`), false, find)
	if err == nil || err.Error() != "a.b.1: Not supported field in StreamInfo: NO" {
		t.Error(err)
	}
}

// TestTime: what Envoy 1.40 wrote at this instant.
func TestTime(t *testing.T) {
	at := time.Date(2026, 11, 28, 20, 16, 28, 242025000, time.UTC)
	for format, want := range map[string]string{
		"": "2026-11-28T20:16:28.242Z", "%a": "Sat", "%A": "Saturday", "%b": "Nov", "%B": "November",
		"%c": "Sat Nov 28 20:16:28 2026", "%C": "20", "%d": "28", "%D": "11/28/26", "%e": "28",
		"%F": "2026-11-28", "%g": "26", "%G": "2026", "%h": "Nov", "%H": "20", "%I": "08", "%j": "332",
		"%k": "20", "%l": " 8", "%m": "11", "%M": "16", "%p": "PM", "%P": "pm", "%r": "08:16:28 PM",
		"%R": "20:16", "%s": "1795896988", "%S": "28", "%t": "\t", "%T": "20:16:28", "%u": "6",
		"%U": "47", "%V": "48", "%w": "6", "%W": "47", "%x": "11/28/26", "%X": "20:16:28", "%y": "26",
		"%Y": "2026", "%z": "+0000", "%Z": "UTC", "%f": "242025000", "%1f": "2", "%3f": "242",
		"%6f": "242025", "%9f": "242025000", "%%": "%", "%E3S": "28.242", "%E*S": "28.242025",
		"%E3f": "242", "%E*f": "242025", "%Ez": "+00:00", "%E*z": "+00:00:00", "%E4Y": "2026",
		"%ET": "T", "%Ex": "11/28/26", "%OS": "28", "%q": "%q", "%L": "%L", "abc": "abc",
		"%s.%3f": "1795896988.242", "%:z": "+00:00", "%::z": "+00:00:00", ":%E0S": ":28",
		"%EY": "2026", "%N": "%N", "%+": "%+", "%i": "%i", "%v": "%v", "%J": "%J",
		"%E15S": "28.242025000000000", "%Y/%m/%dT%H:%M:%S%z": "2026/11/28T20:16:28+0000",
	} {
		f, err := ParseTime(format, false)
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		if got := string(f.Append(at, nil)); got != want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
	early := time.Date(2027, 1, 3, 0, 5, 6, 0, time.UTC) // a Sunday
	for format, want := range map[string]string{
		"%e|%k|%l|%I|%j|%U|%W|%V|%G|%u|%w|%C|%E*S|%E*f|%s": " 3| 0|12|12|003|01|00|53|2026|7|0|20|06|0|1798934706",
	} {
		f, err := ParseTime(format, false)
		if got := string(f.Append(early, nil)); err != nil || got != want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
	for format, want := range map[string]string{
		"a%n": "Invalid header configuration. Format string contains newline.",
		"%-d": "flags and widths of time formats (%-d) are not carried out yet",
		"%3s": "flags and widths of time formats (%3s) are not carried out yet",
	} {
		if _, err := ParseTime(format, false); err == nil || err.Error() != want {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// TestAllocations: a line costs none.
func TestAllocations(t *testing.T) {
	text, err := Parse("%REQ(a)% %REQ(zz)% %BYTES% %META%", false, find)
	if err != nil {
		t.Fatal(err)
	}
	o, err := ParseJSON(structOf(t, `{"a":"%REQ(a)%","b":["%REQ(bad)%","%BYTES% %REQ(u)%"]}`), true, find)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		buf = o.Append(values, text.Append(values, buf[:0]))
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse: no format makes the parser or the line panic, and JSON lines stay one line.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"%REQ(a):3%", `%COALESCE({"operators":["BYTES"]})%`, "%%%", "%START"} {
		f.Add(s, "v\"\xff")
	}
	f.Fuzz(func(t *testing.T, format, value string) {
		x := map[string]string{"a": value}
		if p, err := Parse(format, false, find); err == nil {
			p.Append(x, nil)
		}
		s := &structpb.Struct{Fields: map[string]*structpb.Value{
			"k": structpb.NewStringValue(format), value: structpb.NewStringValue(value)}}
		if o, err := ParseJSON(s, true, find); err == nil {
			if line := string(o.Append(x, nil)); strings.Count(line, "\n") != 1 {
				t.Errorf("%q", line)
			}
		}
		if p, err := ParseTime(format, false); err == nil {
			p.Append(time.Unix(0, 1), nil)
		}
	})
}

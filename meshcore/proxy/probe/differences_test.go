package probe

// Why our proxy answers otherwise.
const (
	oneLineEnd = "Lines end in CRLF: readers that disagree on that see different messages " +
		"(RFC 9112, 2.2 and 11.2)."
	oneHost = "Two hosts are two routes for two readers; RFC 9112 (3.2) demands 400."
	chunks  = "A chunk that does not end where its size says is broken framing (RFC 9112, 7.1)."
	upgrade = "What an upstream that ignores `Upgrade` answers reaches the client; Envoy cuts the body off."
)

// differences are the cases in which our proxy deliberately does something else than Envoy, with the
// reason. What it does instead is in testdata/ours.golden.
var differences = []struct{ name, reason string }{
	{"request/bare LF everywhere", oneLineEnd},
	{"request/bare LF after one field", oneLineEnd},
	{"request/bare LF at the end", oneLineEnd},
	{"request/bare CR in a value", oneLineEnd},
	{"request/bare CR in the request line", oneLineEnd},
	{"target/two Hosts", oneHost},
	{"target/two Hosts, the same", oneHost},
	{"body/chunk data with LF only", chunks},
	{"body/chunk data not followed by CRLF", chunks},
	{"body/chunk data not followed by CRLF, later", chunks},
	{"response/101 unasked", "Nobody asked to switch protocols (RFC 9110, 15.2.2)."},
	{"response/with bare LF everywhere", oneLineEnd},
	{"response/with one bare LF", oneLineEnd},
	{"response/with bare CR", oneLineEnd},
	{"response/status 1000", "A status has three digits (RFC 9112, 4)."},
	{"connection/websocket refused", upgrade},
	{"connection/websocket with a body", upgrade},
}

func reasonFor(name string) string {
	for _, d := range differences {
		if d.name == name {
			return d.reason
		}
	}
	return ""
}

func differing() (names []string) {
	for _, d := range differences {
		names = append(names, d.name)
	}
	return names
}

// Package probe asks a proxy what it does with raw bytes. Each case says what a client puts on
// the wire and what an upstream answers, both byte for byte, and notes what either of them sees:
// status, fields in order, body, whether a message ended or was cut, what became of the connection,
// how many attempts there were.
//
//	client (raw socket) ─▶ proxy: an outbound listener as istiod makes it ─▶ upstream (raw socket)
//
// The golden files hold what the real Envoy shows; the tests make them, with Envoy present, from
// the very protos that our proxy is given. Our proxy must show the same, save for the differences
// that are listed with a reason; docs/fidelity.md prints that list.
package probe

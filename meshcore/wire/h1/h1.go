// Package h1 is the HTTP/1.1 codec: a strict parser of heads in place, body framing, and both
// sides of a connection as a wire.Stream. It answers as Envoy's codec does
// (source/common/http/http1), or stricter: a bare CR, a bare LF, a second Host, a folded framing
// field are malformed here. It never forwards what it did not understand, and a message that was
// cut never ends cleanly.
//
//	reader: [ head (fields point into it) | body ... | next message ]   one pooled buffer, 16 KiB
//	         └── a larger body moves on to a 64 KiB buffer; an idle connection holds none
//	writer: [ head + small body ] one write; larger pieces by writev
//
// Allocation: none on a connection in use.
package h1

import (
	"errors"
	"sync"
)

// Error is a message that breaks the protocol.
type Error struct {
	Status  int    // what a request is answered with
	Details string // response_code_details, in Envoy's words
	Reason  string
}

// Error returns the reason.
func (e *Error) Error() string { return "h1: " + e.Reason }

// errOversent and errUndersent say that a body does not have the length that its head promised.
var (
	errOversent  = errors.New("h1: body is longer than content-length")
	errUndersent = errors.New("h1: body is shorter than content-length")
)

// Response code details of Envoy's codec (source/common/http/http1/codec_impl.cc).
const (
	codecError        = "http1.codec_error"
	tooManyHeaders    = "http1.too_many_headers"
	headersTooLarge   = "http1.headers_too_large"
	invalidCharacters = "http1.invalid_characters"
	connectionHeader  = "http1.connection_header_rejected"
	bodyDisallowed    = "http1.body_disallowed"
	lengthNotAllowed  = "http1.content_length_not_allowed"
	invalidEncoding   = "http1.invalid_transfer_encoding"
	encodingForbidden = "http1.transfer_encoding_not_allowed"
	invalidURL        = "http1.invalid_url"
	invalidAuthority  = "http.invalid_authority"
)

func bad(details, reason string) *Error { return &Error{400, details, reason} }

var (
	errBareLF     = bad(codecError, "line does not end in CRLF")
	errFirstLine  = bad(codecError, "malformed first line")
	errMethod     = bad(codecError, "unknown method")
	errVersion    = bad(codecError, "malformed version")
	errURL        = bad(codecError, "malformed request target")
	errTarget     = bad(invalidURL, "malformed request target")
	errName       = bad(codecError, "malformed field name")
	errValue      = bad(invalidCharacters, "field value contains invalid characters")
	errFold       = bad(codecError, "misplaced continuation line")
	errTwoHosts   = bad(codecError, "more than one host")
	errHost       = bad(invalidAuthority, "invalid host")
	errLength     = bad(codecError, "invalid content-length")
	errBothLength = bad(lengthNotAllowed, "both content-length and transfer-encoding")
	errConnBody   = bad(bodyDisallowed, "content-length with CONNECT")
	errConnection = bad(connectionHeader, "connection names a field that it must not")
	errChunk      = bad(codecError, "malformed chunk")
	errTrailer    = bad(codecError, "malformed trailers")
	errStatus     = bad(codecError, "malformed status line")
	errNoContent  = bad(lengthNotAllowed, "content-length not allowed in 1xx or 204")
	errNoContentT = bad(encodingForbidden, "transfer-encoding not allowed in 1xx or 204")
	errSwitch     = bad(codecError, "101 without a request to upgrade")
	errEncoding   = &Error{501, invalidEncoding, "unsupported transfer encoding"}
	errTooLarge   = &Error{431, headersTooLarge, "headers size exceeds limit"}
	errTooMany    = &Error{431, tooManyHeaders, "headers count exceeds limit"}
)

// Limits bound a head.
type Limits struct {
	HeadBytes int // from the first byte to the empty line
	Fields    int
}

// RequestLimits are Envoy's defaults for requests, ResponseLimits those for responses
// (max_request_headers_kb 60, MAX_RESPONSE_HEADERS_KB 80, max_headers_count 100).
var (
	RequestLimits  = Limits{HeadBytes: 60 << 10, Fields: 100}
	ResponseLimits = Limits{HeadBytes: 80 << 10, Fields: 100}
)

// Sizes of the pooled buffers.
const (
	smallSize = 16 << 10
	largeSize = 64 << 10
)

var (
	small = sync.Pool{New: func() any { return new([smallSize]byte) }}
	large = sync.Pool{New: func() any { return new([largeSize]byte) }}
)

func getSmall() []byte { return small.Get().(*[smallSize]byte)[:] }
func getLarge() []byte { return large.Get().(*[largeSize]byte)[:] }

// put gives a buffer back; one of another size (grown for a large head) is left to the collector.
func put(b []byte) {
	switch cap(b) {
	case smallSize:
		small.Put((*[smallSize]byte)(b[:smallSize]))
	case largeSize:
		large.Put((*[largeSize]byte)(b[:largeSize]))
	}
}

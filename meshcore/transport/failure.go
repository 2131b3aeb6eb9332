package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
)

// Failure is why a handshake failed.
type Failure struct {
	// Reason is Envoy's transport failure reason, with blanks; empty when the peer just closed.
	Reason string
	// Version is the protocol version as far as it was agreed on, Local what we would have shown,
	// Peer the client's certificate, nil unless it has shown one.
	Version     string
	Group       string
	Local, Peer *Certificate
	err         error
}

// Error returns the reason, else what Go says.
func (f *Failure) Error() string {
	if f.Reason != "" {
		return f.Reason
	}
	return f.err.Error()
}

// Unwrap returns what Go says.
func (f *Failure) Unwrap() error { return f.err }

// NotReady is the reason while a secret has not come (source/common/tls/ssl_socket.cc
// NotReadySslSocket).
const NotReady = "TLS error: Secret is not supplied by SDS"

// Codes of BoringSSL's errors: the library in the upper byte (ssl.h, err.h).
const (
	libSSL       = 16 << 24
	libSystem    = 2 << 24
	alertReasons = 1000 // and the alert's number
)

// sslReason words an error of BoringSSL as Envoy does (ssl_socket.cc drainErrorQueue).
func sslReason(code int, name, detail string) string {
	if detail != "" {
		name += ":" + detail
	}
	return fmt.Sprintf("TLS_error:|%d:SSL routines:OPENSSL_internal:%s:TLS_error_end",
		libSSL+code, name)
}

// verifyFailed is a certificate that is not accepted.
func verifyFailed(detail string) string {
	return sslReason(125, "CERTIFICATE_VERIFY_FAILED", detail)
}

// alertNames are BoringSSL's names of alerts (ssl.h SSL_R_*_ALERT_*).
var alertNames = map[uint64]string{
	0: "SSLV3_ALERT_CLOSE_NOTIFY", 10: "SSLV3_ALERT_UNEXPECTED_MESSAGE",
	20: "SSLV3_ALERT_BAD_RECORD_MAC", 21: "TLSV1_ALERT_DECRYPTION_FAILED",
	22: "TLSV1_ALERT_RECORD_OVERFLOW", 30: "SSLV3_ALERT_DECOMPRESSION_FAILURE",
	40: "SSLV3_ALERT_HANDSHAKE_FAILURE", 41: "SSLV3_ALERT_NO_CERTIFICATE",
	42: "SSLV3_ALERT_BAD_CERTIFICATE", 43: "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
	44: "SSLV3_ALERT_CERTIFICATE_REVOKED", 45: "SSLV3_ALERT_CERTIFICATE_EXPIRED",
	46: "SSLV3_ALERT_CERTIFICATE_UNKNOWN", 47: "SSLV3_ALERT_ILLEGAL_PARAMETER",
	48: "TLSV1_ALERT_UNKNOWN_CA", 49: "TLSV1_ALERT_ACCESS_DENIED",
	50: "TLSV1_ALERT_DECODE_ERROR", 51: "TLSV1_ALERT_DECRYPT_ERROR",
	60: "TLSV1_ALERT_EXPORT_RESTRICTION", 70: "TLSV1_ALERT_PROTOCOL_VERSION",
	71: "TLSV1_ALERT_INSUFFICIENT_SECURITY", 80: "TLSV1_ALERT_INTERNAL_ERROR",
	86: "TLSV1_ALERT_INAPPROPRIATE_FALLBACK", 90: "TLSV1_ALERT_USER_CANCELLED",
	100: "TLSV1_ALERT_NO_RENEGOTIATION", 110: "TLSV1_ALERT_UNSUPPORTED_EXTENSION",
	111: "TLSV1_ALERT_CERTIFICATE_UNOBTAINABLE", 112: "TLSV1_ALERT_UNRECOGNIZED_NAME",
	113: "TLSV1_ALERT_BAD_CERTIFICATE_STATUS_RESPONSE",
	114: "TLSV1_ALERT_BAD_CERTIFICATE_HASH_VALUE", 115: "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY",
	116: "TLSV1_ALERT_CERTIFICATE_REQUIRED", 120: "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
	121: "TLSV1_ALERT_ECH_REQUIRED",
}

// ours are the errors of crypto/tls by how they begin, with BoringSSL's number and name for them.
var ours = []struct {
	text, name string
	code       int
}{
	{"tls: client offered only unsupported versions", "UNSUPPORTED_PROTOCOL", 240},
	{"tls: server selected unsupported protocol version", "UNSUPPORTED_PROTOCOL", 240},
	{"tls: no cipher suite supported by both", "NO_SHARED_CIPHER", 184},
	{"tls: server chose an unconfigured cipher suite", "WRONG_CIPHER_RETURNED", 249},
	{"tls: server selected unadvertised ALPN protocol", "INVALID_ALPN_PROTOCOL", 248},
	{"tls: peer doesn't support any of the certificate's signature",
		"NO_COMMON_SIGNATURE_ALGORITHMS", 253},
	{"tls: no ECDHE curve supported by both", "NO_SHARED_GROUP", 266},
	{"tls: unmarshal of", "CLIENTHELLO_PARSE_FAILED", 131},
	{"tls: error decoding message", "CLIENTHELLO_PARSE_FAILED", 131},
	{"tls: oversized record", "ENCRYPTED_LENGTH_TOO_LONG", 144},
	{"tls: unsupported SSLv2", "UNSUPPORTED_PROTOCOL", 240},
	{"tls: received unexpected handshake message", "UNEXPECTED_MESSAGE", 225},
	{"tls: unexpected message", "UNEXPECTED_MESSAGE", 225},
	{"tls: bad record MAC", "DECRYPTION_FAILED_OR_BAD_RECORD_MAC", 130},
	{"tls: invalid signature", "BAD_SIGNATURE", 108},
}

// reasonOf words what crypto/tls says as Envoy would. server says on which side we are.
func reasonOf(err error, server bool) string {
	var no syscall.Errno
	var head tls.RecordHeaderError
	var op *net.OpError
	text := strings.TrimPrefix(err.Error(), "local error: ")
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		return ""
	case errors.As(err, &head):
		return firstRecord(head.RecordHeader[:], server)
	case errors.As(err, &op) && op.Op == "remote error":
		return alertReason(op.Err)
	case errors.As(err, &no):
		text := no.Error()
		return fmt.Sprintf("TLS_error:|%d:system library:OPENSSL_internal:%s:TLS_error_end",
			libSystem+int(no), strings.ToUpper(text[:1])+text[1:])
	case strings.HasPrefix(text, "tls: client didn't provide a certificate"):
		return sslReason(192, "PEER_DID_NOT_RETURN_A_CERTIFICATE",
			"peer did not provide required client certificate")
	}
	for _, o := range ours {
		if strings.HasPrefix(text, o.text) {
			return sslReason(o.code, o.name, "")
		}
	}
	return "TLS_error:|" + text + ":TLS_error_end"
}

// alertReason words an alert of the peer. crypto/tls has a type of its own for them, a number.
func alertReason(alert error) string {
	v := reflect.ValueOf(alert)
	if v.Kind() != reflect.Uint8 {
		return ""
	}
	name := alertNames[v.Uint()]
	if name == "" {
		name = fmt.Sprintf("UNKNOWN_ALERT_TYPE_%d", v.Uint())
	}
	return sslReason(alertReasons+int(v.Uint()), name, "")
}

// firstRecord is what bytes give that are no TLS (BoringSSL ssl/tls_record.cc, ssl/ssl_buffer.cc).
func firstRecord(b []byte, server bool) string {
	if server {
		for _, method := range []string{"GET ", "POST ", "HEAD ", "PUT "} {
			if strings.HasPrefix(string(b), method) {
				return sslReason(156, "HTTP_REQUEST", "")
			}
		}
		if strings.HasPrefix(string(b), "CONNE") {
			return sslReason(157, "HTTPS_PROXY_REQUEST", "")
		}
	}
	return wrongVersion
}

// wrongVersion is what bytes give that are nothing known; BoringSSL answers them with an alert,
// protocol_version, where crypto/tls says nothing.
var wrongVersion = sslReason(247, "WRONG_VERSION_NUMBER", "")

const versionAlert = "\x15\x03\x01\x00\x02\x02\x46"

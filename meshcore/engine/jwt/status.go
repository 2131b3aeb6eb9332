package jwt

// Status is what came of looking at a token or a key set; its number and its text are Envoy's
// (source/common/jwt/status.h, status.cc; measured with 1.40).
type Status uint8

// The statuses of tokens.
const (
	OK                   Status = 0
	Missing              Status = 1
	NotYetValid          Status = 2
	Expired              Status = 3
	BadFormat            Status = 4
	HeaderBadBase64      Status = 5
	HeaderBadJSON        Status = 6
	HeaderBadAlg         Status = 7
	HeaderNotImplemented Status = 8
	HeaderBadKid         Status = 9
	PayloadBadBase64     Status = 10
	PayloadBadJSON       Status = 11
	IssNotString         Status = 12
	SubNotString         Status = 13
	IatNotInteger        Status = 14
	IatOutOfRange        Status = 15
	NbfNotInteger        Status = 16
	NbfOutOfRange        Status = 17
	ExpNotInteger        Status = 18
	ExpOutOfRange        Status = 19
	JtiNotString         Status = 20
	AudNotString         Status = 21
	SignatureBadBase64   Status = 22
	Ed25519WrongLength   Status = 23
	UnknownIssuer        Status = 24
	AudienceNotAllowed   Status = 25
	VerificationFails    Status = 26
	KeysNotParsed        Status = 28
	KeysMissing          Status = 29
	KeysNotArray         Status = 30
	NoValidKeys          Status = 31
	KidAlgMismatch       Status = 32
	rsaParse             Status = 33
	ecParse              Status = 36
	octBadBase64         Status = 37
	okpBadBase64         Status = 38
	okpWrongLength       Status = 39
	ktyMissing           Status = 41
	ktyBad               Status = 42
	ktyNotImplemented    Status = 43
	rsaBadAlg            Status = 44
	rsaNoN               Status = 45
	rsaNoE               Status = 47
	ecBadAlg             Status = 49
	ecUnsupported        Status = 51
	ecIncompatible       Status = 52
	ecNoX                Status = 53
	ecNoY                Status = 55
	hmacBadAlg           Status = 57
	hmacNoK              Status = 58
	okpBadAlg            Status = 60
	okpNoCrv             Status = 61
	okpCrvUnsupported    Status = 63
	okpNoX               Status = 64
	x509NotParsed        Status = 67
	x509NoPublicKey      Status = 68
)

var statusTexts = map[Status]string{
	OK: "OK", Missing: "Jwt is missing", NotYetValid: "Jwt not yet valid",
	Expired: "Jwt is expired", BadFormat: "Jwt is not in the form of " +
		"Header.Payload.Signature with two dots and 3 sections",
	HeaderBadBase64:      "Jwt header is an invalid Base64url encoded",
	HeaderBadJSON:        "Jwt header is an invalid JSON",
	HeaderBadAlg:         "Jwt header [alg] field is required and must be a string",
	HeaderNotImplemented: "Jwt header [alg] is not supported",
	HeaderBadKid:         "Jwt header [kid] field is not a string",
	PayloadBadBase64:     "Jwt payload is an invalid Base64url encoded",
	PayloadBadJSON:       "Jwt payload is an invalid JSON",
	IssNotString:         "Jwt payload [iss] field is not a string",
	SubNotString:         "Jwt payload [sub] field is not a string",
	IatNotInteger:        "Jwt payload [iat] field is not an integer",
	IatOutOfRange:        "Jwt payload [iat] field is not a positive 64 bit integer",
	NbfNotInteger:        "Jwt payload [nbf] field is not an integer",
	NbfOutOfRange:        "Jwt payload [nbf] field is not a positive 64 bit integer",
	ExpNotInteger:        "Jwt payload [exp] field is not an integer",
	ExpOutOfRange:        "Jwt payload [exp] field is not a positive 64 bit integer",
	JtiNotString:         "Jwt payload [jti] field is not a string",
	AudNotString:         "Jwt payload [aud] field is not a string or string list",
	SignatureBadBase64:   "Jwt signature is an invalid Base64url encoded",
	Ed25519WrongLength:   "Jwt ED25519 signature is wrong length",
	UnknownIssuer:        "Jwt issuer is not configured",
	AudienceNotAllowed:   "Audiences in Jwt are not allowed",
	VerificationFails:    "Jwt verification fails",

	KeysNotParsed:     "Jwks is an invalid JSON",
	KeysMissing:       "Jwks does not have [keys] field",
	KeysNotArray:      "[keys] in Jwks is not an array",
	NoValidKeys:       "Jwks doesn't have any valid public key",
	KidAlgMismatch:    "Jwks doesn't have key to match kid or alg from Jwt",
	rsaParse:          "Jwks RSA [n] or [e] field is missing or has a parse error",
	ecParse:           "Jwks EC [x] and [y] fields have a parse error.",
	octBadBase64:      "Jwks Oct key is an invalid Base64",
	okpBadBase64:      "Jwks OKP [x] field is an invalid Base64.",
	okpWrongLength:    "Jwks OKP [x] field is wrong length.",
	ktyMissing:        "[kty] is missing in [keys]",
	ktyBad:            "[kty] is bad in [keys]",
	ktyNotImplemented: "[kty] is not supported in [keys]",
	rsaBadAlg:         "[alg] is not started with [RS] or [PS] for an RSA key",
	rsaNoN:            "[n] field is missing for a RSA key",
	rsaNoE:            "[e] field is missing for a RSA key",
	ecBadAlg:          "[alg] is not started with [ES] for an EC key",
	ecUnsupported:     "[crv] or [alg] field is not supported for an EC key",
	ecIncompatible:    "[crv] field specified is not compatible with [alg] for an EC key",
	ecNoX:             "[x] field is missing for an EC key",
	ecNoY:             "[y] field is missing for an EC key",
	hmacBadAlg:        "[alg] does not start with [HS] for an HMAC key",
	hmacNoK:           "[k] field is missing for an HMAC key",
	okpBadAlg:         "[alg] is not [EdDSA] for an OKP key",
	okpNoCrv:          "[crv] field is missing for an OKP key",
	okpCrvUnsupported: "[crv] field is not supported for an OKP key",
	okpNoX:            "[x] field is missing for an OKP key",
	x509NotParsed:     "X509 parse pubkey fails",
	x509NoPublicKey:   "X509 parse pubkey internal fails: get pubkey",
}

// String is the text that Envoy answers with.
func (s Status) String() string { return statusTexts[s] }

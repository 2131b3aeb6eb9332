package bookinfo

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
)

// cookieName is the session's cookie: "USER.SIGNATURE", both base64url.
const cookieName = "session"

// sessionKey signs sessions. It is the same in every pod, so that a session outlives a pod and is
// good in all replicas; the original's is in its source, too. It protects nothing but the lesson:
// that the page believes its own cookie, and no header.
var sessionKey = []byte("mesh-lab bookinfo session")

// signature is of a name as it stands in the cookie.
func signature(name string) []byte {
	mac := hmac.New(sha256.New, sessionKey)
	mac.Write([]byte(name))
	return mac.Sum(nil)
}

// text64 has one spelling for each text: a cookie that was changed is another cookie.
var text64 = base64.RawURLEncoding.Strict()

// logIn returns the cookie of a user's session.
func logIn(user string) *http.Cookie {
	name := text64.EncodeToString([]byte(user))
	return &http.Cookie{
		Name: cookieName, Value: name + "." + text64.EncodeToString(signature(name)),
		Path: "/", HttpOnly: true,
	}
}

// logOut returns the cookie that ends a session.
func logOut() *http.Cookie {
	return &http.Cookie{Name: cookieName, Path: "/", HttpOnly: true, MaxAge: -1}
}

// userOf returns the session's user; empty without a session, and with one that is forged.
func userOf(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	name, signed, _ := strings.Cut(c.Value, ".")
	mac, err := text64.DecodeString(signed)
	if err != nil || !hmac.Equal(mac, signature(name)) {
		return ""
	}
	user, err := text64.DecodeString(name)
	if err != nil {
		return ""
	}
	return string(user)
}

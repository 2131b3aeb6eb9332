// Package apps is how tests call the handlers of sample apps.
package apps

import (
	"net/http"
	"net/http/httptest"
)

// Vars makes an app's variables of names and values in turn.
func Vars(kv ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

// Ask sends a request without a body, with headers of names and values in turn.
func Ask(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	return Send(h, httptest.NewRequest(method, path, nil), header...)
}

// Send sends a request with further headers.
func Send(h http.Handler, r *http.Request, header ...string) *httptest.ResponseRecorder {
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

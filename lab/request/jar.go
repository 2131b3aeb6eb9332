package request

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

// Jars are cookie jars by name, for who logs in once and sends many requests.
type Jars map[string]http.CookieJar

// Named returns the jar of a name, which is made when it is first asked for; without a name, none.
func (j Jars) Named(name string) http.CookieJar {
	if name == "" {
		return nil
	}
	if j[name] == nil {
		j[name], _ = cookiejar.New(nil) // it has no error to give without options
	}
	return j[name]
}

// Cookies returns the Cookie header for a site; empty when the jar, which may be nil, has none.
func Cookies(jar http.CookieJar, site *url.URL) string {
	if jar == nil {
		return ""
	}
	var all []string
	for _, k := range jar.Cookies(site) {
		all = append(all, k.Name+"="+k.Value)
	}
	return strings.Join(all, "; ")
}

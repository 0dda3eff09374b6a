package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/ipallow/ipallow/clientip"
)

// AuthzPath is where a proxy asks whether it may pass a request on: nginx by
// auth_request, Traefik by ForwardAuth, Caddy by forward_auth, HAProxy by Lua. It
// sends the client's header, with the original method and path in headers of its
// own.
//
// Only a trusted proxy, as Options.Source names them, is answered. To everybody
// else there is nothing here (404), and what they send is not read.
//
//	204  pass it on, with the headers X-Ipallow-Key-Id, X-Ipallow-Client (empty
//	     where the client's address is not known) and X-Request-Id
//	401  as the gateway would answer; X-Ipallow-Body has the body once more, for
//	403  proxies that take headers of the answer only
//	405  CONNECT and TRACE
//	503
//
// The proxy has to set these itself, whatever the client sent:
//
//	X-Forwarded-Method or X-Original-Method   the method
//	X-Forwarded-Uri, X-Original-Uri or X-Original-Url   the path, for the usage log
//	the header that Options.Source reads      the client's address
//
// A method that is missing, repeated, no token, or not the same in both headers fails
// closed: the key needs the scope write. The path is in the log only.
const AuthzPath = reserved + "/authz"

// unknown is recorded where the proxy did not say, or said different things.
const unknown = "(unknown)"

func (g *Gateway) authz(x *exchange, r *http.Request, client clientip.Result) {
	x.front = ForwardAuth
	forwarded, original := r.Header["X-Forwarded-Method"], r.Header["X-Original-Method"]
	method, ok := agreed(forwarded, original)
	x.record.Method = method
	if !ok || !httpguts.ValidHeaderFieldName(method) {
		method, x.record.Method = "", unknown
		if slices.Contains(forwarded, http.MethodConnect) || slices.Contains(original, http.MethodConnect) {
			method = http.MethodConnect // whichever of them is the proxy's word
		}
	}
	x.record.Path = unknown
	if uri, ok := agreed(r.Header["X-Forwarded-Uri"], r.Header["X-Original-Uri"], r.Header["X-Original-Url"]); ok {
		x.record.Path = OriginalPath(uri)
	}
	d := g.Admit(Call{Header: httpHeader(r.Header), Method: method, Client: client, Time: x.record.Time})
	x.note(&d)
	h := x.Header()
	if d.Refusal != nil {
		h["X-Ipallow-Body"] = []string{d.Refusal.Body}
		d.Refusal.write(x)
		return
	}
	h["X-Ipallow-Key-Id"] = []string{d.Key.ID}
	// Always there: Caddy would pass on the text of its placeholder for what is not.
	h["X-Ipallow-Client"] = []string{""}
	if client.OK() {
		h["X-Ipallow-Client"] = []string{client.Addr.String()}
	}
	h["Cache-Control"] = noStore
	x.WriteHeader(http.StatusNoContent)
}

// agreed returns the one value of several headers, each there once at most.
func agreed(headers ...[]string) (value string, ok bool) {
	for _, lines := range headers {
		switch {
		case len(lines) == 0:
			continue
		case len(lines) > 1 || lines[0] == "" || ok && lines[0] != value:
			return "", false
		}
		value, ok = lines[0], true
	}
	return value, ok
}

// OriginalPath returns what is recorded of a request target that a proxy hands
// over: a path with or without a query, or a whole URL.
func OriginalPath(uri string) string {
	if !strings.HasPrefix(uri, "/") {
		if u, err := url.Parse(uri); err == nil && u.Host != "" {
			return LogPath(u)
		}
		return LogPath(&url.URL{Path: uri})
	}
	if u, err := url.ParseRequestURI(uri); err == nil {
		return LogPath(u)
	}
	return LogPath(&url.URL{Path: uri})
}

//go:build unix

package proxies

import "strings"

// An outcome is what must become of an attempt. A proxy may also refuse to take it
// (4xx or 501 of its own); then it has become nothing.
type outcome int

const (
	unauthenticated outcome = iota // 401
	scope                          // 403, INSUFFICIENT_SCOPE
	address                        // 403, IP_NOT_ALLOWED
	served                         // and the API is told the truth
	honest                         // refused or served, but then the API is told the truth
)

// An attempt is what a client sends in order to be taken for another client, for
// another key, or for a request that its key permits.
//
// In the texts FULL and READER are tokens, ID is the identifier of the first, CLAIM
// an address on the list, PROXY that of the proxy, and PATH the path by which the
// attempt is known.
type attempt struct {
	reason string
	want   outcome
	from   string
	method string
	lines  string // header lines, sent as they stand; each ends with CRLF
	raw    string // the whole request, in place of the usual one
}

func (a attempt) text(words *strings.Replacer) string {
	text := a.raw
	if text == "" {
		text = a.method + " PATH HTTP/1.1\r\nHost: api.example\r\n" + a.lines + "Connection: close\r\n\r\n"
	}
	return words.Replace(text)
}

const (
	full   = "Authorization: Bearer FULL\r\n"
	reader = "X-API-Key: READER\r\n"
	inner  = "GET PATH/smuggled HTTP/1.1\r\nHost: api.example\r\nX-Forwarded-For: CLAIM\r\nX-Forwarded-Method: GET\r\nAuthorization: Bearer FULL\r\n\r\n"
)

var attempts = []attempt{
	// Another address, with a key that leaked.
	{"no claim", address, outside, "GET", full, ""},
	{"X-Forwarded-For", address, outside, "GET", full + "X-Forwarded-For: CLAIM\r\n", ""},
	{"X-Forwarded-For with the proxy behind the claim", address, outside, "GET", full + "X-Forwarded-For: CLAIM, PROXY\r\n", ""},
	{"X-Forwarded-For in two lines", address, outside, "GET", full + "X-Forwarded-For: CLAIM\r\nX-Forwarded-For: PROXY\r\n", ""},
	{"X-Forwarded-For that ends in a comma", address, outside, "GET", full + "X-Forwarded-For: CLAIM,\r\n", ""},
	{"X_Forwarded_For", address, outside, "GET", full + "X_Forwarded_For: CLAIM\r\n", ""},
	{"other headers of addresses", address, outside, "GET", full + "X-Real-IP: CLAIM\r\nForwarded: for=CLAIM\r\nTrue-Client-IP: CLAIM\r\nX-Client-IP: CLAIM\r\nCF-Connecting-IP: CLAIM\r\n", ""},
	{"Connection has the proxy drop X-Forwarded-For", address, outside, "GET", full + "Connection: X-Forwarded-For\r\nX-Forwarded-For: CLAIM\r\n", ""},
	{"Connection has it drop its own", address, outside, "GET", full + "Connection: X-Forwarded-For, X-Original-Method, X-Forwarded-Method\r\n", ""},
	{"the gateway's words on the client", address, outside, "GET", full + "X-Ipallow-Client: CLAIM\r\nX-Ipallow-Key-Id: ID\r\n", ""},
	{"trailers", address, outside, "", "", "POST PATH HTTP/1.1\r\nHost: api.example\r\n" + full + "Transfer-Encoding: chunked\r\nTrailer: X-Forwarded-For\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\nX-Forwarded-For: CLAIM\r\n\r\n"},
	{"a target in absolute form", address, outside, "", "", "GET http://CLAIMPATH HTTP/1.1\r\nHost: api.example\r\n" + full + "X-Forwarded-For: CLAIM\r\nConnection: close\r\n\r\n"},
	{"HTTP/1.0 without a host", address, outside, "", "", "GET PATH HTTP/1.0\r\n" + full + "X-Forwarded-For: CLAIM\r\n\r\n"},

	// Another method, with a key that may only read.
	{"POST", scope, inside, "POST", reader, ""},
	{"X-Forwarded-Method", scope, inside, "POST", reader + "X-Forwarded-Method: GET\r\n", ""},
	{"X-Original-Method", scope, inside, "POST", reader + "X-Original-Method: GET\r\n", ""},
	{"both", scope, inside, "POST", reader + "X-Original-Method: GET\r\nX-Forwarded-Method: GET\r\n", ""},
	{"both, twice", scope, inside, "DELETE", reader + "X-Original-Method: GET\r\nX-Original-Method: GET\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Method: GET\r\n", ""},
	{"with underscores", scope, inside, "POST", reader + "X_Original_Method: GET\r\nX_Forwarded_Method: GET\r\n", ""},
	{"Connection has the proxy drop its own", scope, inside, "POST", reader + "Connection: X-Original-Method, X-Forwarded-Method\r\nX-Original-Method: GET\r\nX-Forwarded-Method: GET\r\n", ""},
	{"an empty claim", scope, inside, "POST", reader + "X-Original-Method:\r\nX-Forwarded-Method:\r\n", ""},
	{"a method in lower case", scope, inside, "get", reader, ""},
	{"a method of its own", scope, inside, "GETX", reader, ""},
	{"X-HTTP-Method-Override turns POST into GET", scope, inside, "POST", reader + "X-HTTP-Method-Override: GET\r\n", ""},
	{"X-HTTP-Method-Override turns GET into DELETE", scope, inside, "GET", reader + "X-HTTP-Method-Override: DELETE\r\n", ""},
	{"X-Method-Override turns GET into DELETE", scope, inside, "GET", reader + "X-Method-Override: DELETE\r\n", ""},
	{"an override with dots", honest, inside, "GET", reader + "X.HTTP.Method.Override: DELETE\r\nX+Method+Override: DELETE\r\n", ""},
	{"an override with underscores", honest, inside, "GET", reader + "X_HTTP_METHOD_OVERRIDE: DELETE\r\nX-HTTP_Method_Override: DELETE\r\n", ""},

	// Another key, or none.
	{"no key", unauthenticated, inside, "GET", "", ""},
	{"the gateway's words on the key", unauthenticated, inside, "GET", "X-Ipallow-Key-Id: ID\r\nX-Ipallow-Client: CLAIM\r\n", ""},
	{"only the identifier", unauthenticated, inside, "GET", "Authorization: Bearer ipk_ID\r\n", ""},
	{"a key in a look-alike", unauthenticated, inside, "GET", "X_API_Key: FULL\r\nHTTP_AUTHORIZATION: Bearer FULL\r\n", ""},
	{"a key for the proxy", unauthenticated, inside, "GET", "Proxy-Authorization: Bearer FULL\r\n", ""},
	{"two keys", unauthenticated, inside, "GET", full + reader, ""},
	{"a key in two lines", unauthenticated, inside, "GET", full + full, ""},
	{"two keys in two lines", unauthenticated, inside, "GET", full + "Authorization: Bearer READER\r\n", ""},
	{"an API key in two lines", unauthenticated, inside, "GET", reader + reader, ""},
	{"another scheme beside a key", unauthenticated, inside, "GET", "Authorization: Basic dXNlcjpw\r\n" + reader, ""},
	{"Connection names the key", honest, inside, "GET", full + "Connection: Authorization\r\n", ""},

	// What the API is told of a request that is served.
	{"nothing else", served, inside, "GET", full, ""},
	{"another key", served, inside, "GET", full + "X-Ipallow-Key-Id: forged\r\nx-ipallow-key-id: forged\r\n", ""},
	{"another key with underscores", served, inside, "GET", full + "X_Ipallow_Key_Id: forged\r\nX-Ipallow_Key-Id: forged\r\nX_IPALLOW_KEY-ID: forged\r\n", ""},
	{"another key with other characters", served, inside, "GET", full + "X.Ipallow.Key.Id: forged\r\nX~Ipallow-Key+Id: forged\r\nX'IPALLOW!KEY|ID: forged\r\n", ""},
	{"another host and address with dots", served, inside, "GET", full + "X.Forwarded.For: forged\r\nX.Real.IP: forged\r\nX.Forwarded.Host: forged\r\n", ""},
	{"another client", served, inside, "GET", full + "X-Ipallow-Client: forged\r\nX_Ipallow_Client: forged\r\n", ""},
	{"another address", served, inside, "POST", full + "X-Forwarded-For: forged\r\nContent-Length: 0\r\n", ""},
	{"another request", served, inside, "GET", full + "X-Request-Id: forged\r\n", ""},
	{"another host and protocol", served, inside, "GET", full + "X-Forwarded-Host: forged\r\nX-Forwarded-Proto: https\r\n", ""},
	{"another host and protocol with underscores", served, inside, "GET", full + "X_Forwarded_Host: forged\r\nX_Forwarded_Proto: https\r\n", ""},
	{"another port and path before the API's", served, inside, "GET", full + "X-Forwarded-Port: 666\r\nX-Forwarded-Prefix: /forged\r\n", ""},
	{"other headers of addresses", served, inside, "GET", full + "Forwarded: for=forged\r\nX-Real-IP: forged\r\n", ""},
	{"another method, to the owner's harm", served, inside, "GET", reader + "X-Forwarded-Method: POST\r\nX-Original-Method: POST\r\n", ""},
	{"another path in the log", served, inside, "GET", reader + "X-Forwarded-Uri: /forged\r\nX-Original-URI: /forged\r\nX-Original-URL: /forged\r\n", ""},
	{"another path in the log, once", served, inside, "GET", reader + "X-Original-URL: /forged\r\n", ""},
	{"Connection has the proxy drop its words", served, inside, "GET", full + "Connection: X-Ipallow-Key-Id, X-Ipallow-Client, X-Request-Id, X-Forwarded-For\r\n", ""},
	{"the key is not passed on", served, inside, "GET", full + "X-API-Key: FULL\r\n", ""},
	{"a tunnel of HTTP/2", served, inside, "GET", full + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", ""},
	{"a tunnel beside a WebSocket", served, inside, "GET", full + "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n", ""},
	{"a WebSocket beside a tunnel", served, inside, "GET", full + "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", ""},
	{"a tunnel of another protocol", served, inside, "GET", full + "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n", ""},
	{"HEAD", served, inside, "HEAD", reader, ""},

	// Requests within requests, and the reserved path.
	{"two lengths", address, outside, "", "", "POST PATH HTTP/1.1\r\nHost: api.example\r\n" + full + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n" + inner},
	{"two lengths in numbers", address, outside, "", "", "POST PATH HTTP/1.1\r\nHost: api.example\r\n" + full + "Content-Length: 4\r\nContent-Length: 400\r\nConnection: close\r\n\r\n0\r\n\r\n" + inner},
	{"a masked coding", address, outside, "", "", "POST PATH HTTP/1.1\r\nHost: api.example\r\n" + full + "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\nConnection: close\r\n\r\n0\r\n\r\n" + inner},
	{"a request in a body", address, outside, "", "", "POST PATH HTTP/1.1\r\nHost: api.example\r\n" + full + "Content-Length: 300\r\nConnection: close\r\n\r\n" + inner + strings.Repeat(" ", 300)},
	{"a request in a body that is served", served, inside, "", "", "POST PATH HTTP/1.1\r\nHost: api.example\r\n" + full + "Content-Length: 120\r\nConnection: close\r\n\r\n" + inner},
	{"an upgrade to HTTP/2", address, outside, "GET", full + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", ""},
	{"a folded line", address, outside, "GET", full + "X-A: b\r\n X-Forwarded-For: CLAIM\r\n", ""},
	{"a bare LF", address, outside, "GET", full + "X-A: b\nX-Forwarded-For: CLAIM\r\n", ""},
}

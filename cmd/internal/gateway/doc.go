// Package gateway stands in front of an API: it authenticates each request by
// its API key, asks for the key's scope, enforces the key's allowlist, and only
// then passes the request on.
//
//	gate, err := gateway.New(gateway.Options{Ring: ring, Engine: engine, Source: source, Log: log, Upstream: upstream})
//	if err != nil {
//		return err
//	}
//	err = http.Serve(listener, gate)
//
// # Order
//
//	503 NOT_READY           the gateway does not know the keys or lists yet
//	401 UNAUTHENTICATED     no key, or more than one
//	503 NOT_READY           what is known of keys is too old (Options.Usable)
//	401 UNAUTHENTICATED     a key that is not valid
//	403 INSUFFICIENT_SCOPE  GET, HEAD and OPTIONS need read, other methods write
//	403 IP_NOT_ALLOWED      the answer of package httpallow, byte for byte
//	405 METHOD_NOT_ALLOWED  CONNECT and TRACE
//
// A key that is malformed, unknown, revoked or has a wrong secret gets the same
// answer. A refused request changes nothing but the usage log: the mark of the
// key's last use is set behind the allowlist.
//
// A request with X-HTTP-Method-Override, X-HTTP-Method or X-Method-Override, with any
// characters in the place of the hyphens, needs both scopes, since many frameworks
// behind the gateway would carry it out as another method.
//
// # What does not pass
//
// Headers that the upstream would take for the gateway's word are removed: every name
// with a character other than letters, digits and hyphens, and those in the table of
// package claims. So are trailers, the key, and the session cookie of the settings
// page.
//
// # Credentials
//
// A key comes as "Authorization: Bearer TOKEN" or "X-API-Key: TOKEN". The same
// token may come as both. Two tokens that differ, a repeated header line, and an
// Authorization of another scheme are refused, with or without the other header.
//
// # Front ends
//
// [Gateway.ServeHTTP] answers requests itself or by the proxy, and under
// [AuthzPath] the questions of a proxy that forwards requests past the gateway
// (see the file authz.go). Package extauthz answers Envoy. All of them decide by
// [Gateway.Admit] and record by [Gateway.Record].
//
// # Usage log
//
// Each request that the HTTP server hands on is recorded when it has been
// answered: an event stream or a WebSocket when it ends. What the server refuses
// before there is a request (malformed, header too large) is not. The fields:
//
//	KeyID     empty where no key was recognised
//	Status    the status sent; 0 where the client left before there was one;
//	          204 for a request that forward auth let through, whose own status
//	          the gateway does not see
//	Verdict   the engine's answer, also where the scope refused; Denied where no
//	          key was recognised, and with status 503 where what is known is too
//	          old; an upstream's 503 has Allowed or Unrestricted
//	Path      without the query, and without a key's secret; see LogPath
//
// So "refused because of its address" is Status 403 with Verdict Denied, and a
// Verdict Denied with another status but 503 was served in report-only mode. A request
// that lacks the scope and also comes from a foreign address counts as both.
//
// # Concurrency and cost
//
// A [Gateway] may be used from any number of goroutines. A request to the
// built-in ping costs the gateway two allocations (BenchmarkPing).
package gateway

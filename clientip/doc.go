// Package clientip finds the address that an HTTP request comes from, and
// never takes it from something the client can write.
//
// Without configuration the client is the TCP peer and no header is read:
//
//	res := clientip.FromPeer(r.RemoteAddr)
//
// Behind proxies, name them and choose the one header they write:
//
//	src, err := clientip.New(&clientip.Options{
//		Mode: clientip.XForwardedFor,
//		TrustedProxies: []netip.Prefix{
//			netip.MustParsePrefix("10.20.0.0/24"), // the load balancer
//		},
//	})
//	if err != nil {
//		return err // every fault of the options, not only the first
//	}
//	res := src.FromRequest(r)
//	if !res.OK() {
//		log.Printf("no client address: %v", res.Reason)
//	}
//	verdict := engine.Check(key, res.Addr) // the zero Addr is denied
//
// [Source.From], [Source.FromValues] and [Source.FromAddrPort] do the same for
// callers that have no *http.Request: gRPC, fasthttp, other HTTP frameworks,
// forward-auth endpoints.
//
// # Trust rules
//
// The walk starts at the TCP peer and goes towards the client.
//
//   - A peer that is not a trusted proxy is itself the client. No header is
//     read, so a server that is reachable directly as well as through its
//     proxy cannot be lied to.
//   - A peer without an address (a unix socket) is trusted only with
//     [Options.TrustUnixPeer], and otherwise there is no address.
//   - From a trusted peer the elements of X-Forwarded-For, or of Forwarded
//     (RFC 7239), are taken from the right, over all field lines in order.
//     The first readable address that is not a trusted proxy is the client.
//     Nothing to the left of it is interpreted.
//   - A single-value header (X-Real-IP, CF-Connecting-IP) must be there
//     exactly once, with one address that is not a trusted proxy.
//   - With [Options.TrustedHops] the answer is found by counting instead of
//     comparing.
//   - There is no address, and [Result.Reason] says why, when the header is
//     missing, when an element at or to the right of the answer is unreadable
//     or hides the address, when every element is a trusted proxy, and when
//     the header has more than [MaxElements] elements or [MaxHeaderBytes]
//     bytes. There is no fallback to another header or to the peer.
//
// What a client sends arrives to the left of what the trusted proxies append.
// It can exceed the two bounds, and then that request has no address. It
// cannot do anything else: it cannot change which address is found.
//
// This holds if the trusted proxies append (or, for a single-value header,
// replace) what they are said to, and write well-formed elements. A proxy
// that passes a header on untouched, or copies a client's text into a quoted
// string without escaping the quotation marks, gives its trust away.
//
// # Reading an element
//
// Spaces and tabs around an element are dropped. An empty element is an
// element, and unreadable: skipping it, as RFC 9110, section 5.6.1.2 lets a
// list's reader do, would make a proxy that had nothing to write vouch for the
// text to its left.
//
// IPv4 is four decimal numbers without leading zeros, IPv6 is the text of RFC
// 4291, section 2.2. A port, from 0 to 65535 in one to five digits, may
// follow IPv4 and bracketed IPv6. IPv4-mapped IPv6 addresses become IPv4
// before anything is compared. A zone on an IPv6 address is ignored, on the
// peer and in elements alike; it is whatever the system calls an interface,
// "Ethernet 2" too.
//
// Forwarded is read by the grammar of RFC 7239, sections 4 and 6: quoted
// strings with escapes, IPv6 in brackets and quotes, parameter names in any
// case, exactly one "for" an element. Spaces and tabs beside a semicolon are
// tolerated, which the grammar does not provide for but proxies write. An
// obfuscated identifier (_name) and "unknown" are no address.
//
// Elements of Forwarded are separated from the right: outside a quoted string
// a comma ends the element, and a quotation mark is the end of a quoted
// string, whose beginning is the next mark to the left that an even number of
// backslashes (or none) precedes. For well-formed text that is the same as
// reading from the left. For a client's unbalanced quotation mark it is not:
// read from the left, the mark would swallow the element that a proxy
// appended to the same line; read from the right, it is never reached.
//
// # Concurrency
//
// A [Source] is immutable after [New]. All its methods may be called from any
// number of goroutines at once. They keep no reference to their arguments and
// change nothing in them.
//
// # Cost
//
// Finding an address allocates nothing, except that a value of Forwarded with
// backslashes in its "for" is copied. An unreadable address costs one
// allocation. Time grows with the bytes of the chosen header, at most
// [MaxHeaderBytes], and with the logarithm of the number of trusted prefixes
// for each element walked; a peer alone costs tens of nanoseconds.
package clientip

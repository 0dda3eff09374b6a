package gateway

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ipallow/ipallow/cmd/internal/canon"
	"golang.org/x/net/http/httpguts"
)

const forwardedFor = "X-Forwarded-For"

// forwarded is what a trusted proxy says of the request that it received.
type forwarded struct{ host, proto, port, prefix string }

// forwardedBy reads the X-Forwarded headers of a request from a trusted proxy.
// Chain has the lines of X-Forwarded-For if the client's address was found there, and
// is empty otherwise: nobody but the client need have written them then.
// What is missing, or no single valid value, is empty.
func forwardedBy(h http.Header, chain []string, client netip.Addr) forwarded {
	f := forwarded{
		host:   single(h["X-Forwarded-Host"]),
		proto:  scheme(h["X-Forwarded-Proto"], chain, client),
		port:   single(h["X-Forwarded-Port"]),
		prefix: single(h["X-Forwarded-Prefix"]),
	}
	if !httpguts.ValidHostHeader(f.host) {
		f.host = ""
	}
	if n, err := strconv.ParseUint(f.port, 10, 16); err != nil || n == 0 {
		f.port = ""
	}
	if !strings.HasPrefix(f.prefix, "/") || strings.HasPrefix(f.prefix, "//") || hasDots(f.prefix) ||
		strings.ContainsFunc(f.prefix, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`?#\%`, r) }) {
		f.prefix = ""
	}
	return f
}

// scheme returns the scheme that the client used: "http" or "https", or "" if
// no trusted proxy names one. Schemes have no case (RFC 3986, section 3.1), and
// a WebSocket's is that of its handshake.
//
// Proxies that add to the list, as they do to X-Forwarded-For, add what they
// received. So the element that counts is as far from the end as the client's
// address is; all to its left was said by the client.
func scheme(values, addresses []string, client netip.Addr) string {
	list := elements(values)
	if len(list) == 0 {
		return ""
	}
	at := len(list) - 1
	if at > 0 {
		at = max(at-hops(elements(addresses), client), 0)
	}
	switch strings.ToLower(list[at]) {
	case "https", "wss":
		return "https"
	case "http", "ws":
		return "http"
	}
	return ""
}

// hops counts the addresses to the right of the client's: trusted proxies.
func hops(addresses []string, client netip.Addr) int {
	for n := range addresses {
		text := addresses[len(addresses)-1-n]
		addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
		if err != nil {
			withPort, _ := netip.ParseAddrPort(text)
			addr = withPort.Addr()
		}
		if canon.Addr(addr) == client {
			return n
		}
	}
	return 0
}

// elements splits the lines of a header that is a list.
func elements(values []string) (list []string) {
	for _, v := range values {
		for e := range strings.SplitSeq(v, ",") {
			if e = strings.Trim(e, " \t"); e != "" {
				list = append(list, e)
			}
		}
	}
	return list
}

// single returns the value of a header that is there exactly once and is no
// list.
func single(values []string) string {
	if len(values) == 1 && !strings.Contains(values[0], ",") {
		return values[0]
	}
	return ""
}

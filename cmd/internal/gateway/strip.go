package gateway

import (
	"net/http"
	"strings"
)

// ownPrefix begins the names of the headers by which the gateway speaks to what
// stands behind it.
const ownPrefix = "x-ipallow-"

// claims are headers that speak of the client, the key or the original request.
// A client's own would be believed by what stands behind the gateway, so none
// passes; the gateway sets those that it vouches for.
var claims = nameSet(`
	authorization proxy-authorization x-api-key x-request-id
	forwarded x-forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-scheme
	x-forwarded-port x-forwarded-server x-forwarded-prefix x-forwarded-by x-forwarded-ssl
	x-forwarded-user x-forwarded-email x-forwarded-client-cert x-forwarded-method x-forwarded-uri
	x-original-forwarded-for x-original-host x-original-method x-original-uri x-original-url
	x-rewrite-url x-url-scheme forwarded-for
	x-real-ip x-client-ip client-ip true-client-ip x-true-client-ip x-originating-ip
	x-remote-ip x-remote-addr remote-addr x-cluster-client-ip x-envoy-external-address
	cf-connecting-ip cf-connecting-ipv6 cf-pseudo-ipv4 fastly-client-ip fly-client-ip
	x-azure-clientip x-azure-socketip x-appengine-user-ip x-nf-client-connection-ip`)

const longestClaim = 32

func nameSet(names string) map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Fields(names) {
		set[name] = true
	}
	return set
}

// isClaim reports whether a header must not pass. Names are compared as CGI and
// its heirs would: X_Real_IP and X-Real-IP are the same variable there.
func isClaim(name string) bool {
	var buf [longestClaim]byte
	n := 0
	for n < len(name) && n < len(buf) {
		buf[n] = foldByte(name[n])
		n++
	}
	folded := buf[:n]
	if n >= len(ownPrefix) && string(folded[:len(ownPrefix)]) == ownPrefix {
		return true
	}
	return n == len(name) && claims[string(folded)]
}

// strip removes every claim.
func strip(h http.Header) {
	for name := range h {
		if isClaim(name) {
			delete(h, name)
		}
	}
}

// IsOwn reports whether a header is the gateway's to read or to set: a
// credential, or one that begins with X-Ipallow-, in any spelling.
func IsOwn(name string) bool {
	return sameName(name, "authorization") || sameName(name, "x-api-key") ||
		len(name) >= len(ownPrefix) && sameName(name[:len(ownPrefix)], ownPrefix)
}

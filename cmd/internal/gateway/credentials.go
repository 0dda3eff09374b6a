package gateway

import (
	"net/http"
	"strings"

	"github.com/ipallow/ipallow/cmd/internal/claims"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// A Header is the header of a request, in whatever form a front end has it.
type Header interface {
	// Values returns the field lines of the header with this canonical name.
	Values(name string) []string
	// Any reports whether match is true for a name of the header. Names come in
	// the case in which the front end has them.
	Any(match func(name string) bool) bool
}

type httpHeader http.Header

func (h httpHeader) Values(name string) []string { return h[name] }

func (h httpHeader) Any(match func(string) bool) bool {
	for name := range h {
		if match(name) {
			return true
		}
	}
	return false
}

// token returns the one token in the header, or what to answer where there is
// none.
func token(h Header) (string, *Answer) {
	auth, key := h.Values("Authorization"), h.Values("X-Api-Key")
	switch {
	case len(auth) == 0 && len(key) == 0:
		return "", missingKey
	case len(auth) > 1 || len(key) > 1:
		return "", ambiguousKey
	case len(auth) == 0:
		return key[0], nil
	}
	bearer, ok := bearerToken(auth[0])
	switch {
	case !ok:
		return "", invalidKey
	case len(key) == 1 && key[0] != bearer:
		return "", ambiguousKey
	}
	return bearer, nil
}

// bearerToken returns what follows the scheme, which has no case (RFC 9110,
// section 11.1), and at least one space (RFC 6750, section 2.1).
func bearerToken(value string) (string, bool) {
	scheme, rest, found := strings.Cut(value, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimLeft(rest, " "), true
}

// overridesMethod reports whether the header would make a framework behind the
// gateway carry the request out as another method, in the spellings that a careless
// one reads (a proxy that asks by forward auth may pass them on).
func overridesMethod(name string) bool {
	// The lengths first: this is asked of every name.
	switch len(name) {
	case len("X-HTTP-Method"), len("X-Method-Override"), len("X-HTTP-Method-Override"):
	default:
		return false
	}
	return claims.Same(name, "x-http-method") || claims.Same(name, "x-method-override") ||
		claims.Same(name, "x-http-method-override")
}

// authenticate returns the key that the header's token belongs to, or the answer
// to a request without a valid one.
func (g *Gateway) authenticate(h Header) (*keyring.Key, *Answer) {
	text, refusal := token(h)
	if refusal != nil {
		return nil, refusal
	}
	if k := g.ring.Authenticate(text); k != nil {
		return k, nil
	}
	return nil, invalidKey
}

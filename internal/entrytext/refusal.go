package entrytext

import (
	"net/netip"
	"unicode/utf8"

	"github.com/ipallow/ipallow/internal/canon"
)

// A Kind is what is wrong with a text or a prefix, in the order in which it is looked for.
type Kind uint8

// The kinds of refusals.
const (
	Syntax Kind = iota
	Zone
	HostBits
)

// A Refusal says why a text or a prefix is not an entry. It knows of no policy: what it suggests
// may be refused in its turn.
type Refusal struct {
	Kind     Kind
	Reason   string
	Networks []netip.Prefix // canonical: what was probably meant; none where nothing is evident
	Either   bool           // one of Networks was meant; otherwise all of them together
}

func badSyntax(reason string, networks ...netip.Prefix) *Refusal {
	return &Refusal{Reason: reason, Networks: networks}
}

const fourForms = "write an IPv4 address (203.0.113.5), an IPv4 network (203.0.113.0/24), " +
	"an IPv6 address (2001:db8::1) or an IPv6 network (2001:db8::/48)"

// maxExplained is the length of the longest text that is searched for several entries, and
// MaxMeant how many networks are looked for in one text, so that what a text costs has a bound.
const (
	maxExplained = 4096
	MaxMeant     = 4096
)

// explainSyntax says why s is none of the four forms.
func explainSyntax(s string) *Refusal {
	switch {
	case s == "":
		return badSyntax("it is empty; " + fourForms)
	case len(s) > maxExplained:
		return badSyntax("it is too long to be an address or network")
	case !utf8.ValidString(s):
		return badSyntax("it is not text in UTF-8; " + fourForms)
	case len(s) > maxText:
		for _, try := range []func(string) *Refusal{tryLines, trySeparated, trySpaced} {
			if r := try(s); r != nil && len(r.Networks) > 0 {
				return r
			}
		}
		return badSyntax("it is too long to be an address or network")
	}
	for _, try := range []func(string) *Refusal{
		tryMask, tryLines, tryComment, trySeparated, tryRange, tryQuotes, trySpaced, tryURL, tryBrackets,
		trySpace, tryKind, tryWildcard, tryZone, tryPort, tryNumbers, tryLength,
	} {
		if r := try(s); r != nil {
			return r
		}
	}
	if hasNameLetter(s) {
		return badSyntax("it looks like a host name, and names are not looked up; write the addresses it stands for")
	}
	return badSyntax("it is not an address or network; " + fourForms)
}

// within is the refusal of a text s of which only inside was meant. What is not shorter is not
// read, so that no text is explained by itself.
func within(reason, s, inside string) *Refusal {
	r := badSyntax(reason)
	if len(inside) >= len(s) {
		return r
	}
	p, inner := Parse(inside)
	if inner == nil {
		r.Networks = []netip.Prefix{p}
	} else {
		r.Networks, r.Either = inner.Networks, inner.Either
	}
	return r
}

// network is the refusal of a text that stands for the network of n bits around addr.
func network(reason, addr string, n int) *Refusal {
	r := badSyntax(reason)
	a, err := netip.ParseAddr(addr)
	if p, ok := canon.Prefix(netip.PrefixFrom(a, n)); ok && err == nil {
		r.Networks = []netip.Prefix{p}
	}
	return r
}

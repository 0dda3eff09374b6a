package clientip

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/ipallow/ipallow/internal/canon"
)

// A Mode says where a client's address is read. The zero Mode is Peer.
type Mode uint8

const (
	// Peer takes the TCP peer's address. No header is read.
	Peer Mode = iota
	// XForwardedFor walks X-Forwarded-For, to which each proxy appends the
	// address it was called from.
	XForwardedFor
	// Forwarded walks the standard header Forwarded (RFC 7239), to which each
	// proxy appends an element such as for="[2001:db8::1]";proto=https.
	Forwarded
	// SingleHeader reads the one address in Options.Header, which the proxy
	// sets, replacing what the client sent under that name.
	SingleHeader
)

// String returns the mode's name in the published case table: "peer",
// "x_forwarded_for", "forwarded" or "single_header".
func (m Mode) String() string {
	switch m {
	case Peer:
		return "peer"
	case XForwardedFor:
		return "x_forwarded_for"
	case Forwarded:
		return "forwarded"
	case SingleHeader:
		return "single_header"
	}
	return "invalid"
}

// Options say whom a [Source] trusts. The zero Options trust nobody: the
// client is the TCP peer.
type Options struct {
	// Mode chooses the header. Default: Peer, none. Choose a header that
	// every trusted proxy writes; one that they pass on untouched is the
	// client's own text.
	Mode Mode

	// Header names the header of SingleHeader, in any case: "X-Real-IP",
	// "CF-Connecting-IP". It must be empty in the other modes. Do not choose
	// one that holds an address and a port, unless IPv6 stands in brackets in
	// it: 2001:db8::1:443 is an address of its own.
	//
	// X-Forwarded-For and Forwarded are refused, for they are lists. So is a
	// name with an underscore, which some servers cannot tell from the same
	// name with a hyphen.
	Header string

	// TrustedProxies are the networks of the proxies, the peers and all that
	// stand between them and the clients. Whoever can open a connection from
	// one of these addresses can choose its client address, so name the
	// proxies and not the network that they share with others. The published
	// networks of a CDN are given here as data; fetch them from the CDN.
	//
	// IPv4-mapped prefixes are taken as IPv4, and IPv4 addresses are compared
	// with IPv4 prefixes only. Host bits must be zero. All of IPv4 or all of
	// IPv6, in one prefix or in several, is refused.
	TrustedProxies []netip.Prefix

	// TrustedHops, if not zero, finds the answer in X-Forwarded-For or
	// Forwarded by counting, for proxies whose addresses are not known. It is
	// the number of proxies that every request passes, the TCP peer included,
	// and the answer is the element of that number from the right: with 1 the
	// rightmost, with 2 the one before it. The elements passed over are not
	// compared with TrustedProxies, but each must be a readable address. At
	// most MaxElements.
	//
	// A request that passed fewer proxies than this can name any address it
	// likes, and one that passed more appears under a proxy's address. The
	// peer must be in TrustedProxies; see TrustAnyPeer.
	TrustedHops int

	// TrustAnyPeer takes every TCP peer as the first of TrustedHops, and
	// stands in the place of TrustedProxies. Set it only where nothing but
	// the proxies can reach the server: any peer can then choose its client
	// address. A single-value header and a chain that is compared with
	// TrustedProxies cannot be read from any peer.
	TrustAnyPeer bool

	// TrustUnixPeer trusts a peer without an address, on a unix socket or
	// with an empty RemoteAddr, as the last proxy. The socket's permissions
	// then say who can choose a client address.
	TrustUnixPeer bool
}

// An OptionsError reports every fault of an [Options].
type OptionsError struct {
	Faults []*OptionFault // at least one
}

// Error returns all faults, one after the other.
func (e *OptionsError) Error() string {
	var b strings.Builder
	b.WriteString("clientip: invalid options: ")
	for i, f := range e.Faults {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f.text())
	}
	return b.String()
}

// Unwrap returns the faults, each an *OptionFault.
func (e *OptionsError) Unwrap() []error {
	errs := make([]error, len(e.Faults))
	for i, f := range e.Faults {
		errs[i] = f
	}
	return errs
}

// An OptionFault is one fault of an [Options].
type OptionFault struct {
	Field  string // the field's name, such as "TrustedProxies"
	Index  int    // the position in TrustedProxies; -1 where there is none
	Input  string // the faulty value as text
	Reason string // what is wrong and what to do
}

// Error returns the field, the quoted value and the reason.
func (f *OptionFault) Error() string { return "clientip: " + f.text() }

func (f *OptionFault) text() string {
	if f.Index >= 0 {
		return fmt.Sprintf("%s[%d] %q: %s", f.Field, f.Index, f.Input, f.Reason)
	}
	return fmt.Sprintf("%s %q: %s", f.Field, f.Input, f.Reason)
}

// validator collects faults.
type validator struct{ faults []*OptionFault }

func (v *validator) add(field string, input any, reason string) {
	v.faults = append(v.faults, &OptionFault{field, -1, fmt.Sprint(input), reason})
}

// New returns a Source that works by the options; nil is the zero Options.
// The options are copied and may be changed afterwards. The error is an
// [*OptionsError] with every fault.
func New(opts *Options) (*Source, error) {
	if opts == nil {
		return new(Source), nil
	}
	var v validator
	proxies := v.proxies(opts.TrustedProxies)
	v.trust(opts)
	s := &Source{
		mode:     opts.Mode,
		header:   v.header(opts),
		trusted:  newRanges(proxies),
		hops:     opts.TrustedHops,
		anyPeer:  opts.TrustAnyPeer,
		unixPeer: opts.TrustUnixPeer,
	}
	if family := s.trusted.wholeFamily(); family != "" {
		v.add("TrustedProxies", family, "these networks together are all of "+family+
			", so that every client is trusted; name the proxies' own networks, or count with TrustedHops and TrustAnyPeer")
	}
	if v.faults != nil {
		return nil, &OptionsError{v.faults}
	}
	return s, nil
}

// header checks the mode and Header, and returns the canonical name to read.
func (v *validator) header(o *Options) string {
	if o.Mode != SingleHeader && o.Header != "" {
		v.add("Header", o.Header, "only the mode SingleHeader reads a header by name; leave it empty or change the mode")
	}
	switch o.Mode {
	case Peer:
		return ""
	case XForwardedFor:
		return "X-Forwarded-For"
	case Forwarded:
		return "Forwarded"
	case SingleHeader:
		return v.singleHeader(o.Header)
	}
	v.add("Mode", uint8(o.Mode), "no such mode; use Peer, XForwardedFor, Forwarded or SingleHeader")
	return ""
}

func (v *validator) singleHeader(name string) string {
	canonical := http.CanonicalHeaderKey(name)
	switch token, rest := cutToken(name); {
	case name == "":
		v.add("Header", name, `name the header to read, such as "X-Real-IP"`)
	case rest != "" || token == "":
		v.add("Header", name, "not a header name (RFC 9110, section 5.1); use letters, digits and hyphens")
	case strings.Contains(name, "_"):
		v.add("Header", name, "a name with an underscore looks like one with a hyphen to some servers; use hyphens here and in the proxy")
	case canonical == "X-Forwarded-For" || canonical == "Forwarded":
		v.add("Header", name, "this header is a list; use the mode made for it, XForwardedFor or Forwarded")
	case canonical == "Host":
		v.add("Header", name, "the client writes this header; name the one that the proxy sets")
	}
	return canonical
}

// proxies returns the canonical forms of the faultless prefixes.
func (v *validator) proxies(list []netip.Prefix) []netip.Prefix {
	good := make([]netip.Prefix, 0, len(list))
	for i, p := range list {
		canonical, reason := canonicalProxy(p)
		if reason != "" {
			v.faults = append(v.faults, &OptionFault{"TrustedProxies", i, p.String(), reason})
			continue
		}
		good = append(good, canonical)
	}
	return good
}

// canonicalProxy returns p as IPv4 if it is IPv4-mapped, or what is wrong
// with it.
func canonicalProxy(p netip.Prefix) (_ netip.Prefix, reason string) {
	if !p.IsValid() {
		return p, "not a valid prefix; make it with netip.ParsePrefix or netip.MustParsePrefix"
	}
	p, ok := canon.Unmap(p)
	if !ok {
		return p, "an IPv4-mapped prefix needs a length of /96 or longer; write it as IPv4"
	}
	if p.Bits() == 0 {
		return p, "every address would be a trusted proxy; name the proxies' own networks, or count with TrustedHops and TrustAnyPeer"
	}
	if m, _ := canon.Prefix(p); m != p {
		single := netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
		return p, fmt.Sprintf("host bits are set; write %v for the network or %v for the address", m, single)
	}
	return p, ""
}

// trust checks the fields that say who is trusted against the mode.
func (v *validator) trust(o *Options) {
	hops := o.TrustedHops != 0
	if o.TrustedHops < 0 || o.TrustedHops > MaxElements {
		v.add("TrustedHops", o.TrustedHops, fmt.Sprintf("a chain has at most %d elements; use 0 to compare with TrustedProxies, or 1 to %d to count", MaxElements, MaxElements))
	}
	if hops && o.Mode == SingleHeader {
		v.add("TrustedHops", o.TrustedHops, "a single-value header has nothing to count; use 0")
	}
	if o.Mode == Peer {
		const reason = "the mode Peer reads no header and trusts nobody; choose the mode of the header that the proxies write, or leave this unset"
		if len(o.TrustedProxies) > 0 {
			v.add("TrustedProxies", fmt.Sprintf("%d prefixes", len(o.TrustedProxies)), reason)
		}
		if hops {
			v.add("TrustedHops", o.TrustedHops, reason)
		}
		if o.TrustAnyPeer {
			v.add("TrustAnyPeer", true, reason)
		}
		if o.TrustUnixPeer {
			v.add("TrustUnixPeer", true, reason)
		}
		return
	}
	switch {
	case o.TrustAnyPeer && !hops:
		v.add("TrustAnyPeer", true, "this goes with TrustedHops only; set TrustedHops, or name the peers in TrustedProxies")
	case o.TrustAnyPeer && len(o.TrustedProxies) > 0:
		v.add("TrustAnyPeer", true, "TrustedProxies says which peers are trusted; unset one of the two")
	case !o.TrustAnyPeer && !o.TrustUnixPeer && len(o.TrustedProxies) == 0:
		v.add("TrustedProxies", "none", "nobody is trusted, so the header would never be read; name the proxies, set TrustUnixPeer, or count with TrustedHops and TrustAnyPeer")
	}
}

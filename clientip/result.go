package clientip

import "net/netip"

// A Result is a client's address, or the reason why there is none.
//
// The zero Result has no address, and its zero Addr is one that no allowlist
// contains.
type Result struct {
	// Addr is the client's address, in IPv4 form where it was IPv4-mapped and
	// without a zone. It is valid exactly when Reason is Found.
	Addr netip.Addr

	// Reason says how the search ended.
	Reason Reason
}

// OK reports whether there is an address.
func (r Result) OK() bool { return r.Reason == Found && r.Addr.IsValid() }

// String returns the address, or "none (reason)".
func (r Result) String() string {
	if r.OK() {
		return r.Addr.String()
	}
	return "none (" + r.Reason.String() + ")"
}

// A Reason says how the search for a client's address ended. The zero Reason
// is Unset: no search took place. All but Found mean that there is no address.
type Reason uint8

// The reasons. Their String forms are stable: logs, metrics and the published
// case table use them.
const (
	// Unset is the zero Reason: no search took place.
	Unset Reason = iota
	// Found means that there is an address.
	Found
	// PeerUnreadable means that the peer's address is not an IP address with
	// or without a port.
	PeerUnreadable
	// PeerWithoutAddress means that the peer is a unix socket, and that it is
	// not trusted or that no header is read.
	PeerWithoutAddress
	// HeaderMissing means that a trusted peer sent no header of the chosen
	// name.
	HeaderMissing
	// HeaderRepeated means that the single-value header was there more than
	// once.
	HeaderRepeated
	// HeaderTooLarge means that the values of the chosen header have more
	// than MaxHeaderBytes bytes together.
	HeaderTooLarge
	// TooManyElements means that the chain has more than MaxElements elements.
	TooManyElements
	// TooFewElements means that the chain is shorter than Options.TrustedHops.
	TooFewElements
	// ElementUnreadable means that an element at or to the right of the
	// answer is not an address.
	ElementUnreadable
	// ElementHidden means that an element at or to the right of the answer is
	// "unknown" or an obfuscated identifier (RFC 7239, sections 6.2 and 6.3).
	ElementHidden
	// AllTrusted means that every element is a trusted proxy.
	AllTrusted

	numReasons
)

var reasonNames = [numReasons]string{
	Unset:              "unset",
	Found:              "found",
	PeerUnreadable:     "peer_unreadable",
	PeerWithoutAddress: "peer_without_address",
	HeaderMissing:      "header_missing",
	HeaderRepeated:     "header_repeated",
	HeaderTooLarge:     "header_too_large",
	TooManyElements:    "too_many_elements",
	TooFewElements:     "too_few_elements",
	ElementUnreadable:  "element_unreadable",
	ElementHidden:      "element_hidden",
	AllTrusted:         "all_trusted",
}

// String returns the reason's stable name, such as "header_missing".
func (r Reason) String() string {
	if r < numReasons {
		return reasonNames[r]
	}
	return "invalid"
}

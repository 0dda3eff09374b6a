package clientip

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/ipallow/ipallow/internal/canon"
)

const (
	// MaxElements is the largest number of elements a chain may have: all
	// elements of all field lines, empty ones and those that the client sent
	// included.
	MaxElements = 32

	// MaxHeaderBytes is the largest number of bytes that the values of the
	// chosen header may have, all field lines together.
	MaxHeaderBytes = 8192
)

// A Source finds the client's address of a request. It is made by [New].
//
// The zero Source and the nil *Source are valid and take the TCP peer.
//
// A Source is immutable: its methods may be called from any number of
// goroutines at once.
type Source struct {
	// None of the fields is written after New.
	mode     Mode
	header   string // the canonical name; "" for Peer
	trusted  ranges
	hops     int
	anyPeer  bool
	unixPeer bool
}

// Header returns the canonical name of the header that s reads, or "" if it
// reads none.
func (s *Source) Header() string {
	if s == nil {
		return ""
	}
	return s.header
}

// FromRequest returns the address of the client that sent r.
//
// A request that came in through a unix socket, as [http.LocalAddrContextKey]
// tells, has a peer without an address whatever r.RemoteAddr says: a local
// process can bind its end of the connection to a file with the name
// "203.0.113.5:80".
//
// r.RemoteAddr must be as the server set it. A middleware that overwrites it
// from a header, as several named RealIP do, undoes what this package is for.
func (s *Source) FromRequest(r *http.Request) Result {
	remoteAddr := r.RemoteAddr
	if _, ok := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); ok {
		remoteAddr = ""
	}
	return s.From(remoteAddr, r.Header)
}

// From returns the client's address from the peer's, as [FromPeer] reads it,
// and the request's header. Only the canonical form of the name is looked up,
// as [http.Header.Values] does; use [Source.FromValues] where names are kept
// in another form.
func (s *Source) From(remoteAddr string, header http.Header) Result {
	res, trusted := s.fromPeer(remoteAddr)
	if !trusted {
		return res
	}
	return s.fromHeader(header[s.header])
}

// FromValues is From for callers that keep header fields in another way:
// values are those of the header named by [Source.Header], one for each field
// line, in the order in which they came. gRPC metadata, for one, has
// lower-case names:
//
//	res := src.FromValues(p.Addr.String(), md.Get(src.Header()))
//
// Values that were joined with commas into one are as good. Only fields of
// exactly that name belong in values; a look-alike (X_Forwarded_For) is the
// client's own text.
func (s *Source) FromValues(remoteAddr string, values []string) Result {
	res, trusted := s.fromPeer(remoteAddr)
	if !trusted {
		return res
	}
	return s.fromHeader(values)
}

// FromAddrPort is FromValues for servers that hold the peer as an address and
// header fields as bytes, as fasthttp does. The zero AddrPort is a peer without
// an address, on a unix socket. It allocates nothing and keeps no part of
// values, which may be used again when it has returned:
//
//	peer := ctx.RemoteAddr().(*net.TCPAddr).AddrPort()
//	res := src.FromAddrPort(peer, ctx.Request.Header.PeekAll(src.Header()))
func (s *Source) FromAddrPort(peer netip.AddrPort, values [][]byte) Result {
	res := Result{Reason: PeerWithoutAddress}
	if addr := peer.Addr(); addr.IsValid() {
		res = Result{Addr: canon.Addr(addr), Reason: Found}
	}
	if !s.trusts(res) {
		return res
	}
	var lines [MaxElements + 1]string // one more than fromHeader takes
	n := min(len(values), len(lines))
	for i, value := range values[:n] {
		lines[i] = textOf(value)
	}
	return s.fromHeader(lines[:n])
}

// fromPeer reports whether the peer is a trusted proxy, whose header counts,
// and if it is not returns the final result.
func (s *Source) fromPeer(remoteAddr string) (res Result, trusted bool) {
	res = FromPeer(remoteAddr)
	return res, s.trusts(res)
}

// trusts reports whether the peer is a trusted proxy, whose header counts.
func (s *Source) trusts(peer Result) bool {
	if s == nil || s.mode == Peer {
		return false
	}
	switch peer.Reason {
	case Found:
		return s.anyPeer || s.trusted.contains(peer.Addr)
	case PeerWithoutAddress:
		return s.unixPeer
	}
	return false
}

// fromHeader answers from the field lines of the chosen header, which came
// from a trusted peer.
func (s *Source) fromHeader(lines []string) Result {
	if len(lines) == 0 {
		return Result{Reason: HeaderMissing}
	}
	if s.mode == SingleHeader && len(lines) > 1 {
		return Result{Reason: HeaderRepeated}
	}
	if reason := s.checkBounds(lines); reason != Found {
		return Result{Reason: reason}
	}
	return s.walk(lines)
}

// checkBounds returns HeaderTooLarge, TooManyElements or Found. The number of
// field lines comes first, so that the cost is bounded too.
func (s *Source) checkBounds(lines []string) Reason {
	if len(lines) > MaxElements {
		return TooManyElements
	}
	size, elements := 0, len(lines)
	for _, line := range lines {
		if size += len(line); size > MaxHeaderBytes {
			return HeaderTooLarge
		}
		elements += strings.Count(line, ",")
	}
	switch {
	case s.mode == SingleHeader: // a comma makes it unreadable
		return Found
	case elements <= MaxElements:
		return Found
	case s.mode == Forwarded && countForwarded(lines) <= MaxElements:
		return Found // some of the commas are in quoted strings
	}
	return TooManyElements
}

func countForwarded(lines []string) int {
	n := 0
	for _, line := range lines {
		for more := true; more; n++ {
			_, line, more = lastForwarded(line)
		}
	}
	return n
}

// walk takes the elements from the right until one is the answer.
func (s *Source) walk(lines []string) Result {
	hop := 0
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			var addr netip.Addr
			var reason Reason
			addr, reason, rest, more = s.lastElement(rest)
			if reason != Found {
				return Result{Reason: reason}
			}
			if hop++; s.isAnswer(addr, hop) {
				return Result{Addr: addr, Reason: Found}
			}
		}
	}
	if s.hops > 0 {
		return Result{Reason: TooFewElements}
	}
	return Result{Reason: AllTrusted}
}

// isAnswer reports whether the element hop, counted from 1 at the right, is
// the client.
func (s *Source) isAnswer(addr netip.Addr, hop int) bool {
	if s.hops > 0 {
		return hop == s.hops
	}
	return !s.trusted.contains(addr)
}

// lastElement reads the rightmost element of a field line and returns what
// stands to the left of it. more is false when it was the only one.
func (s *Source) lastElement(line string) (addr netip.Addr, reason Reason, rest string, more bool) {
	switch s.mode {
	case SingleHeader:
		addr, reason = readListElement(line)
		return addr, reason, "", false
	case Forwarded:
		elem, rest, more := lastForwarded(line)
		addr, reason = readForwardedElement(elem)
		return addr, reason, rest, more
	}
	comma := strings.LastIndexByte(line, ',')
	addr, reason = readListElement(line[comma+1:])
	return addr, reason, line[:max(comma, 0)], comma >= 0
}

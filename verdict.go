package ipallow

import (
	"fmt"
	"net/netip"
)

// A Verdict is the engine's answer about one request. The zero value is
// [Denied].
type Verdict uint8

const (
	// Denied means that the request must be refused: the key has entries
	// and none matches, the key is empty or too long to have any, or the engine
	// waits for its first load.
	Denied Verdict = iota
	// Allowed means that an entry of the key's list matches.
	Allowed
	// Unrestricted means that the key has no allowlist.
	Unrestricted
)

// OK reports whether the request may be served. It is false for Denied and
// for values that are none of the three.
func (v Verdict) OK() bool {
	return v == Allowed || v == Unrestricted
}

// String returns "denied", "allowed" or "unrestricted".
func (v Verdict) String() string {
	switch v {
	case Denied:
		return "denied"
	case Allowed:
		return "allowed"
	case Unrestricted:
		return "unrestricted"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// MarshalText returns what String returns, so that a verdict reads the same
// in logs and in JSON.
func (v Verdict) MarshalText() ([]byte, error) {
	if v > Unrestricted {
		return nil, fmt.Errorf("ipallow: there is no verdict %d", uint8(v))
	}
	return []byte(v.String()), nil
}

// UnmarshalText reads what MarshalText writes. Anything else is an error and
// leaves Denied.
func (v *Verdict) UnmarshalText(text []byte) error {
	switch string(text) {
	case "denied":
		*v = Denied
	case "allowed":
		*v = Allowed
	case "unrestricted":
		*v = Unrestricted
	default:
		*v = Denied
		return fmt.Errorf("ipallow: %s is not a verdict; want denied, allowed or unrestricted", quote(string(text)))
	}
	return nil
}

// An Explanation is a verdict with its reason. The zero Explanation is that
// of an engine that denies everything: Index is 0 there, so look at Matched
// before Entry and Index.
type Explanation struct {
	// Verdict is what Check returns.
	Verdict Verdict
	// Matched says whether an entry matched; Entry and Index are set only
	// then.
	Matched bool
	// Entry is the most specific entry that matched, with its label. The label is a
	// part of the snapshot's memory: use strings.Clone for one that is kept for long.
	Entry Entry
	// Index is the place of Entry in the list that was set, from 0.
	Index int
	// Entries is how many entries the key's list has.
	Entries int
	// Addr is the client address in the form that was matched: IPv4 where it
	// was IPv4-mapped, without a zone. It is the zero Addr where there was
	// none.
	Addr netip.Addr
	// Loaded is false while the engine waits for its first load.
	Loaded bool
	// InvalidKey says that no list can belong to the key, which is empty or longer
	// than MaxKeyLen, and that it is denied for this.
	InvalidKey bool
	// Revision is that of the snapshot which gave the verdict.
	Revision uint64
}

// String returns the explanation in one sentence, which counts entries from 1.
func (x Explanation) String() string {
	switch {
	case !x.Loaded:
		return "denied: the allowlists have not been loaded yet"
	case x.InvalidKey:
		return fmt.Sprintf("denied: the key is empty or longer than %d bytes, so it can have no allowlist", MaxKeyLen)
	case x.Verdict == Unrestricted:
		return "unrestricted: the key has no allowlist"
	case x.Matched && x.Entry.Label != "":
		return fmt.Sprintf("%s: %s matches entry %d, %s (%q)", x.Verdict, x.Addr, x.Index+1, x.Entry, x.Entry.Label)
	case x.Matched:
		return fmt.Sprintf("%s: %s matches entry %d, %s", x.Verdict, x.Addr, x.Index+1, x.Entry)
	case !x.Addr.IsValid():
		return "denied: the request has no client address"
	}
	return fmt.Sprintf("denied: %s matches none of the %d entries", x.Addr, x.Entries)
}

package usagelog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/internal/canon"
)

// Limits of a record's text fields, in bytes of UTF-8. [Record.Normalize] cuts
// what is longer and ends it with [TruncationMark], which counts as part of
// the limit.
const (
	MaxRequestID = 128
	MaxKeyID     = 128
	MaxMethod    = 32
	MaxPath      = 1024
	MaxLabel     = 400 // what 100 characters have at most
	MaxList      = 128
)

// TruncationMark ends a text that was cut to its limit.
const TruncationMark = "…"

// A Record is one API request as the usage log keeps it. A normalised Record
// may be compared with ==.
type Record struct {
	// ID names the record for ever. The Writer assigns it and overwrites
	// whatever stands here; a Store recognises a repeated record by it.
	ID RecordID

	// Time is when the request arrived. The Writer puts the current time in
	// place of the zero Time.
	Time time.Time

	// RequestID is the server's name for the request, at most MaxRequestID
	// bytes. It may be empty.
	RequestID string

	// KeyID is the opaque identifier of the API key, never its secret, at
	// most MaxKeyID bytes. It is empty when no key was recognised.
	KeyID string

	// Method is the request method, at most MaxMethod bytes.
	Method string

	// Path is the path of the request, at most MaxPath bytes, without the
	// query string: Normalize cuts at the first '?' or '#', since a query
	// may carry secrets.
	Path string

	// Status is the response status, 100 to 999, or 0 when there was none.
	Status int

	// ClientAddr is the client address, or the zero Addr when it is unknown.
	ClientAddr netip.Addr

	// Verdict is the engine's answer. The zero Verdict is Denied.
	Verdict ipallow.Verdict

	// Entry is the allowlist entry that matched ClientAddr, or the zero Prefix where
	// none did: the key has no list, or its list refused the address.
	Entry netip.Prefix

	// Label is the label of Entry, at most MaxLabel bytes.
	Label string

	// List is the name of the shared list that has Entry, at most MaxList bytes. It is
	// empty where Entry is one of the key's own.
	List string

	// Duration is how long serving took. It is never negative.
	Duration time.Duration

	// More is how many further requests the record stands for, where a flood
	// was summed up rather than recorded one by one. It is nearly always 0.
	More uint32
}

// Requests returns how many requests the record stands for, at least 1.
func (r *Record) Requests() int64 { return int64(r.More) + 1 }

// maxTime is the last moment that fits 64 bits of nanoseconds since 1970.
var maxTime = time.Unix(0, math.MaxInt64).UTC()

// Normalize returns r in the form in which it is recorded. Normalising twice
// changes nothing more. It allocates only where it has to replace text.
//
//   - Time is in UTC, without a monotonic reading, and between 1970 and
//     2262-04-11; a time outside is moved to the nearer end.
//   - Path ends before its first '?' or '#'. In all texts, characters that
//     are not printable in the sense of [unicode.IsPrint] and bytes that are
//     not UTF-8 are made safe: percent-encoded in Path, replaced by U+FFFD in
//     the others. Texts over their limit are cut and marked.
//   - ClientAddr is without a zone, and IPv4-mapped IPv6 is IPv4.
//   - Entry is masked, and without one that contains ClientAddr there is no Entry,
//     Label and List.
//   - A Status outside 100 to 999 is 0, an unknown Verdict is Denied, and a
//     negative Duration is 0.
func (r Record) Normalize() Record {
	switch t := r.Time; {
	case t.Unix() < 0:
		r.Time = time.Unix(0, 0).UTC()
	case t.After(maxTime):
		r.Time = maxTime
	default:
		r.Time = t.Round(0).UTC()
	}
	r.RequestID = cleanText(r.RequestID, MaxRequestID)
	r.KeyID = cleanText(r.KeyID, MaxKeyID)
	r.Method = cleanText(r.Method, MaxMethod)
	r.Path = cleanPath(r.Path, MaxPath)
	if r.Status < 100 || r.Status > 999 {
		r.Status = 0
	}
	r.ClientAddr = canon.Addr(r.ClientAddr)
	if entry, ok := canon.Prefix(r.Entry); ok && entry.Contains(r.ClientAddr) {
		r.Entry, r.Label, r.List = entry, cleanText(r.Label, MaxLabel), cleanText(r.List, MaxList)
	} else {
		r.Entry, r.Label, r.List = netip.Prefix{}, "", ""
	}
	if r.Verdict > ipallow.Unrestricted {
		r.Verdict = ipallow.Denied
	}
	r.Duration = max(r.Duration, 0)
	return r
}

// A RecordID identifies a record: eight random bytes drawn when its Writer was
// opened, and then the record's number in that Writer, big-endian. The zero
// RecordID belongs to no record.
type RecordID [16]byte

func newRecordID(epoch, seq uint64) (id RecordID) {
	binary.BigEndian.PutUint64(id[:8], epoch)
	binary.BigEndian.PutUint64(id[8:], seq)
	return id
}

// IsZero reports whether id is the zero RecordID.
func (id RecordID) IsZero() bool { return id == RecordID{} }

// Compare orders IDs by their bytes: -1, 0 or +1.
func (id RecordID) Compare(other RecordID) int { return bytes.Compare(id[:], other[:]) }

// String returns id as 32 lower-case hexadecimal digits.
func (id RecordID) String() string { return hex.EncodeToString(id[:]) }

// ParseRecordID parses the form that String returns.
func ParseRecordID(s string) (RecordID, error) {
	var id RecordID
	if len(s) != 2*len(id) {
		return RecordID{}, fmt.Errorf("usagelog: record ID %.40q: want 32 hexadecimal digits", s)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return RecordID{}, fmt.Errorf("usagelog: record ID %.40q: want 32 hexadecimal digits", s)
	}
	return id, nil
}

// MarshalText returns what String returns.
func (id RecordID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText parses what MarshalText returns.
func (id *RecordID) UnmarshalText(text []byte) error {
	parsed, err := ParseRecordID(string(text))
	if err == nil {
		*id = parsed
	}
	return err
}

package usagelog

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/internal/canon"
)

var (
	// ErrRejected is wrapped by the error of a Store that will never take a
	// record of the batch, however often it is tried. The Writer then finds
	// the record, counts it as lost and stores the others.
	ErrRejected = errors.New("usagelog: record rejected by the store")

	// ErrUnavailable is wrapped by the error of a Store that can take nothing
	// now: it cannot be reached, or is full. The Writer keeps the records
	// and tries again, as after any error that does not wrap ErrRejected, but
	// does not look for a record at fault.
	ErrUnavailable = errors.New("usagelog: the store can take nothing now")

	// ErrQuery is wrapped by the error for a Query or Filter that asks for
	// something impossible; the text says which field to correct.
	ErrQuery = errors.New("usagelog: invalid query")
)

// A Store keeps records. The package storetest checks an implementation.
//
// All methods may be called from any number of goroutines at once.
type Store interface {
	// Append keeps the records, each once: a record whose ID is already kept,
	// also by an earlier element of the same batch, is left as it was first
	// stored. Order within and between batches means nothing.
	//
	// A nil error means that the whole batch is kept as durably as the Store
	// ever keeps anything; the Writer then forgets it. After an error any part
	// may have been kept, and the Writer tries again, with other records in
	// another order. An error that wraps ErrRejected says that at least one
	// record can never be kept, such as one with the zero ID. Every other error
	// means later.
	//
	// Records may come from several Writers, also the same ones at the same
	// time. A Store that deletes old records may be given one of them again,
	// when a Writer was killed; it must then leave it out, or delete it again.
	//
	// Time is kept to the microsecond at least, and what is finer may be cut or
	// rounded; it is between 1970 and 2262-04-11. Duration is kept whole.
	//
	// Append does not hold on to the slice. It may hold on to the strings.
	Append(ctx context.Context, records []Record) error

	// Query returns one page of records, newest first: by Time descending and
	// then by ID descending. Following Page.Next to the end visits every record
	// that was kept when the first page was read exactly once, whatever is
	// appended meanwhile.
	Query(ctx context.Context, q Query) (Page, error)

	// Stream returns the records that match f, in the order of Query, in
	// memory that does not grow with their number. It holds no lock while the
	// loop body runs, so the body may use the Store. After an error, which
	// comes with a zero Record, the sequence ends.
	Stream(ctx context.Context, f Filter) iter.Seq2[Record, error]
}

// A Filter chooses records. Every field that is not zero must match, so the
// zero Filter matches every record. Texts are compared with those that are
// recorded, which [Record.Normalize] has made safe and cut to their limits.
type Filter struct {
	KeyID       string           // exactly this key
	Method      string           // exactly this method
	Status      int              // exactly this status
	StatusClass int              // the first digit of the status: 4 for 400 to 499
	Verdict     *ipallow.Verdict // exactly this verdict; nil for any, as the zero Verdict means Denied
	Outcome     Outcome          // what became of the request
	ClientNet   netip.Prefix     // client addresses in this network; an address alone is a network of one
	RequestID   string           // exactly this request
	PathPrefix  string           // paths that begin with this text, in the same case
	From        time.Time        // this moment or later, to the microsecond
	To          time.Time        // before this moment, to the microsecond
}

// Validate returns nil, or an error that wraps ErrQuery.
func (f Filter) Validate() error {
	switch {
	case f.Status != 0 && (f.Status < 100 || f.Status > 999):
		return fmt.Errorf("%w: status %d: want 100 to 999, or 0 for any", ErrQuery, f.Status)
	case f.StatusClass < 0 || f.StatusClass > 9:
		return fmt.Errorf("%w: status class %d: want 1 to 9, or 0 for any", ErrQuery, f.StatusClass)
	case f.Verdict != nil && *f.Verdict > ipallow.Unrestricted:
		return fmt.Errorf("%w: unknown verdict %d", ErrQuery, *f.Verdict)
	case f.Outcome > Reported:
		return fmt.Errorf("%w: unknown outcome %d", ErrQuery, f.Outcome)
	case f.ClientNet != netip.Prefix{} && (!f.ClientNet.IsValid() || f.ClientNet.Addr().Is4In6()):
		return fmt.Errorf("%w: client network %v: want an IPv4 or IPv6 network, not a mapped one", ErrQuery, f.ClientNet)
	}
	return nil
}

// Match reports whether the filter chooses r.
func (f Filter) Match(r *Record) bool {
	return (f.KeyID == "" || f.KeyID == r.KeyID) &&
		(f.Method == "" || f.Method == r.Method) &&
		(f.Status == 0 || f.Status == r.Status) &&
		(f.StatusClass == 0 || f.StatusClass == r.Status/100) &&
		(f.Verdict == nil || *f.Verdict == r.Verdict) &&
		(f.Outcome == AnyOutcome || f.Outcome.matches(r.Status, r.Verdict, r.KeyID != "")) &&
		(!f.ClientNet.IsValid() || f.ClientNet.Contains(r.ClientAddr)) &&
		(f.RequestID == "" || f.RequestID == r.RequestID) &&
		(f.PathPrefix == "" || strings.HasPrefix(r.Path, f.PathPrefix)) &&
		(f.From.IsZero() || !r.Time.Before(f.From)) &&
		(f.To.IsZero() || r.Time.Before(f.To))
}

// ParseNetwork parses what a person gives as Filter.ClientNet: an address, or a
// network of which bits behind the prefix are ignored. IPv4-mapped IPv6 is IPv4, as
// in a Record; zones are refused.
func ParseNetwork(s string) (p netip.Prefix, ok bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, false
		}
		addr = canon.Addr(addr)
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	if _, ok = canon.Unmap(p); !ok {
		return netip.Prefix{}, false
	}
	return canon.Prefix(p)
}

// An Outcome is what an allowlist made of a request with a key. The zero Outcome
// stands for all requests.
type Outcome uint8

const (
	AnyOutcome Outcome = iota
	// Blocked requests were refused by the key's allowlist: answered with 403
	// after the verdict Denied.
	Blocked
	// Reported requests were served though the allowlist does not have their
	// address, since it is only reported: the verdict is Denied, and the status is
	// none of 401, 403 and 503, by which a gateway refuses.
	Reported
)

var outcomeNames = [...]string{"any", "blocked", "reported"}

// String returns "any", "blocked" or "reported".
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

// matches reports whether a request had the outcome, which is not AnyOutcome.
func (o Outcome) matches(status int, verdict ipallow.Verdict, key bool) bool {
	if !key || verdict != ipallow.Denied {
		return false
	}
	if o == Blocked {
		return status == 403
	}
	return status != 401 && status != 403 && status != 503
}

// Page sizes of a Query.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// A Query asks for one page of the records that match Filter.
type Query struct {
	Filter
	Limit  int    // records a page: 0 means DefaultLimit, more than MaxLimit means MaxLimit
	Cursor string // Page.Next of the page before; empty for the first page
}

// Plan validates the query and returns the number of records asked for and the
// position behind which they begin, or nil to begin at the newest. It is for
// implementing Store. Errors wrap ErrQuery.
func (q Query) Plan() (limit int, after *Position, err error) {
	if err := q.Validate(); err != nil {
		return 0, nil, err
	}
	switch {
	case q.Limit < 0:
		return 0, nil, fmt.Errorf("%w: limit %d: want 1 to %d, or 0 for %d", ErrQuery, q.Limit, MaxLimit, DefaultLimit)
	case q.Limit == 0:
		limit = DefaultLimit
	default:
		limit = min(q.Limit, MaxLimit)
	}
	if q.Cursor != "" {
		p, err := parseCursor(q.Cursor)
		if err != nil {
			return 0, nil, err
		}
		after = &p
	}
	return limit, after, nil
}

// A Page is a part of the answer to a Query.
type Page struct {
	Records []Record
	// Next is the Cursor for the page after this one. It is opaque, safe in a
	// URL, stays valid for ever, and is empty on the last page.
	Next string
}

// A Position is a place in the order of records.
type Position struct {
	Time time.Time
	ID   RecordID
}

// Position returns the place of r, which is normalised.
func (r *Record) Position() Position { return Position{r.Time, r.ID} }

// Compare orders positions by Time and then by ID: -1 if p is older than q, 0
// if they are the same, +1 if p is newer.
func (p Position) Compare(q Position) int {
	if c := p.Time.Compare(q.Time); c != 0 {
		return c
	}
	return p.ID.Compare(q.ID)
}

const cursorVersion = 1

// Cursor returns the opaque text for Page.Next after a page whose last record
// stands at p.
func (p Position) Cursor() string {
	var b [25]byte
	b[0] = cursorVersion
	binary.BigEndian.PutUint64(b[1:], uint64(p.Time.UnixNano()))
	copy(b[9:], p.ID[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func parseCursor(s string) (Position, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 25 || b[0] != cursorVersion || b[1]>>7 != 0 {
		return Position{}, fmt.Errorf("%w: cursor %.40q is not one that a page gave out; begin again without a cursor", ErrQuery, s)
	}
	ns := int64(binary.BigEndian.Uint64(b[1:]))
	return Position{time.Unix(0, ns).UTC(), RecordID(b[9:])}, nil
}

// StreamPages makes a sequence of records out of a Query method, page by page.
// It is for implementing Store.Stream.
func StreamPages(ctx context.Context, f Filter, query func(context.Context, Query) (Page, error)) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		q := Query{Filter: f, Limit: MaxLimit}
		for {
			page, err := query(ctx, q)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range page.Records {
				if !yield(r, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			if len(page.Records) == 0 || page.Next == q.Cursor {
				yield(Record{}, errors.New("usagelog: the store gives out a page that leads nowhere"))
				return
			}
			q.Cursor = page.Next
		}
	}
}

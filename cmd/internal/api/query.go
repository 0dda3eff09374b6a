package api

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/usagelog"
)

// maxQuery is the length of the longest query string that is read, in bytes.
const maxQuery = 4096

// A query is the parameters of a request, each at most once. A parameter that
// is misspelt or empty is refused: left out of a filter, it would silently
// choose everything.
type query struct {
	values url.Values
	err    error // the first fault; the zero values of all others count for nothing
}

// parseQuery reads the query string. Only the names given may be in it.
func parseQuery(r *http.Request, names ...string) *query {
	q := &query{}
	raw := r.URL.RawQuery
	if len(raw) > maxQuery {
		q.err = badQuery("", "The query string is longer than %d bytes.", maxQuery)
		return q
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		q.err = badQuery("", "The query string cannot be read: %v.", err)
		return q
	}
	q.values = values
	given := make([]string, 0, len(values))
	for name := range values {
		given = append(given, name)
	}
	slices.Sort(given)
	for _, name := range given {
		short := cut(name, 40)
		switch {
		case len(names) == 0:
			q.fail(short, "There is no parameter %q here; this route takes none.", short)
		case !slices.Contains(names, name):
			q.fail(short, "There is no parameter %q here. The parameters are %s.", short, strings.Join(names, ", "))
		case len(values[name]) > 1:
			q.fail(name, "The parameter %s is there more than once.", name)
		case values[name][0] == "":
			q.fail(name, "The parameter %s is empty. Give it a value or leave it out.", name)
		}
	}
	return q
}

func (q *query) fail(name, format string, args ...any) {
	if q.err == nil {
		q.err = badQuery(name, format, args...)
	}
}

func (q *query) text(name string) string { return q.values.Get(name) }

// shown returns a value for a message.
func (q *query) shown(name string) string { return strconv.Quote(cut(q.text(name), 40)) }

// number returns a number from 1 to most, or 0 if there is none.
func (q *query) number(name string, most int) int {
	s := q.text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most || strconv.Itoa(n) != s {
		q.fail(name, "%s is %s, but must be a number from 1 to %d.", name, q.shown(name), most)
	}
	return n
}

func (q *query) boolean(name string) bool {
	s := q.text(name)
	if s != "" && s != "true" && s != "false" {
		q.fail(name, "%s is %s, but must be true or false.", name, q.shown(name))
	}
	return s == "true"
}

// key returns the identifier of a key.
func (q *query) key(name string) string {
	s := q.text(name)
	if s != "" && !keyring.ValidID(s) {
		q.fail(name, "%s must be a key's identifier, the 16 letters and digits after \"ipk_\" in its token, and not more of the token.", name)
	}
	return s
}

// moment returns a point in time, or the zero Time if there is none.
func (q *query) moment(name string) time.Time {
	s := q.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.DateOnly, s)
	}
	switch {
	case err != nil && strings.Contains(s, " "):
		q.fail(name, "%s is %s, but must be a time as 2026-11-30T09:00:00Z or a day as 2026-11-30 (in UTC). In a query a plus sign is written %%2B.", name, q.shown(name))
	case err != nil:
		q.fail(name, "%s is %s, but must be a time as 2026-11-30T09:00:00Z or a day as 2026-11-30 (in UTC).", name, q.shown(name))
	case t.Year() < 1970 || t.Year() > 2261:
		q.fail(name, "%s is %s, but must be between the years 1970 and 2261.", name, q.shown(name))
	}
	return t.UTC()
}

// network returns an address or a network, or the zero Prefix if there is none.
func (q *query) network(name string) netip.Prefix {
	s := q.text(name)
	if s == "" {
		return netip.Prefix{}
	}
	p, ok := usagelog.ParseNetwork(s)
	if !ok {
		q.fail(name, "%s is %s, but must be an address as 203.0.113.5 or a network as 203.0.113.0/24 or 2001:db8::/32.", name, q.shown(name))
	}
	return p
}

// The parameters of filter.
var filterNames = []string{"key", "method", "status", "verdict", "outcome", "address", "path", "request_id", "from", "to"}

// filter returns the filter of the usage log.
func (q *query) filter() usagelog.Filter {
	f := usagelog.Filter{
		KeyID:  q.key("key"),
		Method: q.text("method"),
		From:   q.moment("from"),
		To:     q.moment("to"),
	}
	if m := f.Method; m != "" && !isMethod(m) {
		q.fail("method", "method is %s, but must be one as GET or POST.", q.shown("method"))
	}
	if s := q.text("status"); s != "" {
		class, isClass := strings.CutSuffix(s, "xx")
		n, err := strconv.Atoi(class)
		switch {
		case err == nil && isClass && len(class) == 1 && n > 0:
			f.StatusClass = n
		case err == nil && !isClass && len(s) == 3 && n >= 100:
			f.Status = n
		default:
			q.fail("status", "status is %s, but must be a status as 403 or a class as 4xx.", q.shown("status"))
		}
	}
	if s := q.text("verdict"); s != "" {
		var v ipallow.Verdict
		if v.UnmarshalText([]byte(s)) != nil {
			q.fail("verdict", "verdict is %s, but must be denied, allowed or unrestricted.", q.shown("verdict"))
		}
		f.Verdict = &v
	}
	switch q.text("outcome") {
	case "":
	case usagelog.Blocked.String():
		f.Outcome = usagelog.Blocked
	case usagelog.Reported.String():
		f.Outcome = usagelog.Reported
	default:
		q.fail("outcome", "outcome is %s, but must be blocked or reported.", q.shown("outcome"))
	}
	f.ClientNet = q.network("address")
	if f.RequestID = q.text("request_id"); len(f.RequestID) > usagelog.MaxRequestID {
		q.fail("request_id", "request_id has %d bytes, but none has more than %d.", len(f.RequestID), usagelog.MaxRequestID)
	}
	f.PathPrefix = q.text("path")
	switch p := f.PathPrefix; {
	case len(p) > usagelog.MaxPath:
		q.fail("path", "path has %d bytes, but the log keeps %d.", len(p), usagelog.MaxPath)
	case strings.ContainsAny(p, "?#"):
		q.fail("path", "path is %s, but the log keeps paths without what follows ? or #.", q.shown("path"))
	}
	if !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To) {
		q.fail("to", "to must be later than from; it is the first moment that is not included.")
	}
	return f
}

// isMethod reports whether s can be a method: an upper-case word. (RFC 9110
// permits more, but "get" is a mistake and would find nothing.)
func isMethod(s string) bool {
	if len(s) > usagelog.MaxMethod {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

package page

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

// A logFilter is what the form above the usage log asks for, as text.
type logFilter struct {
	Key    string // a key's name or identifier, or a part of it
	Method string
	Status string
	Period string
	From   string
	To     string

	Address string // or a network
	Request string // ID
	Path    string // what it begins with

	Faults map[string]string // by the name of the field
	Found  *manage.Key       // the one that Key means
	Among  []manage.Key      // those that Key may mean
	filter usagelog.Filter
}

// A choice is an option of a select field.
type choice struct{ Value, Text string }

var (
	methodChoices = []choice{
		{"", "Any"},
		{"GET", "GET"}, {"HEAD", "HEAD"}, {"POST", "POST"}, {"PUT", "PUT"}, {"PATCH", "PATCH"}, {"DELETE", "DELETE"}, {"OPTIONS", "OPTIONS"},
	}
	statusChoices = []choice{
		{"blocked", "Blocked by an allowlist"},
		{"reported", "Served, though not in the list (report only)"},
		{"2xx", "2xx: answered"},
		{"3xx", "3xx: elsewhere or unchanged"},
		{"4xx", "4xx: refused or faulty"},
		{"401", "401: no valid key"},
		{"403", "403: blocked, or out of scope"},
		{"5xx", "5xx: the server failed"},
	}
	periodChoices = []choice{
		{"1h", "Last hour"},
		{"24h", "Last 24 hours"},
		{"7d", "Last 7 days"},
		{"30d", "Last 30 days"},
		{"all", "All there is"},
	}
	periods = map[string]time.Duration{
		"1h": time.Hour, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "30d": 30 * 24 * time.Hour, "all": 0,
	}
)

const defaultPeriod = "7d"

// More says that a condition is given which the form has folded away.
func (f *logFilter) More() bool {
	return f.Custom() || f.Address != "" || f.Request != "" || f.Path != ""
}

// Methods are the choices of method, with the chosen one among them.
func (f *logFilter) Methods() []choice { return with(methodChoices, f.Method) }

// Statuses are proposals for the status; any other one may be written.
func (f *logFilter) Statuses() []choice { return statusChoices }

// Periods are the choices of time.
func (f *logFilter) Periods() []choice { return periodChoices }

// Custom says that From or To decide, not Period.
func (f *logFilter) Custom() bool { return f.From != "" || f.To != "" }

// Narrow says that the filter leaves something out but for its time.
func (f *logFilter) Narrow() bool {
	return f.Key != "" || f.Method != "" || f.Status != "" || f.More()
}

func with(choices []choice, value string) []choice {
	if slices.ContainsFunc(choices, func(c choice) bool { return c.Value == value }) {
		return choices
	}
	return append(slices.Clone(choices), choice{value, value})
}

// readFilter reads the query of the log. Its faults are for the form to show;
// the error is another one.
func (p *Page) readFilter(ctx context.Context, q url.Values) (*logFilter, error) {
	text := func(name string, limit int) string {
		s := strings.TrimSpace(q.Get(name))
		return strings.ToValidUTF8(s[:min(len(s), limit)], "")
	}
	f := &logFilter{
		Key:    text("key", maxSearch),
		Method: strings.ToUpper(text("method", usagelog.MaxMethod)),
		Status: text("status", 20),
		Period: text("period", 10),
		From:   text("from", 40),
		To:     text("to", 40),

		Address: text("address", 100),
		Request: text("request", usagelog.MaxRequestID),
		Path:    text("path", usagelog.MaxPath),

		Faults: map[string]string{},
	}
	if _, ok := periods[f.Period]; !ok {
		f.Period = defaultPeriod
	}
	f.filter.Method, f.filter.RequestID, f.filter.PathPrefix = f.Method, f.Request, f.Path
	f.readStatus()
	if f.Address != "" {
		var ok bool
		if f.filter.ClientNet, ok = usagelog.ParseNetwork(f.Address); !ok {
			f.Faults["address"] = "Write an address or a network, such as 203.0.113.5 or 203.0.113.0/24."
		}
	}
	if strings.ContainsAny(f.Path, "?#") {
		f.Faults["path"] = "The log keeps paths without what follows a question mark."
	}
	f.readTimes(p.Now())
	if err := p.findKey(ctx, f); err != nil {
		return nil, err
	}
	if err := f.filter.Validate(); err != nil && len(f.Faults) == 0 {
		f.Faults["period"] = sentence(strings.TrimPrefix(err.Error(), usagelog.ErrQuery.Error()+": "))
	}
	return f, nil
}

func (f *logFilter) readStatus() {
	switch s := strings.ToLower(f.Status); {
	case s == "":
	case s == "blocked":
		f.filter.Outcome = usagelog.Blocked
	case s == "reported":
		f.filter.Outcome = usagelog.Reported
	case len(s) == 3 && s[0] >= '1' && s[0] <= '9' && s[1:] == "xx":
		f.filter.StatusClass = int(s[0] - '0')
	default:
		n, err := strconv.Atoi(s)
		if err != nil || n < 100 || n > 999 {
			f.Faults["status"] = "That is not a status. Choose one, or write one such as 403 or 4xx."
			return
		}
		f.filter.Status = n
	}
}

// readTimes reads From and To, and where neither is given Period.
func (f *logFilter) readTimes(now time.Time) {
	var err error
	if f.filter.From, err = readTime(f.From); err != nil {
		f.Faults["from"] = sentence(err.Error())
	}
	if f.filter.To, err = readTime(f.To); err != nil {
		f.Faults["to"] = sentence(err.Error())
	}
	switch d := periods[f.Period]; {
	case f.Custom():
		if !f.filter.From.IsZero() && !f.filter.To.IsZero() && !f.filter.From.Before(f.filter.To) {
			f.Faults["to"] = "The end must be after the beginning."
		}
	case d > 0:
		f.filter.From = now.Add(-d)
	}
}

var errTime = errors.New("write a time as 2026-11-24T15:04, in UTC")

// readTime reads a time in UTC as a browser's field has it; "" is the zero
// Time.
func readTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339, "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1970 && t.Year() < 2262 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errTime
}

// findKey finds the key that f.Key means: by its identifier, or by a part of
// its name if no other key has it.
func (p *Page) findKey(ctx context.Context, f *logFilter) error {
	if f.Key == "" {
		return nil
	}
	id := strings.TrimPrefix(f.Key, keyring.Prefix)
	if keyring.ValidID(id) {
		key, err := p.Manager.Key(ctx, id)
		switch {
		case err == nil:
			f.Found = &key
		case !errors.Is(err, manage.ErrNotFound):
			return err
		}
		f.filter.KeyID = id
		return nil
	}
	found, err := p.Manager.Keys(ctx, manage.KeyQuery{Search: f.Key, Revoked: true, Limit: 10})
	if err != nil {
		return err
	}
	switch len(found.Keys) {
	case 0:
		f.Faults["key"] = "No key has this in its name or identifier."
	case 1:
		f.Found, f.filter.KeyID = &found.Keys[0], found.Keys[0].ID
	default:
		f.Among = found.Keys
		f.Faults["key"] = "Several keys have this in their name. Choose one:"
	}
	return nil
}

// Query is the filter as the query of an address.
func (f *logFilter) Query() url.Values {
	q := url.Values{}
	set := func(name, value, none string) {
		if value != none {
			q.Set(name, value)
		}
	}
	set("key", f.Key, "")
	set("method", f.Method, "")
	set("status", f.Status, "")
	set("period", f.Period, defaultPeriod)
	set("from", f.From, "")
	set("to", f.To, "")
	set("address", f.Address, "")
	set("request", f.Request, "")
	set("path", f.Path, "")
	return q
}

// Link is the address of the log with the filter but for one field.
func (f *logFilter) Link(name, value string) string {
	q := f.Query()
	q.Set(name, value)
	return "/logs?" + q.Encode()
}

// Only is the address of the log with one field alone, at any time.
func (f *logFilter) Only(name, value string) string {
	return "/logs?" + url.Values{name: {value}, "period": {"all"}}.Encode()
}

// Between is the address of the log with the filter between two times, and with
// a status if one is given.
func (f *logFilter) Between(from, to time.Time, status string) string {
	q := f.Query()
	q.Del("period")
	const layout = "2006-01-02T15:04:05"
	q.Set("from", from.UTC().Format(layout))
	q.Set("to", to.UTC().Format(layout))
	if status != "" {
		q.Set("status", status)
	}
	return "/logs?" + q.Encode()
}

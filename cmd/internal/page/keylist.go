package page

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// maxSearch bounds what is searched for, in bytes.
const maxSearch = 400

// A keyRow is a key with the requests that its allowlist refused lately.
type keyRow struct {
	manage.Key
	Blocked int64
}

type keysView struct {
	keyFilter
	Keys  []keyRow
	Total string // of all pages, in words
	Later bool   // not the first page
	// AnyRevoked says that there are keys, though none that is active.
	AnyRevoked     bool
	Previous, Next string // addresses of pages
}

// A keyFilter is what the form above the list of keys asks for.
type keyFilter struct {
	Search  string
	Show    string // one of keyChoices
	Order   string // one of keyOrders
	Revoked bool
}

var (
	keyChoices = []choice{
		{"", "All keys"},
		{"unrestricted", "Unrestricted"},
		{"restricted", "With an allowlist"},
		{"unused", "Unused for 30 days"},
		{"broad", "With a broad network"},
	}
	keyOrders = []choice{{"", "Newest first"}, {"name", "By name"}, {"used", "Last used first"}}
)

// Shows and Orders are the choices of the form.
func (f *keyFilter) Shows() []choice  { return keyChoices }
func (f *keyFilter) Orders() []choice { return keyOrders }

// Narrow says that the filter leaves something out.
func (f *keyFilter) Narrow() bool { return f.Search != "" || f.Show != "" }

func readKeyFilter(q url.Values) keyFilter {
	f := keyFilter{Search: strings.TrimSpace(q.Get("q")), Show: q.Get("show"), Order: q.Get("order"), Revoked: q.Has("revoked")}
	if len(f.Search) > maxSearch {
		f.Search = strings.ToValidUTF8(f.Search[:maxSearch], "")
	}
	is := func(value string) func(choice) bool { return func(c choice) bool { return c.Value == value } }
	if !slices.ContainsFunc(keyChoices, is(f.Show)) {
		f.Show = ""
	}
	if !slices.ContainsFunc(keyOrders, is(f.Order)) {
		f.Order = ""
	}
	return f
}

// query is the filter as the manager reads it.
func (f *keyFilter) query() manage.KeyQuery {
	q := manage.KeyQuery{Search: f.Search, Revoked: f.Revoked, Unused: f.Show == "unused", Broad: f.Show == "broad"}
	if restricted := f.Show == "restricted"; restricted || f.Show == "unrestricted" {
		q.Restricted = &restricted
	}
	switch f.Order {
	case "name":
		q.Order = manage.ByName
	case "used":
		q.Order = manage.LastUsedFirst
	}
	return q
}

// link is the address of a page of the list; "" if the cursor is empty.
func (f *keyFilter) link(cursor string) string {
	if cursor == "" {
		return ""
	}
	q := url.Values{"cursor": {cursor}}
	for name, value := range map[string]string{"q": f.Search, "show": f.Show, "order": f.Order} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Revoked {
		q.Set("revoked", "1")
	}
	return "/keys?" + q.Encode()
}

// keys is the list of API keys.
func (p *Page) keys(w http.ResponseWriter, r *http.Request, s *session) error {
	v := keysView{keyFilter: readKeyFilter(query(r))}
	q := v.query()
	q.Cursor = r.URL.Query().Get("cursor")
	list, err := p.Manager.Keys(r.Context(), q)
	if err != nil {
		return err
	}
	v.Later = q.Cursor != ""
	v.Next, v.Previous = v.link(list.Next), v.link(list.Previous)
	v.Total = count(list.Total, "key", "keys")
	if list.Total == manage.MaxCounted {
		v.Total = "at least " + v.Total
	}
	blocked := p.blocked(r, list.Keys)
	for _, k := range list.Keys {
		v.Keys = append(v.Keys, keyRow{k, blocked[k.ID]})
	}
	if len(v.Keys) == 0 && !v.Narrow() && !v.Revoked {
		any, err := p.Manager.Keys(r.Context(), manage.KeyQuery{Revoked: true, Limit: 1})
		if err != nil {
			return err
		}
		v.AnyRevoked = len(any.Keys) > 0
	}
	p.render(w, r, s, http.StatusOK, "keys", "API keys", "keys", &v)
	return nil
}

// blockedWithin bounds the time that the list of keys waits for the usage log.
const blockedWithin = time.Second

// blocked counts the requests that the allowlists of the keys refused lately.
// The list is shown without the counts rather than late.
func (p *Page) blocked(r *http.Request, keys []manage.Key) map[string]int64 {
	ids := make([]string, len(keys))
	for i := range keys {
		ids[i] = keys[i].ID
	}
	ctx, cancel := context.WithTimeout(r.Context(), blockedWithin)
	defer cancel()
	n, err := p.Manager.Blocked(ctx, ids)
	if err != nil {
		p.Logger.WarnContext(r.Context(), "settings page: blocked requests cannot be counted", "error", err)
	}
	return n
}

package page

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// A bulkView asks what to do with several keys, and then says what was done.
type bulkView struct {
	Action       string // "add" or "revoke"
	Rows         []bulkRow
	Entry, Label string
	Fault        string
	Try          []string // entries that may be meant
	Done         bool
}

// A bulkRow is one of the keys, with what became of it.
type bulkRow struct {
	manage.Key
	Said string
	OK   bool
}

// bulk adds an entry to several keys, or revokes them: first it shows which,
// then it does it, one key after the other.
func (p *Page) bulk(w http.ResponseWriter, r *http.Request, s *session) error {
	if err := p.parseForm(w, r, 64<<10); err != nil {
		return err
	}
	form := r.PostForm
	ids := slices.Compact(slices.Sorted(slices.Values(form["key"])))
	verb, confirmed := strings.CutPrefix(form.Get("action"), "confirm-")
	if verb != "add" && verb != "revoke" || len(ids) > manage.MaxLimit {
		return errForm
	}
	if len(ids) == 0 {
		s.tell(notice{Text: "Choose keys first: mark them in the list.", Warn: true})
		http.Redirect(w, r, "/keys", http.StatusSeeOther)
		return nil
	}
	v := &bulkView{Action: verb, Entry: strings.TrimSpace(form.Get("entry")), Label: strings.TrimSpace(form.Get("label"))}
	for _, id := range ids {
		if !keyring.ValidID(id) {
			return errForm
		}
		k, err := p.Manager.Key(r.Context(), id)
		if err != nil {
			return err
		}
		v.Rows = append(v.Rows, bulkRow{Key: k})
	}
	status := http.StatusOK
	if confirmed && (verb == "revoke" || p.checkEntry(v)) {
		v.Done = true
		for i := range v.Rows {
			row := &v.Rows[i]
			var err error
			if verb == "revoke" {
				row.Said, err = "revoked", p.Manager.Revoke(r.Context(), p.caller(r), row.ID)
			} else {
				row.Said, err = p.addTo(r.Context(), p.caller(r), row, v)
			}
			if row.OK = err == nil; err != nil {
				row.Said = p.reason(r, row.ID, err)
			}
		}
		p.confirm(r.Context(), v.Rows)
	} else if confirmed {
		status = http.StatusUnprocessableEntity
	}
	title := map[string]string{"add": "Add an entry to several keys", "revoke": "Revoke several keys"}[verb]
	p.render(w, r, s, status, "bulk", title, "keys", v)
	return nil
}

// confirm adds to each row where its change is not in force yet. All of them are
// waited for together.
func (p *Page) confirm(ctx context.Context, rows []bulkRow) {
	deadline := time.Now().Add(confirmWait)
	for i := range rows {
		if where := p.where(ctx, rows[i].ID, max(0, time.Until(deadline))); rows[i].OK && where != "" {
			rows[i].Said += ". " + visible(where)
		}
	}
}

// checkEntry looks for faults of the entry, which would be the same for all.
func (p *Page) checkEntry(v *bulkView) bool {
	d := &draft{Rows: []row{{Entry: v.Entry, Label: v.Label}}}
	if _, ok := p.check(d); ok && v.Entry != "" {
		return true
	}
	v.Fault = "Write an address or a network, such as 203.0.113.5 or 203.0.113.0/24."
	if f := d.Rows[0].Faults; v.Entry != "" && len(f) > 0 {
		v.Fault, v.Try = f[0].Text, f[0].Try
	}
	return false
}

// addTo adds the entry to the list of one key. A key without a list is left as
// it is: with its first entry it would refuse everybody else.
func (p *Page) addTo(ctx context.Context, by manage.Actor, k *bulkRow, v *bulkView) (said string, err error) {
	entry, err := ipallow.ParseEntry(v.Entry)
	if err != nil {
		return "", err
	}
	for {
		list, err := p.Manager.Allowlist(ctx, k.ID)
		switch {
		case err != nil:
			return "", err
		case len(list.Entries) == 0:
			return "left as it is: it has no allowlist, and this entry would refuse all other addresses", nil
		case slices.ContainsFunc(list.Entries, func(e ipallow.Entry) bool {
			return e.Prefix.Bits() <= entry.Prefix.Bits() && e.Prefix.Contains(entry.Prefix.Addr())
		}):
			return "left as it is: its list contains the entry already", nil
		}
		_, err = p.Manager.SetAllowlist(ctx, by, k.ID, manage.ListEdit{
			Entries: append(texts(list.Entries), manage.ListEntry{Entry: v.Entry, Label: v.Label}), IfMatch: list.Tag,
		})
		if !errors.Is(err, manage.ErrConflict) {
			return "added, and in force", err
		}
	}
}

// reason says why a change of one of several keys failed.
func (p *Page) reason(r *http.Request, id string, err error) string {
	if _, list := manage.Faults(err); list != nil {
		return "not changed: " + list.Entries[0].Reason
	}
	if errors.Is(err, manage.ErrRevoked) {
		return "not changed: it is revoked"
	}
	p.Logger.ErrorContext(r.Context(), "settings page: a change of several keys failed", "key", id, "error", err)
	return "not changed: the server failed, and its log says why"
}
